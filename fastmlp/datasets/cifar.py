"""CIFAR-10: 60,000 small colour photographs (Krizhevsky 2009), in the binary version.

The format is described at https://www.cs.toronto.edu/~kriz/cifar.html: rows of one byte for the
label and 3072 for the image, its red, green and blue planes of 32 x 32 pixels one after the other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastmlp.datasets.dataset import Dataset
from fastmlp.datasets.locations import CIFAR10_FOLDER, DATA_VARIABLE, folders_to_search
from fastmlp.errors import FormatError

__all__ = ["load_cifar10"]

TRAIN_NAMES = tuple(f"data_batch_{number}.bin" for number in range(1, 6))
TEST_NAME = "test_batch.bin"
IMAGE_SHAPE = (3, 32, 32)
PIXEL_BYTES = 3 * 32 * 32
ROW_BYTES = 1 + PIXEL_BYTES


def load_cifar10(data_dir: str | os.PathLike[str] | None = None) -> Dataset:
    """Load CIFAR-10 from the files of its binary version.

    The files are looked for in `data_dir`, or if that is not given in ``$FASTMLP_DATA``, and in
    the subfolder ``cifar-10-batches-bin`` of it. Any of ``data_batch_1.bin`` to
    ``data_batch_5.bin`` that are there make up the training rows, in this order;
    ``test_batch.bin`` must be there too. Nothing is downloaded.

    Parameters
    ----------
    data_dir : path, optional
        The folder with the files. It must exist.

    Returns
    -------
    Dataset
        ``x_train`` and ``x_test`` uint8 (rows, 3072), ``y_train`` and ``y_test`` int64 (rows,),
        with 10 classes and images of shape (3, 32, 32).

    Raises
    ------
    FormatError
        If a file does not consist of whole rows, is empty, or has a label above 9.
    FileNotFoundError
        If the files are not found; the text says what to do.
    """
    folders = folders_to_search(data_dir, CIFAR10_FOLDER)
    for folder in folders:
        train_files = [folder / name for name in TRAIN_NAMES if (folder / name).is_file()]
        test_file = folder / TEST_NAME
        if train_files and test_file.is_file():
            x_train, y_train = _read_files(train_files)
            x_test, y_test = _read_files([test_file])
            return Dataset("cifar10", x_train, y_train, x_test, y_test, 10, IMAGE_SHAPE)
    raise FileNotFoundError(_how_to_get_it(folders))


def _read_files(files: Sequence[Path]) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read files into one array of images (rows, 3072) and one of labels (rows,)."""
    row_counts = [_count_rows(file) for file in files]
    x = np.empty((sum(row_counts), PIXEL_BYTES), dtype=np.uint8)
    y = np.empty(sum(row_counts), dtype=np.int64)
    start = 0
    for file, n_rows in zip(files, row_counts, strict=True):
        content = np.fromfile(file, dtype=np.uint8, count=n_rows * ROW_BYTES)
        if content.size != n_rows * ROW_BYTES:
            raise FormatError(
                f"{file}: truncated while it was read: {content.size} bytes came; expected "
                f"{n_rows * ROW_BYTES}"
            )
        rows = content.reshape(n_rows, ROW_BYTES)
        largest = rows[:, 0].max()
        if largest > 9:
            row = int(rows[:, 0].argmax())
            raise FormatError(f"{file}: row {row} has the label {largest}; expected 0 to 9")
        y[start : start + n_rows] = rows[:, 0]
        x[start : start + n_rows] = rows[:, 1:]
        start += n_rows
    return x, y


def _count_rows(file: Path) -> int:
    n_bytes = file.stat().st_size
    if n_bytes == 0 or n_bytes % ROW_BYTES:
        raise FormatError(
            f"{file}: {n_bytes} bytes; expected one or more whole rows of {ROW_BYTES} bytes; the "
            "file is truncated or not of CIFAR-10's binary version"
        )
    return n_bytes // ROW_BYTES


def _how_to_get_it(folders: Sequence[Path]) -> str:
    searched = [f"    {folder}" for folder in folders]
    return "\n".join(
        [
            f"CIFAR-10 was not found. Looked for {TEST_NAME} and any of {TRAIN_NAMES[0]} to "
            f"{TRAIN_NAMES[-1]}, in one folder,",
            "in these folders:",
            *(searched or [f"    none: no data_dir was given and {DATA_VARIABLE} is not set"]),
            "Get 'CIFAR-10 binary version' from https://www.cs.toronto.edu/~kriz/cifar.html, "
            "unpack it, and",
            f"  - set {DATA_VARIABLE} to the folder that holds {CIFAR10_FOLDER}, or",
            "  - pass that folder as data_dir (on the command line: --data-dir FOLDER).",
        ]
    )
