"""``fastmlp bench``: compare the backends and write results.json and report.html."""

from __future__ import annotations

import argparse
from pathlib import Path

from .common import check_folder, limit_threads, split_names

INTERRUPTED = 130

EXAMPLES = """\
Times the kernels and the training of a 784-128-10 network on 60,000 images with every backend that
is available, prints two tables and writes results.json (every repetition) and report.html (stands
on its own) into the output folder. Takes less than a minute; Ctrl-C writes what there is by then.

examples:
  fastmlp bench
  fastmlp bench --data mnist --data-dir ~/mnist --output mnist-report
  fastmlp bench --backends numpy,cython --threads 1 --repeats 10
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--data", choices=("digits", "mnist"), default="digits",
        help="what to train on; digits is drawn by the program and needs no files (default)",
    )  # fmt: skip
    parser.add_argument("--data-dir", metavar="DIR", help="the folder with MNIST's four files")
    parser.add_argument(
        "--backends", metavar="A,B", help="which backends (default: all that are available)"
    )
    parser.add_argument(
        "--output", metavar="DIR", default="fastmlp-report",
        help="the folder for results.json and report.html (default: ./fastmlp-report)",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", metavar="N", type=int,
        help="repetitions of each measurement; of training: epochs (default: 5, fewer where they "
        "would take longer than a minute)",
    )  # fmt: skip
    parser.add_argument("--threads", metavar="N", type=int, help="threads (default: all CPUs)")
    parser.add_argument(
        "--rows", metavar="N", type=int,
        help="training rows; times are scaled to 60,000 (default: 60,000)",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    limit_threads(arguments.threads)
    from fastmlp.benchmarks.report import summary, write_report
    from fastmlp.benchmarks.results import write_results
    from fastmlp.benchmarks.runner import Request
    from fastmlp.benchmarks.runner import run as run_benchmark
    from fastmlp.benchmarks.tables import (
        failure_lines,
        general_notes,
        kernels_table,
        training_table,
    )
    from fastmlp.progress import ProgressBar, format_seconds

    request = Request(
        data=arguments.data,
        data_dir=arguments.data_dir,
        backends=split_names("--backends", arguments.backends),
        repeats=arguments.repeats,
        n_threads=arguments.threads,
        rows=arguments.rows,
    )
    folder = check_folder(Path(arguments.output))
    bar = ProgressBar("benchmark")
    results = run_benchmark(request, lambda done, text: bar.update(done, text, at_once=True))
    write_results(results, folder / "results.json")
    write_report(results, folder / "report.html")
    bar.finish()

    for table in (kernels_table(results), training_table(results)):
        if table.rows:
            print(table.as_text(), end="\n\n")
    for note in general_notes(results):
        print(note)
    for line in failure_lines(results):
        print(line)
    if results.complete:
        spent = format_seconds(bar.elapsed)
        print(f"\n{summary(results)}\nDone in {spent}.", end=" ")
    else:
        print("\nInterrupted: the results are incomplete.", end=" ")
    print(f"Report: {folder / 'report.html'}")
    if not results.complete:
        return INTERRUPTED
    return 1 if results.failures else 0
