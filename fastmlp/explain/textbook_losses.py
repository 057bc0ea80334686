"""The losses as textbooks write them, by the output `a`, for the derivative dL/da.

The library merges such a loss with its output activation (kernels/formulas.py) and never divides
by `a`. The explainer shows the long way round, and that it ends at the same dL/dz, which for all of
these is a - y. Same subset of Python as the formulas; a loss that is missing here is shown without
the long way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log


def binary_cross_entropy(a: float, y: float) -> float:
    """Return the loss of one output."""
    return -y * log(a) - (1.0 - y) * log(1.0 - a)


def binary_cross_entropy_slope(a: float, y: float) -> float:
    """Return dL/da."""
    return -y / a + (1.0 - y) / (1.0 - a)


def categorical_cross_entropy(a: float, y: float) -> float:
    """Return one output's part of the loss."""
    return -y * log(a)


def categorical_cross_entropy_slope(a: float, y: float) -> float:
    """Return dL/da."""
    return -y / a


@dataclass(frozen=True)
class TextbookLoss:
    """A loss of one output `a` and its target `y`, and its derivative by `a`."""

    value: Callable[[float, float], float]
    slope: Callable[[float, float], float]


TEXTBOOK_LOSSES: dict[str, TextbookLoss] = {
    "binary_cross_entropy": TextbookLoss(binary_cross_entropy, binary_cross_entropy_slope),
    "categorical_cross_entropy": TextbookLoss(
        categorical_cross_entropy, categorical_cross_entropy_slope
    ),
}
