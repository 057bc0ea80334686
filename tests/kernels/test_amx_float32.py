"""float32 by split products (product_amx_float32_unit.c): as exact as multiply-add, or by it.

With emulated tiles, as in test_amx.py, which tries all shapes. An error is measured in units of
|a| @ |b|, number by number, against longdouble.
"""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest
from amx_products import (
    LANES,
    Panels,
    Products,
    empty,
    errors,
    gradient_of,
    input_gradient,
    numbers,
    of_range,
    product_of,
    products_of,
    weight_gradient,
    weighted_sum,
)

SPLIT_BY_ROWS = (0, 16, 48, 64)
"""Where threads may divide a batch: after whole tiles."""


@pytest.fixture
def split(amx_library: ctypes.CDLL, without_faults: None) -> Products:
    return products_of(amx_library, "float32")


OPERANDS = {
    "normal": (numbers(0, 128, 800), numbers(1, 800, 64)),
    "positive": (abs(numbers(0, 64, 300)), abs(numbers(1, 300, 40))),
    "depth 16": (numbers(0, 512, 16), numbers(1, 16, 64)),
    "wide": (of_range(0, 6, 96, 200), of_range(1, 6, 200, 48)),
    "pixels and weights": (
        np.random.default_rng(0).integers(0, 256, (64, 784)).astype(np.float32),
        numbers(1, 784, 64),
    ),
    "slopes": (numbers(0, 48, 128), of_range(1, 4, 128, 48) * np.float32(1e-8)),
    "from 1e-30 to 1e30": (of_range(0, 30, 64, 100), of_range(1, 6, 100, 32)),
    "denormals": (of_range(0, 1, 48, 64) * np.float32(1e-40), of_range(1, 1, 64, 32)),
    "products that are denormals": (
        of_range(0, 1, 48, 64) * np.float32(1e-20),
        of_range(1, 1, 64, 32) * np.float32(1e-17),
    ),
}


@pytest.mark.parametrize("name", OPERANDS)
def test_errors_are_not_above_those_of_multiply_add(
    split: Products, multiply_add: Products, name: str
) -> None:
    a, b = OPERANDS[name]
    a_transposed, b_transposed = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    for ours, theirs in (
        (product_of(split, a, b), product_of(multiply_add, a, b)),
        (gradient_of(split, a_transposed, b), gradient_of(multiply_add, a_transposed, b)),
        (
            input_gradient(split, a, b_transposed).matrix(),
            input_gradient(multiply_add, a, b_transposed).matrix(),
        ),
    ):
        found, known = errors(ours, a, b), errors(theirs, a, b)
        assert found.max() <= known.max()
        assert np.sqrt((found**2).mean()) <= np.sqrt((known**2).mean())


@pytest.mark.parametrize("depth", [1, 2, 15])
def test_short_sums_are_left_to_multiply_add(
    split: Products, multiply_add: Products, depth: int
) -> None:
    a, b = numbers(0, 40, depth), numbers(1, depth, 64)
    assert np.array_equal(product_of(split, a, b), product_of(multiply_add, a, b))
    x, w = np.ascontiguousarray(a.T), np.ascontiguousarray(b.T)
    assert np.array_equal(gradient_of(split, x, b), gradient_of(multiply_add, x, b))
    slopes = [input_gradient(products, a, w).matrix() for products in (split, multiply_add)]
    assert np.array_equal(*slopes)


def test_a_sum_that_is_one_product(split: Products) -> None:
    """What six products leave out shows there, beside one rounding: up to as much again."""
    close_to_ties = np.float32([float.fromhex("0x1.00ff8p0"), float.fromhex("0x1.01017ap0")])
    values = np.hstack((close_to_ties, numbers(0, 60)))[:, None]
    a = np.where(np.arange(100) == 37, values, np.float32(0.0))
    b = np.repeat(np.hstack((close_to_ties, np.float32(float.fromhex("0x1.02fd86p0")))), 100)
    b = b.reshape(3, 100).T.copy()
    assert 1.8 * 2.0**-24 < errors(product_of(split, a, b), a, b).max() <= 2.0 * 2.0**-24


LARGEST = np.finfo(np.float32).max


