"""Formulas and sums over the lanes of vectors, against NumPy's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

import ml_dtypes
import numba

from fastmlp.kernels import formulas, numba_intrinsics, numba_lanes
from fastmlp.kernels.numba_memory import address_of

LANES = 8


def draw(n: int, precision: str) -> list[np.ndarray]:
    return list(np.random.default_rng(n).normal(size=(n, LANES)).astype(precision))


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_formula_over_vectors_has_numpys_bits(precision: str) -> None:
    apply: Any = numba_lanes.vector_formula(formulas.normalization_slope, precision, LANES)

    @numba.njit
    def run(sources: Any, to: int) -> None:
        apply(sources, to)

    given, out = draw(5, precision), np.zeros(LANES, precision)
    expected = formulas.normalization_slope(*given)
    run(tuple(map(address_of, given)), address_of(out))
    assert np.array_equal(out, expected)
    run(tuple(map(address_of, given)), address_of(given[0]))  # in the place of an argument
    assert np.array_equal(given[0], expected)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_sum_is_of_float64(precision: str) -> None:
    kinds = [precision, "float64"]
    add: Any = numba_lanes.vector_sum(numba_lanes.square_of_rest, kinds, LANES)
    move, memory = numba_lanes.moved, numba_intrinsics.memory_for("float64", 2 * LANES)
    doubles = numba_intrinsics.pointer_to("float64")

    @numba.njit
    def run(x: int, mean: int, out: int) -> None:
        sums, found = memory(), doubles(out)
        for i in range(2 * LANES):
            sums[i] = 1.0
        for _ in range(3):
            add((x, mean), move(sums, LANES))
        for i in range(2 * LANES):
            found[i] = sums[i]

    (x,), (mean,), out = draw(1, precision), draw(1, "float64"), np.zeros(2 * LANES)
    run(address_of(x), address_of(mean), address_of(out))
    square = (x.astype(np.float64) - mean) ** 2
    assert np.array_equal(out[:LANES], np.ones(LANES))
    assert np.array_equal(out[LANES:], 1.0 + square + square + square)


def test_rounding_to_bfloat16_is_that_of_ml_dtypes() -> None:
    # Below, at and above a tie, for all signs, exponents (denormals, infinity, NaN) and mantissas.
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    values = (upper[:, None] | lower).ravel().view(np.float32)
    round_vector: Any = numba_lanes.vector_rounding(LANES)

    @numba.njit
    def run(source: int, to: int, n: int) -> None:
        for i in range(0, n, LANES):
            round_vector(source + 4 * i, to + 4 * i)

    found = np.zeros_like(values)
    run(address_of(values), address_of(found), len(values))
    with np.errstate(all="ignore"):
        wanted = values.astype(ml_dtypes.bfloat16).astype(np.float32)
    assert np.array_equal(found.view(np.uint32), wanted.view(np.uint32))
