"""``fastmlp report``: write the report of a results.json again, as a page, Markdown or text."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from .common import check_folder, check_output_file

EXAMPLES = """\
Writes the report of a run of `fastmlp bench` from its results.json; nothing is measured. The page
is one file that opens offline; its plots need the extra `report` (Jinja2 and matplotlib), without
which it holds the tables. Markdown and text go to standard output, unless there is --output.

examples:
  fastmlp report fastmlp-report/results.json
  fastmlp report results.json --output pages/today.html
  fastmlp report results.json --format markdown --plots plots > summary.md
"""
FORMATS = ("html", "markdown", "text")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.epilog = EXAMPLES
    parser.add_argument("results", metavar="results.json", help="what fastmlp bench wrote")
    parser.add_argument(
        "--output", metavar="FILE|DIR",
        help="what to write to; in a folder the usual name is taken (default: report.html beside "
        "the results; Markdown and text go to standard output)",
    )  # fmt: skip
    parser.add_argument(
        "--plots", metavar="DIR", help="also write each plot as an SVG file, for a README"
    )
    parser.add_argument("--format", choices=FORMATS, default="html", help="default: html")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    from fastmlp.benchmarks.report import FORMATS as FILE_NAMES
    from fastmlp.benchmarks.report import (
        missing_extras,
        read_document,
        render,
        write_plots,
        write_text,
    )
    from fastmlp.errors import FormatError

    source = Path(arguments.results)
    document = read_document(source)
    # Before seconds go by.
    plots = None if arguments.plots is None else check_folder(Path(arguments.plots))
    path = None
    if arguments.output is not None or arguments.format == "html":
        path = _output_path(arguments.output, source, FILE_NAMES[arguments.format])
    try:
        text = render(document, arguments.format)
    except FormatError as error:
        raise FormatError(f"{source}: {error}") from error
    if plots is not None:
        write_plots(document, plots)
    if path is None:
        print(text, end="")
        return 0
    write_text(path, text)
    print(f"Report: {path}")
    if arguments.format == "html":
        for line in missing_extras():
            sys.stderr.write(f"fastmlp: note: {line}\n")
    return 0


def _output_path(output: str | None, source: Path, file_name: str) -> Path:
    """Return the file to write: never the results themselves."""
    if output is None:
        path = source.with_name(file_name)
    elif Path(output).is_dir() or output.endswith(("/", "\\")) or not Path(output).suffix:
        path = check_folder(Path(output)) / file_name
    else:
        path = Path(output)
    path = check_output_file(path)
    if path.exists() and path.samefile(source):
        raise ValueError(f"--output {path} is the file of the results; choose another name")
    return path
