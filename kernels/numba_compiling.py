"""The one place where Numba compiles: a module's text becomes object code, which is kept."""

from __future__ import annotations

import contextlib
import gc
import linecache
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .numba_cache import SourceFile, announce, keep_compiled
from .numba_cpu import numba_target
from .numba_linking import ObjectCode


def compile_file(file: SourceFile) -> list[ObjectCode]:
    """Compile the module of this file, keep what comes of it beside it, and return it."""
    announce(file)
    numba_target()
    with _without_garbage_collection():
        functions = exported_functions(file)
    objects = [object_code(function, names) for function, names in functions]
    keep_compiled(file, objects)
    return objects


def exported_functions(file: SourceFile) -> list[tuple[Any, tuple[str, ...]]]:
    """Run the text, which compiles what it exports; return that, and its names."""
    from numba.core.ccallback import CFunc

    path, name = file
    module = ModuleType(name)
    module.__file__ = path
    sys.modules[name] = module  # where Numba looks for the globals of a function
    text = Path(path).read_text(encoding="utf-8")
    linecache.checkcache(path)
    exec(compile(text, path, "exec", dont_inherit=True), vars(module))
    names: dict[int, list[str]] = {}
    found = {}
    for each, value in vars(module).items():
        if isinstance(value, CFunc):
            found[id(value)] = value
            names.setdefault(id(value), []).append(each)
    return [(value, tuple(names[key])) for key, value in found.items()]


def object_code(function: Any, names: tuple[str, ...]) -> ObjectCode:
    """Return the code of one of Numba's C functions.

    Raises
    ------
    ValueError
        If the address of something of this process is in it: another process cannot run it.
    """
    library = function._library  # Numba's own cache takes it from there, too
    if library.has_dynamic_globals:
        raise ValueError(f"{names[0]} uses something that is in the memory of this process alone")
    text = library.get_llvm_str()
    named = re.findall(r'^declare [^@]*@"?([^"( ]+)|^@"?([^" ]+)"? = external ', text, re.MULTILINE)
    externals = {function or variable for function, variable in named}
    return ObjectCode(
        names,
        len(function._sig.args),
        function.native_name,
        tuple(sorted(each for each in externals if not each.startswith("llvm."))),
        bytes(library._get_compiled_object()),
    )


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
