"""Modules that are compiled in processes of their own, while this one compiles another.

Numba compiles for seconds, and one function at a time in a process, whatever the number of CPUs.
What another process has compiled is found in the cache; what it did not is compiled here.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path

from .cpus import available_cpus
from .numba_cache import SourceFile, announce, read_compiled, source_file
from .numba_compiling import compile_file
from .numba_cpu import numba_target
from .numba_linking import LinkedModule, ObjectCode, link, missing_symbols

MOST_PROCESSES = 2
"""There are no more modules that take long."""

PATIENCE = 120.0
"""In seconds: then it is compiled here, too."""

COMPILE = f"""
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from {compile_file.__module__} import SourceFile, compile_file
compile_file(SourceFile(sys.argv[2], sys.argv[3]))
"""

_under_way: dict[SourceFile, subprocess.Popen[bytes]] = {}


def compile_ahead(texts: Iterable[str], n_threads: int) -> None:
    """Start to compile modules that are not in the cache, but for the first, left for here.

    There are no more processes together than threads wanted and CPUs to run them.
    """
    for file in [file for file, process in _under_way.items() if process.poll() is not None]:
        del _under_way[file]  # done, and nobody asked for it
    texts = [text for text in texts if read_compiled(source_file(text)) is None]
    if len(texts) < 2:
        return
    numba_target()  # from here on it is known for certain what is compiled for
    files = [file for file in map(source_file, texts) if read_compiled(file) is None]
    free = min(n_threads, available_cpus(), 1 + MOST_PROCESSES) - 1 - len(_under_way)
    for file in files[1:]:
        if free > 0 and file not in _under_way and _start(file):
            announce(file)
            free -= 1


def _start(file: SourceFile) -> bool:
    """Start the process, if there is an interpreter, and the system allows it."""
    if not Path(sys.executable or "").name.lower().startswith(("python", "pypy")):
        return False  # an application with Python in it
    path = json.dumps([each for each in sys.path if isinstance(each, str)])
    _, name, features = numba_target()  # which Numba may have been told in this process alone
    environment = os.environ | {"NUMBA_CPU_NAME": name, "NUMBA_CPU_FEATURES": features}
    quiet = subprocess.DEVNULL
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", COMPILE, path, *file],
            env=environment,
            stdin=quiet,
            stdout=quiet,
            stderr=quiet,
        )
    except (OSError, ValueError):
        return False
    _under_way[file] = process
    return True


@atexit.register
def _end_all() -> None:
    while _under_way:
        _end(_under_way.popitem()[1])


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


def load_module(text: str) -> LinkedModule:
    """Return the module of this text, from the cache if it is, or will soon be, there."""
    file = source_file(text)
    process = _under_way.pop(file, None)
    if process is not None:
        try:
            _wait(process)
        finally:
            _end(process)
    objects = _linkable(file)
    if objects is None:
        numba_target()  # which may not be what it was taken for before Numba was loaded
        file = source_file(text)
        objects = _linkable(file)
    return link(compile_file(file) if objects is None else objects)


def _linkable(file: SourceFile) -> list[ObjectCode] | None:
    """Return its compiled code, if that is kept and this process has what it needs."""
    objects = read_compiled(file)
    return None if objects is None or missing_symbols(objects) else objects


def _wait(process: subprocess.Popen[bytes]) -> None:
    """Look every now and then: Popen.wait would hear Ctrl-C a quarter of a second later."""
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
