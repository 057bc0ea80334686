"""What multiplies float32 in the cython backend, from the environment."""

from __future__ import annotations

import os

FLOAT32_PRODUCTS_VARIABLE = "FASTMLP_FLOAT32_PRODUCTS"
FLOAT32_PRODUCTS = ("fma", "amx")
"""The multiply-add of the instruction set, or AMX's tiles, with each number as three bfloat16."""


def requested_float32_products() -> str:
    """Return what FASTMLP_FLOAT32_PRODUCTS asks for; "fma" if it is not set.

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
