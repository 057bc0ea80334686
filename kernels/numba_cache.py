"""Keep what Numba compiles: a module's text and its compiled code, in the user's cache.

Numba keeps compiled code only for functions that come from a file. The folder's name is a hash of
all that the code depends on, so that nothing is ever stale: the text, which names the CPU, and the
versions of Numba and of Python.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib.metadata
import importlib.util
import inspect
import os
import sys
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from numba.core import config as numba_config

from . import bfloat16, numba_amx_tiles, numba_intrinsics, numba_lanes, numba_tiles
from .cache_folder import cache_folder

config: Any = numba_config  # a module that makes its attributes when it is loaded


class SourceFile(NamedTuple):
    """Where a module's text is kept, beside which Numba keeps what it compiles of it."""

    path: str
    name: str
    """Of the module: compiled code is looked up by it."""

    def is_compiled(self) -> bool:
        """Return whether there is compiled code, or may be in the folder that a user has set."""
        compiled = (Path(self.path).parent / "__pycache__").glob("*.nbi")
        return bool(config.CACHE_DIR) or any(compiled)


def source_file(text: str) -> SourceFile:
    """Return the file of a module with this text, written if it was not there."""
    key = hashlib.sha256("\0".join((text, *_versions())).encode()).hexdigest()[:24]
    return SourceFile(str(write_module(text, key)), f"fastmlp_numba_{key}")


@cache
def _versions() -> tuple[str, ...]:
    """Return what compiled code depends on, too; Numba itself looks at the module's file alone."""
    included = (bfloat16, numba_amx_tiles, numba_intrinsics, numba_lanes, numba_tiles)
    return importlib.metadata.version("numba"), sys.version, *map(inspect.getsource, included)


def load_file(file: SourceFile) -> ModuleType:
    """Return its module; what is not in the cache is compiled."""
    path, name = file
    if not file.is_compiled():
        announce(Path(path).parent.parent)
    specification = importlib.util.spec_from_file_location(name, path)
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    sys.modules[name] = module
    with _without_garbage_collection():
        specification.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Compiling makes millions of objects that live: looking through them takes a tenth longer."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@cache
def announce(folder: Path) -> None:
    """Tell whoever sits in front of it, once, what takes so long."""
    if sys.stderr is not None and (sys.stderr.isatty() or hasattr(sys, "ps1")):
        sys.stderr.write(
            "fastmlp: compiling the numba backend for this CPU: a few seconds, this once; "
            f"kept in {folder}\n"
        )


def write_module(text: str, key: str) -> Path:
    """Keep `text` under `key` in the user's cache, or in a temporary folder; return its path."""
    with contextlib.suppress(OSError, RuntimeError):  # RuntimeError: there is no home
        return _write_once(cache_folder() / "numba" / key, text)
    return _write_once(_temporary_folder() / key, text)


@cache
def _temporary_folder() -> Path:
    """Return a new folder of this process's own: a shared name could be somebody else's."""
    return Path(tempfile.mkdtemp(prefix="fastmlp_numba_"))


def _write_once(folder: Path, text: str) -> Path:
    """Write the file unless it is there with this text; other processes may do the same."""
    path = folder / "kernels.py"
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK | os.X_OK):  # then Numba could keep nothing beside it
        raise PermissionError(f"{folder} is not writable")
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if path.read_text(encoding="utf-8") == text:
            return path
    number, temporary = tempfile.mkstemp(suffix=".tmp", dir=folder)
    try:
        with os.fdopen(number, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return path
