"""Keep what Numba compiles: a module's text and its compiled code, in the user's cache.

The names of its folders are hashes of what the code depends on, so that nothing is ever stale: of
the target, the versions of what compiles and of what texts import; and of the text. (Settings by
which somebody looks into Numba, like NUMBA_OPT, are not among them.)
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import os
import pkgutil
import sys
import tempfile
import threading
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from .cache_folder import cache_folder
from .numba_cpu import target
from .numba_linking import ObjectCode, from_bytes, to_bytes

PACKAGES = ("numba", "llvmlite", "numpy")
INCLUDED = ("bfloat16", "numba_amx_tiles", "numba_intrinsics", "numba_lanes", "numba_tiles")
"""The modules whose functions are compiled with a text."""

COMPILED_NAME = "kernels.compiled"


class SourceFile(NamedTuple):
    """Where a module's text is kept, and beside it what is compiled of it."""

    path: str
    name: str
    """Of the module."""

    @property
    def compiled_path(self) -> Path:
        """Where its compiled code is kept."""
        return Path(self.path).with_name(COMPILED_NAME)


def source_file(text: str) -> SourceFile:
    """Return the file of a module with this text, written if it was not there."""
    key = _hash(text)
    return SourceFile(str(write_module(text, key)), f"fastmlp_numba_{key}")


def read_compiled(file: SourceFile) -> list[ObjectCode] | None:
    """Return its compiled code, or None: then it was not compiled, or is damaged."""
    try:
        return from_bytes(file.compiled_path.read_bytes())
    except (OSError, ValueError):
        return None


def keep_compiled(file: SourceFile, objects: Sequence[ObjectCode]) -> None:
    """Keep its compiled code, if the disk takes it."""
    with contextlib.suppress(OSError):
        _write(file.compiled_path, to_bytes(objects))


def has_compiled() -> bool:
    """Return whether something is kept that these versions have compiled: then Numba works here."""
    with contextlib.suppress(OSError, RuntimeError):
        return any(_folder().glob(f"*/{COMPILED_NAME}"))
    return False


def announce(file: SourceFile) -> None:
    """Tell whoever sits in front of it, once, what takes so long."""
    _announce(Path(file.path).parents[2])


@cache
def _announce(folder: Path) -> None:
    if sys.stderr is not None and (sys.stderr.isatty() or hasattr(sys, "ps1")):
        sys.stderr.write(
            "fastmlp: compiling the numba backend for this CPU: a few seconds, this once; "
            f"kept in {folder}\n"
        )


def write_module(text: str, key: str) -> Path:
    """Keep `text` under `key` in the user's cache, or in a temporary folder; return its path."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        return _write_once(_folder() / key, text)
    return _write_once(_temporary_folder() / "numba" / key, text)


def _folder() -> Path:
    """Return the folder of what these versions compile for this target."""
    return cache_folder() / "numba" / _hash(_versions(), *target())


def _hash(*parts: str) -> str:
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:24]


@cache
def _versions() -> str:
    included = [pkgutil.get_data(__package__, f"{name}.py") or b"" for name in INCLUDED]
    texts = [text.decode("utf-8") for text in included]
    return _hash(sys.version, *map(importlib.metadata.version, PACKAGES), *texts)


@cache
def _temporary_folder() -> Path:
    """Return a new folder of this process's own: a shared name could be somebody else's."""
    return Path(tempfile.mkdtemp(prefix="fastmlp_numba_"))


def _write_once(folder: Path, text: str) -> Path:
    """Write the file unless it is there with this text; other processes may do the same."""
    path, data = folder / "kernels.py", text.encode()
    is_there = False
    with contextlib.suppress(OSError):
        is_there = path.read_bytes() == data
    if is_there and os.access(folder / COMPILED_NAME, os.R_OK):
        return path  # somebody else's, perhaps
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):  # then nothing could be kept beside it
        raise PermissionError(f"{folder} is not writable")
    if not is_there:
        _write(path, data)
    return path


def _write(path: Path, data: bytes) -> None:
    """Write a file that others see whole or not at all."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
