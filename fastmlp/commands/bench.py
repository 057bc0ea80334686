"""``fastmlp bench``: compare backends and peers, write results.json and a report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from .common import (
    INTERRUPTED,
    check_folder,
    check_output_file,
    let_idle_threads_sleep,
    limit_threads,
    split_names,
    warn_of_isa_cap,
)

if TYPE_CHECKING:
    from fastmlp.benchmarks.results import Results

RESULTS_FILE = "results.json"

EXAMPLES = """\
Times kernels, training, inference and growth with every backend that is available and with other
libraries (peers), prints tables and writes results.json (every repetition) and a report (stands on
its own) into the output folder. Ctrl-C writes what there is by then.

levels:
  --quick    the most important cases; under 20 seconds
  (default)  all cases, NumPy by hand and scikit-learn as peers, PyTorch for M32 and M128 if it is
             installed; under 3 minutes
  --full     every peer that is installed, every instruction set, precision and number of threads

cases are S, M32, M128, L, XL, tabular, tabular_wide (training), predict_1, predict_64,
predict_10000 (inference), kernels by name (matmul, sigmoid, backpropagation, update_adam, ...), or
the groups kernels, training, options (an epoch with Adam, dropout, weights, ...; asked for by name
or with --full), inference, growth. peers are numpy, sklearn, torch, torch-compile,
torch-bfloat16, jax, tensorflow, onnxruntime, openvino, or none.

