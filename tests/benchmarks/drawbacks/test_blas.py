"""One BLAS thread, where it can be asked for."""

from __future__ import annotations

import contextlib
import sys

import pytest

from fastmlp.benchmarks.drawbacks.blas import one_blas_thread


def test_one_thread_inside_and_as_before_outside() -> None:
    threadpoolctl = pytest.importorskip("threadpoolctl")

    def threads() -> list[int]:
        found = threadpoolctl.threadpool_info()
        return [each["num_threads"] for each in found if each["user_api"] == "blas"]

    before = threads()
    if not before:
        pytest.skip("threadpoolctl knows none of the BLAS libraries here")
    with one_blas_thread():
        assert set(threads()) == {1}
    assert threads() == before


def test_without_threadpoolctl_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    assert isinstance(one_blas_thread(), contextlib.nullcontext)
