"""Compiled functions as bytes, and into this process: LLVM links them, without Numba."""

from __future__ import annotations

import ctypes
import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import llvmlite.binding as llvm

FORMAT = b"fastmlp: functions compiled by Numba, 1\n"
DIGEST_BYTES = hashlib.sha256().digest_size

NUMBAS_OWN = ("numba_", "NRT_")
"""What Numba's library of C functions has; others are Python's, or the system's."""

OF_EVERY_CODE = ("memcpy", "memmove", "memset")
"""LLVM calls them without having been told to."""


class ObjectCode(NamedTuple):
    """One compiled function.

    Attributes
    ----------
    names : tuple of str
        What its module calls it.
    n_arguments : int
        Integers as wide as an address, all of them; nothing is returned.
    symbol : str
        What its code calls it.
    externals : tuple of str
        The functions and variables that it uses and that lie elsewhere.
    code : bytes
        An object file.
    """

    names: tuple[str, ...]
    n_arguments: int
    symbol: str
    externals: tuple[str, ...]
    code: bytes


def to_bytes(objects: Sequence[ObjectCode]) -> bytes:
    """Return them all as one string of bytes, with what `from_bytes` checks."""
    heads = json.dumps([(*each[:-1], len(each.code)) for each in objects]).encode()
    body = b"\n".join([heads, b"".join(each.code for each in objects)])
    return FORMAT + hashlib.sha256(body).digest() + body


def from_bytes(data: bytes) -> list[ObjectCode]:
    """Return what `to_bytes` was given.

    Raises
    ------
    ValueError
        If these are other bytes: LLVM would end the process, or run them.
    """
    body = data[len(FORMAT) + DIGEST_BYTES :]
    if data != FORMAT + hashlib.sha256(body).digest() + body:
        raise ValueError("damaged, or not functions compiled by Numba")
    heads, _, code = body.partition(b"\n")
    objects = []
    for names, n_arguments, symbol, externals, size in json.loads(heads):
        head = (tuple(names), n_arguments, symbol, tuple(externals))
        objects.append(ObjectCode(*head, code[:size]))
        code = code[size:]
    return objects


def missing_symbols(objects: Sequence[ObjectCode]) -> list[str]:
    """Return what this process has not of others, where LLVM links nothing: Numba may bring it."""
    if not _engines:  # the first one shows LLVM what the process has
        _new_engine(llvm.parse_assembly(""))
    wanted = sorted({*OF_EVERY_CODE, *(name for each in objects for name in each.externals)})
    return [
        name
        for name in wanted
        if not name.startswith(NUMBAS_OWN) and llvm.address_of_symbol(name) is None
    ]


class LinkedFunction(NamedTuple):
    """What is called: by other compiled code at `address`, from Python by `ctypes`."""

    address: int
    ctypes: Callable[..., None]


class LinkedModule:
    """The functions of a module, as its attributes."""

    def __init__(self, functions: dict[str, LinkedFunction]) -> None:
        self.__dict__.update(functions)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(f"no function {name!r} was compiled: there are {sorted(vars(self))}")


_engines: list[llvm.ExecutionEngine] = []
"""They own the code. It stays for good: its addresses are in the memory of calls."""


def link(objects: Sequence[ObjectCode]) -> LinkedModule:
    """Return their functions, ready to be called."""
    engine = _new_engine(_stubs(objects))
    for each in objects:
        engine.add_object_file(llvm.object_file.ObjectFileRef.from_data(each.code))
    engine.finalize_object()
    functions = {}
    for each in objects:
        address = engine.get_function_address(each.symbol)
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_ssize_t] * each.n_arguments)
        function = LinkedFunction(address, kind(address))
        functions.update(dict.fromkeys(each.names, function))
    return LinkedModule(functions)


def _stubs(objects: Sequence[ObjectCode]) -> llvm.ModuleRef:
    """Return a module with stubs for Numba's own functions.

    They print an exception, and compiled functions raise none; but LLVM does not always see that.
    """
    externals = sorted({name for each in objects for name in each.externals})
    lines = [
        f'define void @"{name}"() {{\n    call void @llvm.trap()\n    unreachable\n}}'
        for name in externals
        if name.startswith(NUMBAS_OWN)
    ]
    return llvm.parse_assembly("\n".join(["declare void @llvm.trap()", *lines]))


def _new_engine(module: llvm.ModuleRef) -> llvm.ExecutionEngine:
    """Return an engine, which stays, with this module in it; it owns the machine, too."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    machine = target.create_target_machine(codemodel="jitdefault", jit=True)
    engine = llvm.create_mcjit_compiler(module, machine)
    _engines.append(engine)
    return engine
