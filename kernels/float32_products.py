"""What multiplies float32 in the cython backend: what is asked for, and where tiles pay."""

from __future__ import annotations

import os

from .contract import Plan

FLOAT32_PRODUCTS_VARIABLE = "FASTMLP_FLOAT32_PRODUCTS"
FLOAT32_PRODUCTS = ("auto", "fma", "amx")
"""Whichever is faster; the multiply-add of the instruction set; or AMX's tiles, with each number as
three bfloat16."""

LEAST_ROWS, LEAST_WIDTH, LEAST_SIZE = 64, 256, 1 << 15
"""Layers so wide train faster by tiles (measured, see README.md) with batches of so many rows, and
with so many numbers in a batch of their narrower side."""

FEW_ZEROS = 0.9
"""The network's inputs may have zeros, which multiply-add leaves out: it is faster unless such a
share of its steps is left."""

LEAST_WIDTH_OF_BYTES, LEAST_STEPS_OF_BYTES = 32, 32
"""Bytes are whole numbers, of one piece each, and take half of the products: they train faster by
tiles if of the steps of a batch as many are left as so many rows have."""

LEAST_SCALE, LARGEST_SCALE = 2.0**-60, 2.0**60
"""Of bytes that are taken as whole numbers; others are left to multiply-add."""


def requested_float32_products() -> str:
    """Return what FASTMLP_FLOAT32_PRODUCTS asks for; "auto" if it is not set.

    Raises
    ------
    ValueError
        If it is set to something else.
    """
    wanted = os.environ.get(FLOAT32_PRODUCTS_VARIABLE, "").strip().lower() or FLOAT32_PRODUCTS[0]
    if wanted not in FLOAT32_PRODUCTS:
        raise ValueError(
            f"the environment variable {FLOAT32_PRODUCTS_VARIABLE} must be one of "
            f"{', '.join(FLOAT32_PRODUCTS)}; got {wanted!r}"
        )
    return wanted


def layers_for_tiles(plan: Plan) -> list[int]:
    """Return the numbers of the layers that train faster by tiles, where there are tiles.

    The first one does if there are few zeros among its inputs, of which a plan knows nothing.
    """
    if plan.precision != "float32" or plan.batch_size < LEAST_ROWS:
        return []
    least = max(LEAST_WIDTH, LEAST_SIZE / plan.batch_size)
    return [layer.index for layer in plan.layers if min(layer.fan_in, layer.fan_out) >= least]


def bytes_are_whole_numbers(plan: Plan) -> bool:
    """Return whether products may take uint8 inputs as they are, and scale the other operand."""
    if plan.precision != "float32" or len(plan.input_scale) > 1 or any(plan.input_center):
        return False
    return plan.dropout[0] == 0.0 and LEAST_SCALE < abs(plan.input_scale[0]) < LARGEST_SCALE


def tiles_may_be_for_bytes(plan: Plan) -> bool:
    """Return whether the first layer trains faster by tiles on bytes that are not mostly zeros."""
    first = plan.layers[0]
    return (
        bytes_are_whole_numbers(plan)
        and plan.batch_size >= LEAST_STEPS_OF_BYTES
        and min(first.fan_in, first.fan_out) >= LEAST_WIDTH_OF_BYTES
    )
