"""What multiplies float32 in the cython backend: what is asked for, and where tiles pay."""

from __future__ import annotations

import os

from .contract import Plan

FLOAT32_PRODUCTS_VARIABLE = "FASTMLP_FLOAT32_PRODUCTS"
FLOAT32_PRODUCTS = ("auto", "fma", "amx")
"""Whichever is faster; the multiply-add of the instruction set; or AMX's tiles, with each number as
three bfloat16."""

LEAST_ROWS, LEAST_WIDTH = 128, 512
"""So large batches and layers train faster by tiles (measured, see README.md). The network's inputs
may be mostly zeros, which multiply-add leaves out, unless a center is taken off them."""

MOST_WEIGHTS = 2048 * 2048
"""Of all these layers together: each weight takes 6 bytes more."""


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
    """Return the numbers of the layers that train faster by tiles, where there are tiles."""
    found, left = [], MOST_WEIGHTS
    for layer in plan.layers[0 if any(plan.input_center) else 1 :]:
        n_weights = layer.fan_in * layer.fan_out
        if min(layer.fan_in, layer.fan_out) >= LEAST_WIDTH and n_weights <= left:
            found.append(layer.index)
            left -= n_weights
    return found if plan.precision == "float32" and plan.batch_size >= LEAST_ROWS else []
