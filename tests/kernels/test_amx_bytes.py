"""Bytes as whole numbers in the split products of float32 (product_amx.h): three products, not six.

With emulated tiles, as in test_amx.py. The inputs are x times a scale, which goes to the weights,
and to the slopes of their gradient. Errors are measured as in test_amx_float32.py.
"""

from __future__ import annotations

import ctypes
import itertools

import numpy as np
import pytest
from amx_products import (
    LANES,
    SHAPES,
    UINT8,
    Panels,
    Products,
    Source,
    StripProducts,
    Update,
    WeightStrips,
    at_an_end,
    empty,
    errors,
    gradient_of,
    numbers,
    of_range,
    product_of,
    rows_in,
)

SCALE = np.float32(1 / 255)
LARGEST = np.finfo(np.float32).max


class Whole:
    """Rows of bytes as strips, between what another batch has left there: NaN."""

    def __init__(self, strips: StripProducts, x: np.ndarray, scale: np.float32 = SCALE) -> None:
        self.products, self.rows, self.fan_in = strips, *x.shape
        words = strips.strip_words(self.fan_in)
        self.strips = at_an_end(-(-self.rows // LANES) * words).view(np.uint32)
        self.strips[:] = 0xFFFFFFFF
        self.scale, by = scale, np.array([0.0, scale], np.float32)
        source = Source(x.ctypes.data, *x.strides, UINT8, 0, by.ctypes.data, by.ctypes.data + 4)
        order = np.arange(self.rows)
        assert strips.gather(
            ctypes.addressof(source), order.ctypes.data, self.rows, self.rows, self.rows,
            self.fan_in, self.strips.ctypes.data,
        )  # fmt: skip

    def sum(self, w: Panels, bias: np.ndarray | None, z: Panels, panels: tuple[int, int]) -> None:
        """z = scale * x @ w + bias."""
        kept = WeightStrips(self.fan_in, w.columns, self.scale, None, None)
        row = None if bias is None else Panels(bias.reshape(1, -1), spare=0)
        self.products.weighted_sum(
            None, 0, self.strips.ctypes.data, w.at, w.stride, LANES, ctypes.addressof(kept),
            row and row.at, z.at, z.stride, self.rows, self.fan_in, *panels,
        )  # fmt: skip

    def gradient(
        self, dz: Panels, out: Panels, update: Update | None, inputs: tuple[int, int],
        panels: tuple[int, int],
    ) -> None:  # fmt: skip
        """out = scale * x.T @ dz, or it is changed by it."""
        kept = WeightStrips(self.fan_in, dz.columns, self.scale, None, None)
        self.products.weight_gradient(
            None, 0, self.strips.ctypes.data, self.fan_in, dz.at, dz.stride, out.at, out.stride,
            None if update is None else ctypes.addressof(update), ctypes.addressof(kept),
            self.rows, *inputs, *panels, None,
        )  # fmt: skip

    def product(self, w: np.ndarray) -> np.ndarray:
        z = empty(self.rows, w.shape[1])
        self.sum(Panels(w), None, z, (0, z.n))
        return z.padded()

    def gradient_of(self, dz: np.ndarray) -> np.ndarray:
        out = empty(self.fan_in, dz.shape[1])
        self.gradient(Panels(dz), out, None, (0, self.fan_in), (0, out.n))
        return out.padded()


@pytest.fixture
def strips(amx_library: ctypes.CDLL, without_faults: None) -> StripProducts:
    return StripProducts.in_dll(amx_library, "fastmlp_strips_amx_float32")


def pixels(seed: int, *shape: int, lit: float = 0.5) -> np.ndarray:
    random = np.random.default_rng(seed)
    return np.where(random.random(shape) < lit, random.integers(0, 256, shape), 0).astype(np.uint8)


@pytest.mark.parametrize("columns", [1, 16, 17, 31, 32, 33, 100, 128, 129, 784])
@pytest.mark.parametrize("apart", [1, 3, -1])
def test_they_are_gathered_as_they_are(strips: StripProducts, columns: int, apart: int) -> None:
    x = pixels(columns, 37, columns)
    if apart > 0:
        x = np.repeat(x, apart, axis=1)
    x = x[:, ::apart]
    found = rows_in(Whole(strips, x).strips.reshape(3, -1), 37, columns, pieces=3)
    np.testing.assert_array_equal(found[:, :columns], x)
    assert (found[:, columns:] == 0.0).all()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_of_all_shapes(strips: StripProducts, shape: tuple[int, int, int]) -> None:
    """Nothing past an end is read (a page lies there), and nothing between panels written."""
    rows, fan_in, fan_out = shape
    x, w, bias, dz = (
        pixels(0, rows, fan_in), numbers(1, fan_in, fan_out), numbers(2, fan_out),
        numbers(3, rows, fan_out),
    )  # fmt: skip
    whole, z = Whole(strips, x), empty(rows, fan_out)
    inputs = np.longdouble(SCALE) * x
    whole.sum(Panels(w), bias, z, (0, z.n))
    assert errors(z.matrix(), inputs, w, bias).max() <= (fan_in + 2) * 2.0**-24
    assert errors(whole.gradient_of(dz), inputs.T, dz).max(initial=0) <= (rows + 2) * 2.0**-24


@pytest.mark.parametrize(
    ("scale", "others"),
    [
        (1 / 255, numbers(1, 784, 64)),
        (1 / 255, abs(numbers(1, 784, 64))),
        (1 / 3, of_range(2, 6, 128, 40)),
        (-7.3, of_range(3, 30, 100, 32)),
        (1e-20, of_range(4, 1, 64, 33) * np.float32(1e-17)),
        (1.0, numbers(5, 16, 48)),
    ],
    ids=["normal", "positive", "wide", "1e-30 to 1e30", "denormals", "depth 16"],
)
def test_errors_are_not_above_those_of_multiply_add(
    strips: StripProducts, multiply_add: Products, scale: float, others: np.ndarray
) -> None:
    scale = np.float32(scale)
    x = pixels(0, 100, len(others))
    scaled, exact = x.astype(np.float32) * scale, np.longdouble(scale) * x
    turned = np.ascontiguousarray(x.T), np.ascontiguousarray(scaled.T)
    for ours, theirs in (
        (Whole(strips, x, scale).product(others), product_of(multiply_add, scaled, others)),
        (
            Whole(strips, turned[0], scale).gradient_of(others),
            gradient_of(multiply_add, turned[1], others),
        ),
    ):
        found, known = errors(ours, exact, others), errors(theirs, exact, others)
        assert found.max() <= known.max()
        assert np.sqrt((found**2).mean()) <= np.sqrt((known**2).mean())


@pytest.mark.parametrize(
    "value", [np.inf, -np.inf, np.nan, LARGEST, -0.999 * LARGEST, 1e-38, 1e-45, 1e-31], ids=str
)
def test_what_cannot_be_split_is_left_to_multiply_add(strips: StripProducts, value: float) -> None:
    """One tile of sums at a time: the others are as without that number."""
    x, w, dz = pixels(0, 40, 300) | np.uint8(1), numbers(1, 300, 40), numbers(2, 40, 40)
    whole = Whole(strips, x)
    sums, gradient = whole.product(w), whole.gradient_of(dz)
    w[150, 20], dz[35, 20] = value, value
    inputs = (np.float32(SCALE) * x).astype(np.float64)
    with np.errstate(all="ignore"):
        for found, before, expected in (
            (whole.product(w), sums, (inputs @ w).astype(np.float32)),
            (whole.gradient_of(dz), gradient, (inputs.T @ dz).astype(np.float32)),
        ):
            for others in (slice(0, 16), slice(32, 40)):
                np.testing.assert_array_equal(found[:, others], before[:, others])
            np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_many_rows_and_a_bias_that_are_left_to_multiply_add(strips: StripProducts) -> None:
    """A sum takes 512 rows at a time."""
    x, w, bias = pixels(0, 1030, 40), np.full((40, 33), 1e-36, np.float32), numbers(1, 33)
    whole, z = Whole(strips, x), empty(1030, 33)
    bias *= np.float32(1e-35)
    whole.sum(Panels(w), bias, z, (0, z.n))
    inputs = np.longdouble(SCALE) * x
    assert errors(z.matrix(), inputs, w, bias).max() <= 42 * 2.0**-24


@pytest.mark.parametrize("row", [34, 35])
def test_one_tiny_number_is_seen_in_any_row(strips: StripProducts, row: int) -> None:
    x, dz = pixels(0, 40, 33) | np.uint8(1), np.zeros((40, 20), np.float32)
    dz[row] = 1e-34
    found = Whole(strips, x).gradient_of(dz)
    assert errors(found, (np.longdouble(SCALE) * x).T, dz).max() <= 2.0**-22


def test_what_can_be_split_is(strips: StripProducts, multiply_add: Products) -> None:
    """What is left to multiply-add has its bits."""
    x, w, dz = pixels(0, 48, 320), numbers(1, 320, 32), numbers(2, 48, 32)
    whole, scaled = Whole(strips, x), x * SCALE
    for found, left in (
        (whole.product(w), product_of(multiply_add, scaled, w)),
        (whole.gradient_of(dz), gradient_of(multiply_add, np.ascontiguousarray(scaled), dz)),
    ):
        assert (found != left).any(axis=0).all() and (found != left).mean() > 0.1


@pytest.mark.parametrize("size", [1e-39, 1e-43])
def test_denormals_times_a_scale_are_not_taken_for_zero(strips: StripProducts, size: float) -> None:
    x, w = pixels(0, 40, 300) | np.uint8(128), np.full((300, 40), size, np.float32)
    whole, inputs = Whole(strips, x), (np.float32(SCALE) * x).astype(np.float64)
    atol = 300 * 2.0**-149
    np.testing.assert_allclose(whole.product(w), inputs @ w, rtol=1e-6, atol=atol)
    dz = np.full((40, 33), size, np.float32)
    np.testing.assert_allclose(whole.gradient_of(dz), inputs.T @ dz, rtol=1e-6, atol=atol)
    assert (inputs @ w > 10 * atol).all()


def test_sums_that_are_infinite(strips: StripProducts) -> None:
    x, w = np.full((20, 40), 200, np.uint8), np.full((40, 20), 1e37, np.float32)
    w[:, 3] = -1e37
    with np.errstate(over="ignore"):
        expected = x.astype(np.float32) @ w
    np.testing.assert_array_equal(Whole(strips, x, np.float32(1.0)).product(w), expected)


def test_the_bits_do_not_depend_on_who_shares_the_work(strips: StripProducts) -> None:
    rows, fan_in, fan_out = 61, 430, 80
    x, w, bias, dz = (
        pixels(0, rows, fan_in), numbers(1, fan_in, fan_out), numbers(2, fan_out),
        numbers(3, rows, fan_out),
    )  # fmt: skip
    w[300:310, 17] *= np.float32(1e-36)  # some tiles are left to multiply-add
    whole, z, parts = Whole(strips, x), empty(rows, fan_out), empty(rows, fan_out)
    whole.sum(Panels(w), bias, z, (0, 5))
    for first, last in ((0, 1), (1, 2), (2, 5)):
        whole.sum(Panels(w), bias, parts, (first, last))
    np.testing.assert_array_equal(parts.matrix(), z.matrix())
    for first, last in itertools.pairwise((0, 16, 48, rows)):
        part = empty(last - first, fan_out)
        Whole(strips, x[first:last]).sum(Panels(w), bias, part, (0, 5))
        np.testing.assert_array_equal(part.matrix(), z.matrix()[first:last])
    dw, in_parts = whole.gradient_of(dz), empty(fan_in, fan_out)
    for inputs in ((0, 16), (16, 112), (112, fan_in)):
        for panels in ((0, 3), (3, 5)):
            whole.gradient(Panels(dz), in_parts, None, inputs, panels)
    np.testing.assert_array_equal(in_parts.matrix(), dw)


def test_gradient_descent_takes_the_gradient_off(strips: StripProducts) -> None:
    x, w, dz = pixels(0, 300, 130), numbers(1, 130, 45), numbers(2, 300, 45)
    rate = np.array([0.25], np.float32)
    update = Update(is_gradient_descent=1, coefficients=rate.ctypes.data)
    whole, out = Whole(strips, x), Panels(w)
    whole.gradient(Panels(dz), out, update, (0, 130), (0, out.n))
    expected = w - rate * whole.gradient_of(dz)
    np.testing.assert_allclose(out.matrix(), expected, rtol=2.0**-23, atol=1e-30)
