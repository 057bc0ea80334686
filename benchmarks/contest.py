"""One case with one contender: prepared, repeated, scored; here or in a process of its own."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from fastmlp.backend import get_backend
from fastmlp.datasets import Dataset

from .case import Case, Prepared, Setting
from .measure import calibrate, repeat
from .peers import PEERS


@dataclass(frozen=True)
class Opening:
    """What is known of a contest once it is prepared.

    Attributes
    ----------
    isa, precision : str
    n_threads : int
        How many threads the contender would use at most.
    loops : int
        How many calls a repetition is the mean of.
    first_call_seconds : float
        Preparation and first call.
    seconds : float or None
        How long a repetition takes, loops included; None if that is not known yet.
    """

    isa: str
    precision: str
    n_threads: int
    loops: int
    first_call_seconds: float
    seconds: float | None


@dataclass(frozen=True)
class Score:
    """What came out at the end: the test accuracy, and a remark."""

    accuracy: float | None = None
    note: str = ""


class Contest(Protocol):
    """What the runner does with a contest."""

    def open(self) -> Opening:
        """Prepare it, call it once, find its loops."""

    def repeat(self) -> float:
        """Return the seconds per call of one more repetition."""

    def score(self) -> Score:
        """Return what the contender has learned or computed."""

    def close(self) -> None:
        """Give the memory back."""


class LocalContest:
    """A contest in this process."""

    def __init__(self, case: Case, setting: Setting, data: Dataset) -> None:
        self.case, self.setting, self.data = case, setting, data
        self.prepared: Prepared | None = None
        self.loops = 1

    def open(self) -> Opening:
        setting = self.setting
        start = time.perf_counter()
        prepared = self.case.prepare(setting, self.data)
        prepared.warm_up()
        first_call = time.perf_counter() - start
        seconds = None
        if self.case.loops:  # an epoch is long enough, and may not be trained for nothing
            self.loops, seconds = calibrate(prepared.call)
        self.prepared = prepared
        if setting.kind == "peer":
            isa, n_threads = "", setting.n_threads
        else:
            backend = get_backend(setting.contender)
            isa, n_threads = backend.isa, backend.usable_threads(setting.n_threads)
        return Opening(
            isa=isa,
            precision=prepared.precision or setting.precision,
            n_threads=n_threads,
            loops=self.loops,
            first_call_seconds=first_call,
            seconds=seconds,
        )

    def repeat(self) -> float:
        assert self.prepared is not None
        return repeat(self.prepared.call, self.loops)

    def score(self) -> Score:
        assert self.prepared is not None
        accuracy = self.prepared.score() if self.prepared.score else None
        return Score(accuracy, self.prepared.note() if self.prepared.note else "")

    def close(self) -> None:
        self.prepared = None


def environment_of(setting: Setting, run_threads: int) -> dict[str, str] | None:
    """Return the environment of the process that a contest needs; None for this process.

    A peer has a process of its own, so that its threads and its settings meet nobody else's. So
    has a backend under another cap of the instruction set, or with another number of threads:
    NumPy's BLAS reads it when it is loaded.
    """
    if setting.kind == "peer":
        return PEERS[setting.contender].environment(setting.n_threads)
    if setting.max_isa:
        return {"FASTMLP_MAX_ISA": setting.max_isa}
    return {} if setting.n_threads != run_threads else None


def as_message(setting: Setting) -> dict[str, Any]:
    """Return a setting as JSON takes it."""
    return dict(vars(setting))
