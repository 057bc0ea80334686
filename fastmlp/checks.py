"""Checks of single arguments; each error names the argument, what came and what was expected."""

from __future__ import annotations

import math
import operator
from typing import SupportsIndex


def check_integer(argument: str, value: object, minimum: int) -> int:
    """Return `value` as an int of at least `minimum`; refuse anything else."""
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        raise TypeError(
            f"{argument} must be an integer >= {minimum}; got {type(value).__name__}: {value!r}"
        )
    number = operator.index(value)
    if number < minimum:
        raise ValueError(f"{argument} must be an integer >= {minimum}; got {number}")
    return number


def check_number(
    argument: str,
    value: object,
    minimum: float = -math.inf,
    maximum: float = math.inf,
    *,
    exclusive: bool = False,
) -> float:
    """Return `value` as a finite float within the bounds; `exclusive` leaves the bounds out."""
    low, high = ("(", ")") if exclusive else ("[", "]")
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
    inside = minimum < number < maximum if exclusive else minimum <= number <= maximum
    if not math.isfinite(number) or not inside:
        raise ValueError(f"{argument} must be {expected}; got {value!r}")
    return number
