"""MNIST: 70,000 handwritten digits (LeCun, Cortes and Burges), from files or a mirror."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastmlp.datasets.dataset import Dataset
from fastmlp.datasets.idx import read_idx
from fastmlp.datasets.locations import DATA_VARIABLE, MNIST_FOLDER, folders_to_search
from fastmlp.errors import FormatError

__all__ = ["load_mnist"]

FILE_NAMES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)


def load_mnist(
    data_dir: str | os.PathLike[str] | None = None,
    *,
    download: bool = True,
    mirror: str | None = None,
) -> Dataset:
    """Load MNIST from local files, or download it once into the user's cache.

    The four files (raw, or compressed with the ending ``.gz``) are looked for in `data_dir`, or if
    that is not given in ``$FASTMLP_DATA``, and then in the user's cache; in each of these also in
    the subfolder ``mnist``. A folder counts only if it holds all four. Any data set in the same
    files will do, Fashion-MNIST for one.

    Parameters
    ----------
    data_dir : path, optional
        The folder with the files. It must exist.
    download : bool
        Whether to download files that are not found; this needs the package pooch. Downloads are
        checked against known SHA-256 checksums before they enter the cache.
    mirror : str, optional
        The address of the folder to download from. The default is ``$FASTMLP_MNIST_MIRROR``, or
        else the public mirrors, one after the other.

    Returns
    -------
    Dataset
        ``x_train`` uint8 (60000, 784), ``y_train`` int64 (60000,), ``x_test`` uint8 (10000, 784),
        ``y_test`` int64 (10000,), with 10 classes and images of shape (28, 28).

    Raises
    ------
    FormatError
        If a file is damaged, images and labels do not agree, or a download has a wrong checksum.
    FileNotFoundError
        If the files are neither found nor downloaded; the text says what to do.
    MissingExtraError
        If a download is needed and pooch is not installed.
    """
    folders = folders_to_search(data_dir, MNIST_FOLDER, with_cache=True)
    files = _find_files(folders)
    if files is None:
        if not download:
            raise FileNotFoundError(_how_to_get_it(folders, "downloading was not allowed"))
        # Imported late: only a missing data set pays for it.
        from fastmlp.datasets.mnist_download import DownloadError, download_mnist

        cache = folders[-1]
        try:
            without_pooch = _how_to_get_it(folders, "downloading it needs pooch")
            download_mnist(cache, mirror, otherwise=without_pooch)
        except DownloadError as error:
            raise FileNotFoundError(_how_to_get_it(folders, str(error))) from error
        files = _find_files([cache])
        if files is None:
            raise FileNotFoundError(_how_to_get_it(folders, "the download was removed again"))

    train_images, train_labels, test_images, test_labels = files
    x_train, y_train, train_shape = _read_pair(train_images, train_labels)
    x_test, y_test, test_shape = _read_pair(test_images, test_labels)
    if train_shape != test_shape:
        raise FormatError(
            f"{test_images}: images of shape {test_shape}; expected {train_shape}, as in "
            f"{train_images}"
        )
    return Dataset("mnist", x_train, y_train, x_test, y_test, 10, train_shape)


def _find_files(folders: list[Path]) -> list[Path] | None:
    """Return the four files from the first folder that holds them all."""
    for folder in folders:
        files = [_find_one(folder, name) for name in FILE_NAMES]
        found = [file for file in files if file is not None]
        if len(found) == len(FILE_NAMES):
            return found
    return None


def _find_one(folder: Path, name: str) -> Path | None:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    return None


def _read_pair(
    images_file: Path, labels_file: Path
) -> tuple[NDArray[np.uint8], NDArray[np.int64], tuple[int, ...]]:
    """Read images and their labels, checked against each other."""
    images = read_idx(images_file)  # (rows, height, width)
    labels = read_idx(labels_file)  # (rows,)
    if images.ndim != 3 or images.dtype != np.uint8:
        raise FormatError(
            f"{images_file}: {images.ndim} dimensions of {images.dtype}; expected images: 3 "
            "dimensions of uint8"
        )
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise FormatError(
            f"{labels_file}: {labels.ndim} dimensions of {labels.dtype}; expected labels: 1 "
            "dimension of uint8"
        )
    if len(images) != len(labels):
        raise FormatError(
            f"{labels_file}: {len(labels)} labels; expected {len(images)}, one for each image in "
            f"{images_file}"
        )
    if len(labels) and labels.max() > 9:
        raise FormatError(f"{labels_file}: the label {labels.max()}; expected labels from 0 to 9")
    rows, height, width = images.shape
    return images.reshape(rows, height * width), labels.astype(np.int64), (height, width)


def _how_to_get_it(folders: list[Path], why_no_download: str) -> str:
    """Say what was looked for, where, and every way out."""
    lines = [
        f"MNIST was not found, and {why_no_download}.",
        "Looked for these files (each raw, or with the ending .gz), all four in one folder:",
        *(f"    {name}" for name in FILE_NAMES),
        "in these folders:",
        *(f"    {folder}{_what_is_missing(folder)}" for folder in folders),
        "Any one of these helps:",
        f"  - put the four files into {folders[-1]};",
        f"  - put them anywhere and set {DATA_VARIABLE} to that folder, or pass it as data_dir "
        "(on the command line: --data-dir FOLDER);",
        "  - on a network, name a mirror that you can reach: mirror='https://...', or set "
        "FASTMLP_MNIST_MIRROR;",
        "  - use the built-in data set 'digits', which needs no files.",
    ]
    return "\n".join(lines)


def _what_is_missing(folder: Path) -> str:
    if not folder.is_dir():
        return " (no such folder)"
    missing = [name for name in FILE_NAMES if _find_one(folder, name) is None]
    return "" if len(missing) == len(FILE_NAMES) else f" (missing: {', '.join(missing)})"
