"""Checks of single arguments; each error names the argument, what came and what was expected."""

from __future__ import annotations

import math
import operator
from typing import SupportsIndex

LARGEST_COUNT = 2**31 - 1
"""More rows, units or threads than any machine holds: a larger count is a mistake."""


def check_integer(
    argument: str, value: object, minimum: int, maximum: int | None = LARGEST_COUNT
) -> int:
    """Return `value` as an int within the bounds; refuse anything else. None: no upper bound."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(
            f"{argument} must be an integer >= {minimum}; got {type(value).__name__}: {value!r}"
        )
    number = operator.index(value)
    if number < minimum:
        raise ValueError(f"{argument} must be an integer >= {minimum}; got {number}")
    if maximum is not None and number > maximum:
        raise ValueError(
            f"{argument} must be an integer from {minimum} to {maximum:,}; got {number:,}"
        )
    return number


def check_seed(value: object) -> int:
    """Return a seed as an int of at least 0, of any size."""
    return check_integer("seed", value, 0, None)


def check_number(
    argument: str,
    value: object,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    *,
    above_minimum: bool = False,
    below_maximum: bool = False,
) -> float:
    """Return `value` as a finite float within the bounds, which the two switches leave out."""
    # No finite number reaches an infinite bound: it is open.
    low = "(" if above_minimum or minimum == -math.inf else "["
    high = ")" if below_maximum or maximum == math.inf else "]"
    expected = f"a finite number in {low}{minimum:g}, {maximum:g}{high}"
    try:
        if isinstance(value, (bool, str, bytes)):
            raise TypeError
        number = float(value)  # type: ignore[arg-type]
    except OverflowError:  # an int beyond all floats
        number = math.inf
    except (TypeError, ValueError):
        raise TypeError(
            f"{argument} must be {expected}; got {type(value).__name__}: {value!r}"
        ) from None
    inside = minimum <= number <= maximum
    left_out = (above_minimum and number == minimum) or (below_maximum and number == maximum)
    if not math.isfinite(number) or not inside or left_out:
        raise ValueError(f"{argument} must be {expected}; got {value!r}")
    return number
