"""Rounding to bfloat16, the upper half of float32: to nearest, ties to even.

A value stays a float32 (or a Python float) that bfloat16 holds: NumPy has no type for it.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from typing import Any

SIGN, INFINITY, QUIET_NAN = 0x80000000, 0x7F800000, 0x7FC00000


def rounded_bits(bits: Any) -> Any:
    """Round the bits of a float32 that is not NaN: an integer, or an array of uint32."""
    return (bits + (0x7FFF + ((bits >> 16) & 1))) & 0xFFFF0000


def rounded_array(values: Any) -> Any:
    """Return a float32 array rounded to bfloat16; any NaN becomes the quiet one of its sign."""
    import numpy as np

    bits = np.ascontiguousarray(values).view(np.uint32)
    is_nan = np.isnan(values)
    rounded = np.where(is_nan, (bits & SIGN) | QUIET_NAN, rounded_bits(bits))
    return rounded.astype(np.uint32, copy=False).view(np.float32)


def rounded_row(row: Sequence[float]) -> list[float]:
    """Return a row of numbers rounded to float32 and from there to bfloat16."""
    all_bits = array("I", array("f", row).tobytes())
    for i, bits in enumerate(all_bits):
        is_nan = (bits & ~SIGN) > INFINITY
        all_bits[i] = (bits & SIGN) | QUIET_NAN if is_nan else rounded_bits(bits)
    return array("f", all_bits.tobytes()).tolist()