examples:
  fastmlp bench
  fastmlp bench --quick --skip growth,drawbacks
  fastmlp bench --data mnist --data-dir ~/data --output mnist-report
  fastmlp bench --cases S,M32,M128,L,XL,tabular --peers numpy,sklearn,torch,torch-compile,jax \\
      --threads 2 --data mnist
  fastmlp bench --backends numpy,cython --threads 1 --repeats 10
  fastmlp bench --cases options --threads 1
  fastmlp bench --compare old/results.json new/results.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.epilog = EXAMPLES
    level = parser.add_mutually_exclusive_group()
    level.add_argument(
        "--quick", dest="level", action="store_const", const="quick", default="default",
        help="the most important cases, in seconds",
    )  # fmt: skip
    level.add_argument(
        "--full", dest="level", action="store_const", const="full", help="everything"
    )
    parser.add_argument(
        "--data", choices=("digits", "mnist"), default="digits",
        help="what to train on; digits is drawn by the program and needs no files (default)",
    )  # fmt: skip
    parser.add_argument(
        "--data-dir", metavar="DIR",
        help="the folder that holds mnist/, with MNIST's four files, and cifar-10-batches-bin/, "
        "with CIFAR-10, for the drawbacks; or mnist/ itself (default: $FASTMLP_DATA)",
    )  # fmt: skip
    parser.add_argument(
        "--cases", metavar="A,B",
        help="only these cases or groups, and no other sections (default: those of the level)",
    )  # fmt: skip
    parser.add_argument(
        "--backends", metavar="A,B", help="which backends (default: all that are available)"
    )
    parser.add_argument(
        "--peers", metavar="A,B",
        help="which other libraries (default: numpy,sklearn and, for M32 and M128, torch; with "
        "--full all that are installed)",
    )  # fmt: skip
    parser.add_argument(
        "--skip", metavar="A,B",
        help="groups and sections to leave out: kernels, training, options, inference, growth, "
        "roofline, cold_start, drawbacks",
    )  # fmt: skip
    parser.add_argument(
        "--output", metavar="DIR", default="fastmlp-report",
        help="the folder for results.json and the report (default: ./fastmlp-report)",
    )  # fmt: skip
    parser.add_argument(
        "--format", choices=("html", "markdown", "text"), default="html",
        help="of the report; and of the table of --compare (default: html; a comparison: text)",
    )  # fmt: skip
    parser.add_argument(
        "--repeats", metavar="N", type=int,
        help="repetitions of each measurement; of training: epochs (default: 2, 5 or 9 by level, "
        "fewer where they would take too long)",
    )  # fmt: skip
    parser.add_argument("--threads", metavar="N", type=int, help="threads (default: all CPUs)")
    parser.add_argument(
        "--rows", metavar="N", type=int,
        help="training images; times are scaled to 60,000 (default: 60,000; --quick: 6,144)",
    )  # fmt: skip
    parser.add_argument(
        "--compare", nargs=2, metavar=("OLD", "NEW"), type=Path,
        help="measure nothing: compare two results.json, and mark what is beyond noise",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    if arguments.compare is not None:
        old, new = arguments.compare
        return _compare(old, new, arguments.format)
    limit_threads(arguments.threads)
    let_idle_threads_sleep()
    from fastmlp.benchmarks.report import FORMATS, write_report
    from fastmlp.benchmarks.request import Request
    from fastmlp.benchmarks.results import write_results
    from fastmlp.benchmarks.runner import run as run_benchmark
    from fastmlp.progress import ProgressBar

    peers = split_names("--peers", arguments.peers)
    request = Request(
        data=arguments.data,
        data_dir=arguments.data_dir,
        level=arguments.level,
        cases=split_names("--cases", arguments.cases),
        backends=split_names("--backends", arguments.backends),
        peers=() if peers is not None and list(peers) == ["none"] else peers,
        repeats=arguments.repeats,
        n_threads=arguments.threads,
        rows=arguments.rows,
        skip=split_names("--skip", arguments.skip) or (),
    )
    warn_of_isa_cap()
    folder = check_folder(Path(arguments.output))
    report = check_output_file(folder / FORMATS[arguments.format])
    _check_replaceable(check_output_file(folder / RESULTS_FILE))
    bar = ProgressBar("benchmark")
    results = run_benchmark(request, lambda done, text: bar.update(done, text, at_once=True))
    write_results(results, folder / RESULTS_FILE)
    bar.update(1.0, "writing the report", at_once=True)
    write_report(results, report, arguments.format)
    bar.finish()
    _show(results, report, bar.elapsed)
    if not results.complete:
        return INTERRUPTED
    return 1 if results.has_failed else 0


def _show(results: Results, report: Path, seconds: float) -> None:
    """Print the tables, the outcome and where the report is."""
    from fastmlp.benchmarks.report import summary
    from fastmlp.benchmarks.tables import general_notes, wrapped
    from fastmlp.benchmarks.terminal import failure_lines, missing_lines, terminal_tables
    from fastmlp.progress import format_seconds

    for table in terminal_tables(results):
        print(table.as_text(), end="\n\n")
    told = [*general_notes(results), *missing_lines(results), *failure_lines(results)]
    for line in told:
        print(*wrapped(line), sep="\n")
    if results.complete:
        print("", *wrapped(summary(results)), sep="\n")
        print(f"Done in {format_seconds(seconds)}.", end=" ")
    else:
        print("\nInterrupted: the results are incomplete.", end=" ")
    print(f"Report: {report}")


def _check_replaceable(path: Path) -> None:
    """Refuse to write over a results.json that this version of `fastmlp bench` did not write."""
    from fastmlp.benchmarks.results import read_results
    from fastmlp.errors import FormatError

    if not path.exists():
        return
    try:
        read_results(path)
    except FormatError as error:
        raise FormatError(
            f"{error}. It is not written over: move it away, or choose another folder with --output"
        ) from None


def _compare(old_path: Path, new_path: Path, form: str) -> int:
    from fastmlp.benchmarks.compare import compare_results
    from fastmlp.benchmarks.ratio_tables import comparison_table
    from fastmlp.benchmarks.results import read_results

    old, new = read_results(old_path), read_results(new_path)
    table = comparison_table(compare_results(old, new), old, new)
    print(table.as_markdown() if form == "markdown" else table.as_text())
    return 0
