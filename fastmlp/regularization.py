"""What a user names to keep training in bounds: dropout, penalties and limits.

The formulas are in kernels/formulas.py.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import check_number

RATE_LIMIT = 1.0
"""A rate of dropout stays below it: at 1 nothing would be left."""


@dataclass(frozen=True)
class Dropout:
    """Leave out units at random while training (Srivastava et al., 2014).

    Each unit of each row is left out with probability `rate` at each step; the others are
    multiplied by ``1 / (1 - rate)``, so that prediction needs no change. The draw depends on the
    Trainer's seed, the step, the row's place in the batch and the unit alone: every backend and
    every number of threads draws the same.

    Parameters
    ----------
    hidden : float in [0, 1) or sequence of them, default 0.5
        The rate of the hidden layers' activations: one for all, or one per hidden layer.
    input : float in [0, 1), default 0.0
        The rate of the network's inputs.

    Raises
    ------
    ValueError, TypeError
        If a rate is not in [0, 1).
    """

    hidden: float | tuple[float, ...] = 0.5
    input: float = 0.0

    def __post_init__(self) -> None:
        hidden: Any = self.hidden
        if isinstance(hidden, Iterable) and not isinstance(hidden, (str, bytes)):
            rates = (_rate(f"dropout.hidden[{i}]", rate) for i, rate in enumerate(hidden))
            object.__setattr__(self, "hidden", tuple(rates))
        else:
            object.__setattr__(self, "hidden", _rate("dropout.hidden", hidden))
        object.__setattr__(self, "input", _rate("dropout.input", self.input))

    def rates(self, n_hidden: int) -> tuple[float, ...]:
        """Return the rate of each layer's inputs: the network's, then of each hidden layer."""
        if not isinstance(self.hidden, tuple):
            return (self.input, *(self.hidden,) * n_hidden)
        if len(self.hidden) != n_hidden:
            raise ValueError(
                f"dropout.hidden must be one rate or one per hidden layer ({n_hidden}); got "
                f"{len(self.hidden)}: {self.hidden}"
            )
        return (self.input, *self.hidden)


@dataclass(frozen=True)
class Regularization:
    """Penalties on the weights, and a limit on them; biases are left alone.

    Parameters
    ----------
    l1, l2 : float >= 0, default 0.0
        ``l1 * sum(|w|) + l2 / 2 * sum(w ** 2)`` over all weights is added to the loss that is
        minimized (not to the loss that is reported).
    max_norm : float > 0 or None, default None
        After each update the weights into each unit are scaled down to at most this Euclidean norm.
    divided_by_rows : bool, default False
        Divide l1 and l2 by the rows of the batch (the sum of their weights), as scikit-learn does
        with ``alpha``.

    Raises
    ------
    ValueError, TypeError
        If a number is negative, or not a finite number.
    """

    l1: float = 0.0
    l2: float = 0.0
    max_norm: float | None = None
    divided_by_rows: bool = False

    def __post_init__(self) -> None:
        for name in ("l1", "l2"):
            value = check_number(f"regularization.{name}", getattr(self, name), 0.0, 1e30)
            object.__setattr__(self, name, value)
        if self.max_norm is not None:
            limit = check_number("regularization.max_norm", self.max_norm, 1e-30, 1e30)
            object.__setattr__(self, "max_norm", limit)
        if not isinstance(self.divided_by_rows, bool):
            raise TypeError(
                "regularization.divided_by_rows must be True or False; got "
                f"{self.divided_by_rows!r}"
            )

    @property
    def has_penalty(self) -> bool:
        """Whether it changes the gradient."""
        return self.l1 > 0.0 or self.l2 > 0.0

    def penalty(self, weights: NDArray[Any]) -> float:
        """Return ``l1 * sum(|w|) + l2 / 2 * sum(w ** 2)``, not divided by anything."""
        w = np.ravel(weights).astype(np.float64)
        with np.errstate(over="ignore"):  # of weights that are about to diverge
            return self.l1 * float(np.abs(w).sum()) + self.l2 / 2.0 * float(w @ w)

    def penalty_gradient(self, weights: NDArray[Any]) -> NDArray[Any]:
        """Return the gradient of `penalty`, of the shape of `weights`."""
        return np.asarray(self.l2 * weights + self.l1 * np.sign(weights))


@dataclass(frozen=True)
class Clipping:
    """Limits on the gradient of a step, with the penalties in it.

    Parameters
    ----------
    value : float > 0 or None, default None
        Each element is kept within [-value, value].
    norm : float > 0 or None, default None
        After that the whole gradient is scaled down to at most this Euclidean norm (Pascanu et al.,
        2013).

    Raises
    ------
    ValueError, TypeError
        If a limit is not a finite number above 0.
    """

    value: float | None = None
    norm: float | None = None

    def __post_init__(self) -> None:
        for name in ("value", "norm"):
            limit = getattr(self, name)
            if limit is not None:
                limit = check_number(f"clipping.{name}", limit, 1e-30, 1e30)
                object.__setattr__(self, name, limit)

    @property
    def largest(self) -> float:
        """The limit of an element, or infinity."""
        return math.inf if self.value is None else self.value


def check_dropout(dropout: object) -> Dropout:
    """Return `Dropout` for an object, or for a rate of the hidden layers."""
    if isinstance(dropout, Dropout):
        return dropout
    return Dropout(hidden=_rate("dropout", dropout))


def check_kind(argument: str, value: object, kind: type) -> Any:
    """Return `value` if it is of the class `kind`."""
    if not isinstance(value, kind):
        raise TypeError(f"{argument} must be a {kind.__name__}; got {type(value).__name__}")
    return value


def _rate(argument: str, value: object) -> float:
    return check_number(argument, value, 0.0, RATE_LIMIT, below_maximum=True)
