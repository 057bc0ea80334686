"""Learning-rate schedules: how the rate changes while training goes on.

All of them count in epochs, from 0 and with fractions: the third batch of four of the second epoch
is at 1.5. So a schedule means the same for every batch size. They are given in the place of a
number, ``SGD(learning_rate=StepDecay(0.1, every=20))``, and may wrap one another.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import check_number

Rates = NDArray[np.float64]

LARGEST_RATE = 1e9


@dataclass(frozen=True)
class Schedule:
    """What every schedule has."""

    def rates(self, epochs: Rates, rows_per_epoch: float) -> Rates:
        """Return the learning rates at so many epochs done, (n,).

        Parameters
        ----------
        epochs : ndarray of float64, shape (n,)
            From 0; batch b of n_batches of the first epoch is at b / n_batches.
        rows_per_epoch : float
            Of the epochs done, on average; of the first one, its own.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """Return the settings by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _check(self, name: str, minimum: float, maximum: float, **how: bool) -> None:
        value = check_number(name, getattr(self, name), minimum, maximum, **how)
        object.__setattr__(self, name, value)


@dataclass(frozen=True)
class Constant(Schedule):
    """The same rate for ever, as a plain number gives.

    Parameters
    ----------
    rate : float
    """

    rate: float

    def __post_init__(self) -> None:
        self._check("rate", 0.0, LARGEST_RATE)

    def rates(self, epochs: Rates, rows_per_epoch: float) -> Rates:
        return np.full(len(epochs), self.rate)


@dataclass(frozen=True)
class StepDecay(Schedule):
    """The rate is multiplied by a factor every so many epochs.

    Parameters
    ----------
    initial : float
        The rate at the start.
    every : float, default 10
        Epochs from step to step.
    factor : float, default 0.1
    """

    initial: float
    every: float = 10.0
    factor: float = 0.1

    def __post_init__(self) -> None:
        self._check("initial", 0.0, LARGEST_RATE)
        self._check("every", 1e-6, 1e9)
        self._check("factor", 0.0, 1.0)

    def rates(self, epochs: Rates, rows_per_epoch: float) -> Rates:
        return np.asarray(self.initial * self.factor ** np.floor(epochs / self.every))


@dataclass(frozen=True)
class CosineRestarts(Schedule):
    """The rate falls along half a cosine, then starts again (Loshchilov and Hutter, 2016).

    Without a restart, as plain cosine annealing: let `period` be all epochs.

    Parameters
    ----------
    initial : float
        The rate at the start and after each restart.
    period : float, default 10
        Epochs until the first restart.
    multiply : float >= 1, default 1
        Each period is so many times as long as the one before.
    minimum : float, default 0
        What the rate falls to.
    """

    initial: float
    period: float = 10.0
    multiply: float = 1.0
    minimum: float = 0.0

    def __post_init__(self) -> None:
        self._check("initial", 0.0, LARGEST_RATE)
        self._check("period", 1e-6, 1e9)
        self._check("multiply", 1.0, 1e6)
        self._check("minimum", 0.0, self.initial)

    def rates(self, epochs: Rates, rows_per_epoch: float) -> Rates:
        scaled = np.asarray(epochs) / self.period
        if self.multiply == 1.0:
            done = scaled % 1.0
        else:
            # Where the periods begin, in first periods: 0, 1, 1 + m, 1 + m + m^2, ...
            starts = [0.0, 1.0]
            while starts[-1] <= scaled.max(initial=0.0):
                starts.append(starts[-1] * self.multiply + 1.0)
            index = np.searchsorted(starts, scaled, side="right") - 1
            done = (scaled - np.array(starts)[index]) / np.diff(starts)[index]
        height = (1.0 + np.cos(math.pi * done)) / 2.0
        return np.asarray(self.minimum + (self.initial - self.minimum) * height)


@dataclass(frozen=True)
class OneCycle(Schedule):
    """The rate rises to a peak and falls to nearly nothing (Smith and Topin, 2018), by cosines.

    Parameters
    ----------
    peak : float
        The largest rate; the range test suggests one.
    epochs : float
        The length of the cycle: as many as are trained. Afterwards the rate stays at its last.
    rising : float in (0, 1), default 0.3
        The part of the cycle until the peak.
    first_divisor, last_divisor : float >= 1, default 25 and 10,000
        The cycle starts at peak / first_divisor and ends at the start's rate / last_divisor.
    """

    peak: float
    epochs: float
    rising: float = 0.3
    first_divisor: float = 25.0
    last_divisor: float = 1e4

    def __post_init__(self) -> None:
        self._check("peak", 0.0, LARGEST_RATE)
        self._check("epochs", 1e-6, 1e9)
        self._check("rising", 1e-6, 1.0, below_maximum=True)
        self._check("first_divisor", 1.0, 1e12)
        self._check("last_divisor", 1.0, 1e12)

    def rates(self, epochs: Rates, rows_per_epoch: float) -> Rates:
        done = np.minimum(np.asarray(epochs) / self.epochs, 1.0)
        first = self.peak / self.first_divisor
        last = first / self.last_divisor
        up = np.minimum(done / self.rising, 1.0)
        down = np.maximum((done - self.rising) / (1.0 - self.rising), 0.0)
        rising = first + (self.peak - first) * (1.0 - np.cos(math.pi * up)) / 2.0
        falling = last + (self.peak - last) * (1.0 + np.cos(math.pi * down)) / 2.0
        return np.where(done < self.rising, rising, falling)


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """The rate of scikit-learn's ``learning_rate="invscaling"``, which changes epoch by epoch.

    It is initial / (rows seen + 1)^power.

    Parameters
    ----------
    initial : float
    power : float >= 0, default 0.5
    """

    initial: float
    power: float = 0.5

    def __post_init__(self) -> None:
        self._check("initial", 0.0, LARGEST_RATE)
        self._check("power", 0.0, 100.0)

    def rates(self, epochs: Rates, rows_per_epoch: float) -> Rates:
        return np.asarray(self.initial / (np.floor(epochs) * rows_per_epoch + 1.0) ** self.power)


@dataclass(frozen=True)
class WarmUp(Schedule):
    """The rate rises in a straight line; then another schedule begins.

    Parameters
    ----------
    epochs : float
        How long it rises.
    then : float, Schedule or function
        What it rises to and goes on with: the schedule's own count begins after the warm-up.
    start : float in [0, 1], default 0.1
        The part of the rate to begin with.
    """

    epochs: float
    then: Any
    start: float = 0.1

    def __post_init__(self) -> None:
        self._check("epochs", 1e-6, 1e9)
        self._check("start", 0.0, 1.0)
        object.__setattr__(self, "then", check_rate("then", self.then))

    def rates(self, epochs: Rates, rows_per_epoch: float) -> Rates:
        risen = np.minimum(np.asarray(epochs) / self.epochs, 1.0)
        after = rates_of(self.then, np.maximum(epochs - self.epochs, 0.0), rows_per_epoch)
        return np.asarray(after * (self.start + (1.0 - self.start) * risen))


@dataclass(frozen=True)
class Scaled(Schedule):
    """Another schedule, times a factor: what `ReduceOnPlateau` makes of a schedule.

    Parameters
    ----------
    schedule : float, Schedule or function
    factor : float
    """

    schedule: Any
    factor: float

    def __post_init__(self) -> None:
        self._check("factor", 0.0, 1e9)
        object.__setattr__(self, "schedule", check_rate("schedule", self.schedule))

    def rates(self, epochs: Rates, rows_per_epoch: float) -> Rates:
        return np.asarray(self.factor * rates_of(self.schedule, epochs, rows_per_epoch))


Rate = float | Schedule | Callable[[float], float]
"""A learning rate: a number, a schedule, or a function of the number of epochs done."""

SCHEDULES: dict[str, type[Schedule]] = {
    each.__name__: each
    for each in (Constant, StepDecay, CosineRestarts, OneCycle, InverseScaling, WarmUp, Scaled)
}


def check_rate(argument: str, rate: Any) -> Rate:
    """Return a learning rate as a float, a schedule or a function.

    Raises
    ------
    ValueError, TypeError
        If it is anything else, or a number below 0.
    """
    if isinstance(rate, Schedule) or (callable(rate) and not isinstance(rate, type)):
        return rate
    return check_number(argument, rate, 0.0, LARGEST_RATE)


def rates_of(rate: Rate, epochs: Rates, rows_per_epoch: float) -> Rates:
    """Return the learning rates at so many epochs done, (n,).

    Raises
    ------
    ValueError
        If a function of the user's gives something that is no learning rate.
    """
    if isinstance(rate, Schedule):
        return rate.rates(epochs, rows_per_epoch)
    if not callable(rate):
        return np.full(len(epochs), rate)
    found = []
    for epoch in epochs.tolist():
        try:
            found.append(check_number("learning_rate", rate(epoch), 0.0, LARGEST_RATE))
        except (ValueError, TypeError) as error:
            raise type(error)(f"{error} from {rate!r} at epoch {epoch:g}") from None
    return np.array(found)