@pytest.mark.parametrize(
    "value", [np.inf, -np.inf, np.nan, LARGEST, -0.999 * LARGEST, 1e-38, 1e-45, 1e-31], ids=str
)
def test_what_cannot_be_split_is_left_to_multiply_add(
    split: Products, multiply_add: Products, value: float
) -> None:
    """One tile of sums at a time: the others are as without that number."""
    x, w, dz = numbers(0, 40, 300), numbers(1, 300, 40), numbers(2, 40, 40)
    transposed = np.ascontiguousarray(w.T)
    plain, slopes = product_of(split, x, w), gradient_of(split, x, dz)
    x[20, 150] = value
    with np.errstate(all="ignore"):
        found, wanted = product_of(split, x, w), product_of(multiply_add, x, w)
        assert np.array_equal(input_gradient(split, x, transposed).matrix(), found, equal_nan=True)
    assert np.array_equal(found[16:32], wanted[16:32], equal_nan=True)
    for others in (slice(0, 16), slice(32, 40)):
        assert np.array_equal(found[others], plain[others])
        assert not np.array_equal(found[others], wanted[others])
    with np.errstate(all="ignore"):
        found, wanted = gradient_of(split, x, dz), gradient_of(multiply_add, x, dz)
    assert np.array_equal(found[144:160], wanted[144:160], equal_nan=True)
    for others in (slice(0, 144), slice(160, 300)):
        assert np.array_equal(found[others], slopes[others])
        assert not np.array_equal(found[others], wanted[others])


@pytest.mark.parametrize("row", [20, 21])
def test_tiny_numbers_are_seen_in_any_row(
    split: Products, multiply_add: Products, row: int
) -> None:
    x, dz = np.zeros((40, 33), np.float32), numbers(2, 40, 40)
    x[row] = 1e-36
    found = gradient_of(split, x, dz)
    np.testing.assert_array_equal(found, gradient_of(multiply_add, x, dz))


def test_sums_that_are_infinite(split: Products) -> None:
    x, w = np.full((20, 40), 1e30, np.float32), np.full((40, 20), 1e30, np.float32)
    w[:, 3] = -1e30
    with np.errstate(over="ignore"):
        assert np.array_equal(product_of(split, x, w), x @ w)


def with_everything(seed: int, *shape: int) -> np.ndarray:
    """Blocks of 16 rows and columns: normal numbers, whole or tiny ones, infinity, zeros."""
    random = np.random.default_rng(seed)
    values = numbers(seed, *shape)
    for row in range(0, shape[0], LANES):
        for column in range(0, shape[1], LANES):
            block = values[row : row + LANES, column : column + LANES]
            kind = random.integers(8)
            if kind == 0:
                block *= np.float32(1e-36)
            elif kind == 1:
                block[:] = np.rint(100 * block)
            elif kind == 2 and random.integers(6) == 0:
                block[random.integers(len(block)), 0] = np.inf
            elif kind == 3:
                block[:] = 0.0
    return values


@pytest.mark.parametrize("seed", range(6))
def test_the_bits_do_not_depend_on_who_shares_the_work(split: Products, seed: int) -> None:
    rows, fan_in, fan_out = SPLIT_BY_ROWS[-1] - 3, 430, 80
    x, w, dz = (
        with_everything(seed, rows, fan_in),
        with_everything(seed + 10, fan_in, fan_out),
        with_everything(seed + 20, rows, fan_out),
    )
    whole, dw = empty(rows, fan_out), empty(fan_in, fan_out)
    parts, dw_parts = empty(rows, fan_out), empty(fan_in, fan_out)
    bias = numbers(seed, fan_out)
    weighted_sum(split, Panels(x), Panels(w), bias, whole, 0, 5)
    for first, last in ((0, 1), (1, 2), (2, 5)):
        weighted_sum(split, Panels(x), Panels(w), bias, parts, first, last)
    assert np.array_equal(whole.matrix(), parts.matrix(), equal_nan=True)
    for first, last in itertools.pairwise(SPLIT_BY_ROWS):
        few = x[first:last]
        part = empty(len(few), fan_out)
        weighted_sum(split, Panels(few), Panels(w), bias, part, 0, 5)
        assert np.array_equal(whole.matrix()[first:last], part.matrix(), equal_nan=True)
    weight_gradient(split, x, dz, dw, None, (0, fan_in), (0, 5))
    for inputs in ((0, 16), (16, 112), (112, fan_in)):
        for panels in ((0, 3), (3, 5)):
            weight_gradient(split, x, dz, dw_parts, None, inputs, panels)
    assert np.array_equal(dw.matrix(), dw_parts.matrix(), equal_nan=True)
    assert np.isfinite(dw.matrix()).any() and np.isfinite(whole.matrix()).any()


def test_rests_that_are_zero_change_nothing(split: Products) -> None:
    """Rows of whole numbers take fewer products, unless their block has another row."""
    x, w = np.rint(100 * numbers(0, 32, 64)), numbers(1, 64, 32)
    other = np.vstack((x, np.full((1, 64), 1 / 3, np.float32)))
    assert np.array_equal(product_of(split, x, w), product_of(split, other, w)[:32])
