"""Compiled functions as bytes, and linked: without Numba, or not at all."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

pytest.importorskip("llvmlite", reason="Numba is not installed: pip install 'fastmlp[numba]'")

import llvmlite.binding as llvm
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fastmlp.kernels import numba_linking
from fastmlp.kernels.numba_linking import ObjectCode, from_bytes, link, missing_symbols, to_bytes

names = st.text("abc_.é%", min_size=1)
objects = st.lists(
    st.builds(
        ObjectCode,
        st.lists(names, min_size=1).map(tuple),
        st.integers(0, 30),
        names,
        st.lists(names).map(tuple),
        st.binary(),
    )
)


@given(objects)
def test_what_comes_back_is_what_was_given(given_objects: list[ObjectCode]) -> None:
    assert from_bytes(to_bytes(given_objects)) == given_objects


@given(objects, st.data())
def test_other_bytes_are_refused(given_objects: list[ObjectCode], data: Any) -> None:
    whole = bytearray(to_bytes(given_objects))
    place = data.draw(st.integers(0, len(whole) - 1))
    for other in (whole[:place], whole + b"\0"):
        with pytest.raises(ValueError, match="damaged"):
            from_bytes(bytes(other))
    whole[place] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ValueError, match="damaged"):
        from_bytes(bytes(whole))


def object_of(text: str, *, names: tuple[str, ...], externals: tuple[str, ...] = ()) -> ObjectCode:
    """Compile @set (the address of two numbers, and what goes into the first of them)."""
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_triple(llvm.get_process_triple())
    machine = target.create_target_machine(codemodel="jitdefault", jit=True)
    code = machine.emit_object(llvm.parse_assembly(text))
    return ObjectCode(names, 2, "set", externals, code)


def test_functions_are_linked_under_all_their_names() -> None:
    text = """
define void @set(i64 %address, i64 %number) {
    %place = inttoptr i64 %address to i64*
    store i64 %number, i64* %place
    ret void
}"""
    if llvm.llvm_version_info[0] >= 17:
        text = text.replace("i64*", "ptr")
    module = link([object_of(text, names=("store", "put"))])
    memory = np.zeros(2, np.int64)
    module.store.ctypes(memory.ctypes.data, 7)
    module.put.ctypes(memory.ctypes.data + 8, -1)
    assert memory.tolist() == [7, -1]
    assert module.store.address == module.put.address
    at_address = ctypes.CFUNCTYPE(None, ctypes.c_ssize_t, ctypes.c_ssize_t)(module.put.address)
    at_address(memory.ctypes.data, 12)
    assert memory.tolist() == [12, -1]
    with pytest.raises(AttributeError, match=r"no function 'get' .*\['put', 'store'\]"):
        _ = module.get


def test_what_only_numba_has_is_not_missing() -> None:
    """It is where an exception is printed, which no function raises. What is called is there."""
    text = """
declare void @numba_gil_ensure()
declare i8* @memset(i8*, i32, i64)
define void @set(i64 %address, i64 %size) {
    %no = icmp eq i64 %size, 0
    br i1 %no, label %error, label %done
error:
    call void @numba_gil_ensure()
    ret void
done:
    %place = inttoptr i64 %address to i8*
    call i8* @memset(i8* %place, i32 1, i64 %size)
    ret void
}"""
    if llvm.llvm_version_info[0] >= 17:
        text = text.replace("i8*", "ptr")
    externals = ("numba_gil_ensure", "memset", "Py_DecRef", "PyExc_SystemError")
    compiled = object_of(text, names=("ones",), externals=externals)
    assert missing_symbols([compiled]) == []
    defined = [
        each for each in numba_linking._stubs([compiled]).functions if not each.is_declaration
    ]
    assert [each.name for each in defined] == ["numba_gil_ensure"]
    memory = np.zeros(9, np.uint8)
    link([compiled]).ones.ctypes(memory.ctypes.data, 8)
    assert memory.tolist() == [1] * 8 + [0]


def test_what_nobody_has_is_missing() -> None:
    externals = ("memset", "nobody_has_this", "PyErr_Clear", "NRT_Free")
    compiled = ObjectCode(("run",), 0, "run", externals, b"")
    assert missing_symbols([compiled, compiled]) == ["nobody_has_this"]


def test_an_engine_goes_to_whoever_asked_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may have asked for one in the meantime."""

    class Engines(list[Any]):
        def append(self, engine: Any) -> None:
            super().append(engine)
            super().append("another's")

    monkeypatch.setattr(numba_linking, "_engines", engines := Engines())
    engine = numba_linking._new_engine(llvm.parse_assembly(""))
    assert engine is engines[0] and isinstance(engine, llvm.ExecutionEngine)
