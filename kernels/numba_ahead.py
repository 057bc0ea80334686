"""Modules that are compiled in processes of their own, while this one compiles another.

Numba compiles for seconds, and one function at a time in a process, whatever the number of CPUs.
What another process has compiled is found in the cache; what it did not is compiled here.
"""

from __future__ import annotations

import atexit
import json
import subprocess
import sys
from collections.abc import Iterable
from types import ModuleType

from .cpus import available_cpus
from .numba_cache import SourceFile, load_file, source_file

MOST_PROCESSES = 2
"""There are no more modules that take long."""

PATIENCE = 120.0
"""In seconds: then it is compiled here, too."""

COMPILE = f"""
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from {load_file.__module__} import SourceFile, load_file
load_file(SourceFile(sys.argv[2], sys.argv[3]))
"""

_under_way: dict[SourceFile, subprocess.Popen[bytes]] = {}


def compile_ahead(texts: Iterable[str]) -> None:
    """Start to compile modules that are not in the cache, as far as there are CPUs for it.

    This process needs one for the modules that are not named.
    """
    free = min(available_cpus() - 1, MOST_PROCESSES) - len(_under_way)
    for text in texts:
        if free <= 0 or not sys.executable or getattr(sys, "frozen", False):
            return
        file = source_file(text)
        if not file.is_compiled() and file not in _under_way:
            command = [sys.executable, "-c", COMPILE, json.dumps(sys.path), *file]
            quiet = subprocess.DEVNULL
            try:
                process = subprocess.Popen(command, stdin=quiet, stdout=quiet, stderr=quiet)
            except OSError:  # none are allowed, or there is no memory for one
                return
            atexit.register(process.kill)
            _under_way[file] = process
            free -= 1


def load_module(text: str) -> ModuleType:
    """Return the module of this text, from the cache if it is, or will soon be, there."""
    file = source_file(text)
    process = _under_way.pop(file, None)
    if process is not None:
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        atexit.unregister(process.kill)
    return load_file(file)
