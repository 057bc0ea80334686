"""Checks that several commands make before they start to work."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

INTERRUPTED = 130
"""The exit status after Ctrl-C."""

THREAD_VARIABLES = (
    "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)  # fmt: skip

IDLE_VARIABLES = {"OPENBLAS_THREAD_TIMEOUT": "22"}
"""Idle threads of OpenBLAS (NumPy's) go to sleep after 2^22 cycles, a millisecond.

They would spin for a tenth of a second, and take a CPU from whatever is measured next. Its own
products are as fast with it.
"""


def let_idle_threads_sleep() -> None:
    """Set `IDLE_VARIABLES`; this comes before the first import of NumPy."""
    for name, value in IDLE_VARIABLES.items():
        os.environ.setdefault(name, value)


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


def warn_of_isa_cap() -> None:
    """Say on standard error that FASTMLP_MAX_ISA is wrong, if it is: the compiled backends miss."""
    from fastmlp.backend import isa_cap_error

    wrong = isa_cap_error()
    if wrong:
        sys.stderr.write(f"fastmlp: warning: {wrong}; the cython and numba backends are left out\n")


def split_names(option: str, text: str | None) -> Sequence[str] | None:
    """Return the names of a list with commas; None for None."""
    if text is None:
        return None
    names = [name.strip() for name in text.split(",")]
    if not all(names):
        raise ValueError(f"{option} must be names with commas between them; got {text!r}")
    return names


def split_activations(option: str, text: str) -> str | list[str]:
    """Return the name for all hidden layers, or a list of one name for each."""
    names = list(split_names(option, text) or ())
    return names[0] if len(names) == 1 else names


def split_widths(option: str, text: str, example: str) -> list[int]:
    """Return the widths of layers, given with commas between them."""
    from fastmlp.checks import check_integer

    try:
        return [check_integer(option, int(part), 1) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{option} must be whole numbers >= 1 with commas between them, such as {example}; "
            f"got {text!r}"
        ) from None


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
