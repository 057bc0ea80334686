"""``fastmlp predict``: predict with a network that ``fastmlp train --save`` or `save` wrote."""

from __future__ import annotations

import argparse
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .common import check_output_file

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fastmlp.datasets import Dataset
    from fastmlp.trainer import Trainer

N_EXAMPLES = 8

EXAMPLES = """\
examples:
  fastmlp predict digits.npz --data digits
  fastmlp predict model.npz --input rows.npy --output predictions.csv
  fastmlp predict model.npz --input rows.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.epilog = EXAMPLES
    parser.add_argument("model", metavar="MODEL", help="a file that fastmlp saved")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data", choices=("digits", "mnist"),
        help="the test rows of a data set: prints the accuracy and a few predictions",
    )  # fmt: skip
    source.add_argument(
        "--input", metavar="FILE",
        help="rows to predict: .npy, idx (raw or .gz), or numbers with commas, one row per line",
    )  # fmt: skip
    parser.add_argument("--data-dir", metavar="DIR", help="the folder with MNIST's four files")
    parser.add_argument(
        "--output", metavar="FILE",
        help="where to write one prediction per line (default with --input: standard output)",
    )  # fmt: skip
    parser.add_argument("--backend", metavar="NAME", default="auto", help="default: auto")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    output = None if arguments.output is None else check_output_file(Path(arguments.output))
    from fastmlp import datasets, persistence

    trainer = persistence.load(arguments.model, backend=arguments.backend)
    if arguments.data is not None:
        _check_classes(trainer, arguments.data)
        data = datasets.load(arguments.data, arguments.data_dir)
        predicted = trainer.predict(data.x_test)
        print(_comparison(trainer, data, predicted))
    else:
        predicted = trainer.predict(read_rows(Path(arguments.input)))
    if output is not None:
        from fastmlp.files import write_text

        write_text(output, "".join(_lines(predicted)))
        print(f"{len(predicted):,} predictions written to {output}")
    elif arguments.data is None:
        # Line by line: Python drops the rest of a large text if standard output is unbuffered.
        sys.stdout.writelines(_lines(predicted))
    return 0


def read_rows(path: Path) -> NDArray[Any]:
    """Read rows of numbers (rows, features): .npy or idx by their content, otherwise CSV.

    Raises
    ------
    FormatError
        If the file is damaged or of none of these formats.
    OSError
        If it cannot be read.
    """
    import numpy as np

    from fastmlp.datasets import read_idx
    from fastmlp.errors import FormatError

    with path.open("rb") as file:
        start = file.read(6)
    if start == b"\x93NUMPY":
        try:
            rows: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError) as error:
            if "object" in str(error).lower():  # NumPy's words for an array that it refuses
                raise FormatError(
                    f"{path}: expected numbers; this array holds Python objects, which are not "
                    "loaded as that could run code. Save it again from rows.astype(float)"
                ) from error
            raise FormatError(f"{path}: a damaged .npy file ({error})") from error
    elif start[:2] in (b"\0\0", b"\x1f\x8b"):
        rows = read_idx(path)
    else:
        rows = _read_csv(path)
    # Images (rows, height, width) become rows.
    return rows.reshape(len(rows), -1) if rows.ndim > 2 else rows


def _read_csv(path: Path) -> NDArray[Any]:
    """Read numbers with commas between them; a first line of column names is left out."""
    import numpy as np

    from fastmlp.errors import FormatError

    try:
        with path.open(encoding="utf-8") as file:
            first = file.readline()
            has_header = _is_header(first)
            if not first.strip():
                raise ValueError("the first line is empty")
            lines = file if has_header else itertools.chain([first], file)
            if not any(line.split("#")[0].strip() for line in lines):  # NumPy skips comments
                after = " after the line of column names" if has_header else ""
                raise ValueError(f"there are no rows{after}")
        return np.loadtxt(path, np.float64, delimiter=",", skiprows=int(has_header), ndmin=2)
    except ValueError as error:
        raise FormatError(
            f"{path}: expected a .npy file, an idx file, or numbers with commas between them, "
            f"one row per line; {error}"
        ) from error


def _is_header(line: str) -> bool:
    try:
        [float(cell) for cell in line.split(",")]
    except ValueError:
        # Names only: a line that holds numbers too is a damaged row, and is reported as one.
        return not any(cell.strip()[:1].isdigit() for cell in line.split(","))
    return False


def _lines(predicted: NDArray[Any]) -> Iterator[str]:
    """Give a line for each prediction (rows,) or (rows, outputs)."""
    for row in predicted.reshape(len(predicted), -1).tolist():
        yield ",".join(map(repr, row)) + "\n"


def _check_classes(trainer: Trainer, data: str) -> None:
    """Refuse a network whose predictions are not one class number per row."""
    plan = trainer.plan
    n_columns = len(plan.groups) if plan.targets_are_labels else plan.n_outputs
    if not trainer.predicts_classes or n_columns > 1:
        kind = "classes" if trainer.predicts_classes else "values"
        predicted = f"{n_columns} {kind} per row" if n_columns > 1 else f"{kind}, not classes"
        raise ValueError(
            f"--data {data} compares one class number per row with what is expected; got "
            f"{trainer.network!r}, which predicts {predicted}. Give its rows with --input FILE"
        )


def _comparison(trainer: Trainer, data: Dataset, predicted: NDArray[Any]) -> str:
    """Return the accuracy on the test rows and a few examples, mistakes among them."""
    import numpy as np

    right = predicted == data.y_test
    lines = [f"test accuracy {right.mean():.2%} on {len(right):,} rows ({trainer.backend_name})"]
    mistakes = np.flatnonzero(~right)[: N_EXAMPLES // 2]
    chosen = [*np.flatnonzero(right)[: N_EXAMPLES - len(mistakes)], *mistakes]
    probabilities = trainer.predict_proba(data.x_test[chosen]).max(axis=1)
    lines.append("   row  expected  predicted  probability")
    for row, probability in zip(chosen, probabilities, strict=True):
        mark = "" if right[row] else "  wrong"
        numbers = f"{row:6d}  {data.y_test[row]:8d}  {predicted[row]:9d}  {probability:11.1%}"
        lines.append(numbers + mark)
    return "\n".join(lines)
