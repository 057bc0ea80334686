"""Operands that AMX's products keep as strips of tiles: what is in them, and the same bits.

With emulated tiles, as in test_amx.py. A strip is 16 rows of inputs, or one panel of weights, along
all of the depth: see struct strip_products in kernels/native/kernels.h.
"""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from amx_products import (
    FLOAT32,
    FLOAT64,
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
    input_gradient,
    numbers,
    products_of,
    rows_in,
    weight_gradient,
    weighted_sum,
)

from fastmlp.kernels.bfloat16 import rounded_array

ROOM_ROWS = 512  # as in kernels.h


class Kept:
    """The strips of weights and of their transpose, (panel, word) each; none of three pieces."""

    def __init__(self, both: Both, w: Panels) -> None:
        self.strips = both.memory(w.n, w.rows)
        self.transposed = both.memory(-(-w.rows // LANES), w.columns)
        places = (self.strips.ctypes.data, self.transposed.ctypes.data)
        if not both.products.rounds:
            places = (None, None)
        self.native = WeightStrips(w.rows, w.columns, 1.0, *places)
        self.at = ctypes.addressof(self.native)


class Both:
    """The products of a precision from panels, and from strips."""

    def __init__(self, library: ctypes.CDLL, precision: str) -> None:
        self.products: Products = products_of(library, precision)
        self.strips = StripProducts.in_dll(library, f"fastmlp_strips_amx_{precision}")

    def memory(self, n_strips: int, depth: int) -> np.ndarray:
        """Strips at the end of what may be touched, (strip, word)."""
        words = self.strips.strip_words(depth)
        memory = at_an_end(n_strips * words).view(np.uint32)
        memory[:] = 0
        return memory.reshape(n_strips, words)

    def weights(self, w: Panels) -> Kept:
        kept = Kept(self, w)
        if not self.products.rounds:
            return kept
        self.strips.keep_weights(w.at, w.stride, 0, w.rows, 0, w.n, kept.at)
        return kept

    def left_over(self, n_strips: int, depth: int) -> np.ndarray:
        """Strips with what another layer has left there: NaN."""
        strips = self.memory(n_strips, depth)
        strips[:] = 0xFFFFFFFF
        return strips

    def inputs(self, a: Panels) -> np.ndarray:
        strips = self.left_over(-(-a.rows // LANES), a.columns)
        self.strips.keep_inputs(a.at, a.stride, a.rows, a.columns, 0, a.n, strips.ctypes.data)
        return strips


@pytest.fixture(params=["bfloat16", "float32"])
def both(amx_library: ctypes.CDLL, without_faults: None, request: pytest.FixtureRequest) -> Both:
    return Both(amx_library, request.param)


@pytest.fixture
def rounding(amx_library: ctypes.CDLL, without_faults: None) -> Both:
    return Both(amx_library, "bfloat16")


some_shapes = pytest.mark.parametrize("shape", SHAPES, ids=str)


# -------------------------------------------------------------------------------- what they hold


@pytest.mark.parametrize("columns", [1, 16, 17, 31, 32, 33, 100, 128, 129, 784])
@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize("kind", ["bytes", "sparse bytes", "float32", "float64"])
def test_gathered_rows(rounding: Both, columns: int, each: bool, kind: str) -> None:
    random = np.random.default_rng(columns)
    x: np.ndarray = random.integers(0, 256, (40, columns), np.uint8)
    if kind == "sparse bytes":  # every third number of a row
        x = np.repeat(x, 3, axis=1)[:, ::3]
    elif kind != "bytes":
        x = random.normal(size=(40, columns)).astype(kind)
    wide = np.float64 if kind == "float64" else np.float32
    center, scale = random.normal(size=(2, columns if each else 1)).astype(wide)
    order = random.integers(0, 40, 50)
    kinds = {"float32": FLOAT32, "float64": FLOAT64}
    source = Source(
        x.ctypes.data, *x.strides, kinds.get(kind, UINT8), each, center.ctypes.data,
        scale.ctypes.data,
    )  # fmt: skip
    for rows in (1, 15, 16, 37):
        strips = rounding.left_over(-(-rows // LANES), columns)
        finite = rounding.strips.gather(
            ctypes.addressof(source), order.ctypes.data, rows, rows, 50, columns, strips.ctypes.data
        )
        expected = ((x[order[:rows]].astype(wide) - center) * scale).astype(np.float32)
        found = rows_in(strips, rows, columns)
        assert finite
        np.testing.assert_array_equal(found[:, :columns], rounded_array(expected))
        assert (found[:, columns:] == 0.0).all()


@pytest.mark.parametrize(
    ("value", "center", "scale", "kind"),
    [(np.inf, 0.0, 1.0, FLOAT32), (np.nan, 0.0, 1.0, FLOAT32), (9, -9.0, 3e38, UINT8)],
)
def test_what_is_not_finite_is_reported(
    rounding: Both, value: float, center: float, scale: float, kind: int
) -> None:
    x = np.zeros((3, 50), np.float32 if kind == FLOAT32 else np.uint8)
    by, order, strips = np.array([center, scale], np.float32), np.arange(3), rounding.memory(1, 50)
    at = by.ctypes.data
    x[1, 33] = value
    source = Source(x.ctypes.data, *x.strides, kind, 0, at, at + 4)
    given = (ctypes.addressof(source), order.ctypes.data, 3, 3, 3, 50, strips.ctypes.data)
    assert not rounding.strips.gather(*given)


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 40), (37, 100), (64, 32)], ids=str)
def test_inputs_are_kept_in_parts(rounding: Both, shape: tuple[int, int]) -> None:
    rows, columns = shape
    x = numbers(0, rows, columns)
    panels = Panels(x, past=np.nan)
    found = rows_in(rounding.inputs(panels), rows, columns)
    np.testing.assert_array_equal(found[:, :columns], rounded_array(x))
    assert (found[:, columns:] == 0.0).all()
    in_parts = rounding.left_over(-(-rows // LANES), columns)
    for first_row in range(0, rows, LANES):
        for panel in range(panels.n):
            rounding.strips.keep_inputs(
                panels.at + 4 * LANES * first_row, panels.stride, min(LANES, rows - first_row),
                columns, panel, panel + 1, in_parts[first_row // LANES].ctypes.data,
            )  # fmt: skip
    np.testing.assert_array_equal(rows_in(in_parts, rows, columns), found)


# ---------------------------------------------------------------------------------- the same bits


@some_shapes
def test_weighted_sum(both: Both, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    x, b = numbers(0, rows, fan_in), numbers(2, fan_out)
    a, w = Panels(x, past=np.nan), Panels(numbers(1, fan_in, fan_out))
    expected, z = empty(rows, fan_out), empty(rows, fan_out)
    weighted_sum(both.products, a, w, b, expected, 0, z.n)
    of_weights, bias = both.weights(w), Panels(b.reshape(1, -1), spare=0)
    kept = both.inputs(a) if both.products.rounds else None
    a_strips = None if kept is None else kept.ctypes.data
    for each in {a_strips, None}:
        both.strips.weighted_sum(
            a.at, a.stride, each, w.at, w.stride, LANES, of_weights.at, bias.at,
            z.at, z.stride, rows, fan_in, 0, z.n,
        )  # fmt: skip
        np.testing.assert_array_equal(z.padded(), expected.padded())


@some_shapes
@pytest.mark.parametrize("descends", [True, False])
@pytest.mark.parametrize("with_room", [True, False])
def test_weight_gradient(
    both: Both, shape: tuple[int, int, int], descends: bool, with_room: bool
) -> None:
    rows, fan_in, fan_out = shape
    x, dz, w = numbers(0, rows, fan_in), numbers(1, rows, fan_out), numbers(2, fan_in, fan_out)
    rate = np.array([0.25], np.float32)
    update = Update(is_gradient_descent=1, coefficients=rate.ctypes.data) if descends else None
    a, slopes = Panels(x, past=np.nan), Panels(dz)
    expected, out = Panels(w), Panels(w)
    weight_gradient(both.products, x, dz, expected, update, (0, fan_in), (0, out.n))
    of_weights, before = both.weights(out), both.weights(out)
    kept = both.inputs(a) if both.products.rounds else None
    a_strips = None if kept is None else kept.ctypes.data
    room = both.left_over(out.n, min(rows, ROOM_ROWS)) if with_room else None
    middle = min(fan_in, 3 * LANES)  # of a tile
    for first, last in ((0, middle), (middle, fan_in)):
        for panel, end in ((0, 1), (1, out.n)):  # threads may begin with any panel
            both.strips.weight_gradient(
                a.at, a.stride, a_strips, fan_in, slopes.at, slopes.stride, out.at, out.stride,
                None if update is None else ctypes.addressof(update), of_weights.at, rows,
                first, last, panel, end, None if room is None else room.ctypes.data,
            )  # fmt: skip
    np.testing.assert_array_equal(out.padded(), expected.padded())
    anew = both.weights(out) if descends else before  # a gradient alone changes no weight
    np.testing.assert_array_equal(of_weights.strips, anew.strips)
    np.testing.assert_array_equal(of_weights.transposed, anew.transposed)


@pytest.mark.parametrize("shape", [(1, 1), (16, 16), (17, 40), (37, 100), (64, 33)], ids=str)
def test_weights_are_kept_in_parts(rounding: Both, shape: tuple[int, int]) -> None:
    w = Panels(numbers(0, *shape))
    expected, in_parts = rounding.weights(w), Kept(rounding, w)
    for panel in range(w.n):  # a line of the transpose has two of them
        for first in range(0, w.rows, LANES):
            last = min(first + LANES, w.rows)
            rounding.strips.keep_weights(w.at, w.stride, first, last, panel, panel + 1, in_parts.at)
    np.testing.assert_array_equal(in_parts.strips, expected.strips)
    np.testing.assert_array_equal(in_parts.transposed, expected.transposed)


@some_shapes
def test_input_gradient(both: Both, shape: tuple[int, int, int]) -> None:
    rows, fan_in, fan_out = shape
    dz, w = numbers(0, rows, fan_out), numbers(1, fan_in, fan_out)
    slopes, weights, da = Panels(dz), Panels(w), empty(rows, fan_in)
    kept, of_slopes = both.weights(weights), None
    if both.products.rounds:
        of_slopes = both.inputs(slopes)
    both.strips.input_gradient(
        slopes.at, slopes.stride, None if of_slopes is None else of_slopes.ctypes.data, weights.at,
        weights.stride, kept.at, da.at, da.stride, rows, 0, da.n,
    )  # fmt: skip
    expected = input_gradient(both.products, dz, w)
    np.testing.assert_array_equal(da.padded(), expected.padded())


def test_float32_keeps_neither_inputs_nor_weights(amx_library: ctypes.CDLL) -> None:
    strips = Both(amx_library, "float32").strips
    assert not (strips.keep_inputs or strips.keep_weights)
