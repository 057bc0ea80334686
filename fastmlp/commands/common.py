"""Checks that several commands make before they start to work."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)  # fmt: skip


def limit_threads(n_threads: int | None) -> None:
    """Make the libraries that are loaded from now on (NumPy's BLAS) use so many threads.

    They read the environment when they are loaded, so this comes before the first import.
    """
    if n_threads is None:
        return
    from fastmlp.checks import check_integer

    check_integer("--threads", n_threads, 1)
    if "numpy" not in sys.modules:
        os.environ.update(dict.fromkeys(THREAD_VARIABLES, str(n_threads)))


def split_names(option: str, text: str | None) -> Sequence[str] | None:
    """Return the names of a list with commas; None for None."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError(f"{option} must be names with commas between them; got {text!r}")
    return names


def check_folder(folder: Path) -> Path:
    """Return a folder that exists and can be written to; create it if needed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(
            f"{folder}: expected a folder for the output; this is a file"
        ) from None
    _check_writable(folder, folder)
    return folder


def check_output_file(path: Path) -> Path:
    """Return a path that a file can be written to; nothing is created."""
    if path.is_dir():
        raise IsADirectoryError(f"{path}: expected the name of a file to write; this is a folder")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}; create it first")
    _check_writable(path.parent, path)
    return path


def _check_writable(folder: Path, wanted: Path) -> None:
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise PermissionError(
            f"{wanted}: cannot be written to ({error.strerror}); choose another place"
        ) from None
