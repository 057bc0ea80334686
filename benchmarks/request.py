"""What a run is asked to measure: checked before anything is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastmlp.backend import get_backend
from fastmlp.checks import check_integer
from fastmlp.errors import unknown_name

from .case import GROUPS, LEVELS, Case, Level
from .cases import cases_named, cases_of
from .cases_kernels import BATCH_SIZE
from .levels import peers_of
from .peers import Peer, peers_named
from .sections import SECTION_NAMES

# The groups in the order of running; the cases of a lower level come before those of a higher one.
# An interrupted run, or one that is out of time, then has the most important ones of every group.
# (Until Numba has compiled, once, nothing can be timed: `runner` does the experiments meanwhile.)
RUNNING_ORDER = ("training", "inference", "kernels", "growth", "options")
LATER_ORDER = ("kernels", "inference", "training", "growth", "options")
"""Of the higher levels: many kernels take as long as one network."""


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes
    ----------
    data : {"digits", "mnist"}
    data_dir : str or None
        Where the files of MNIST are.
    level : {"quick", "default", "full"}
    cases : sequence of str, or None
        Names of cases and groups: only these, and no sections. None takes those of the level.
    backends : sequence of str, or None
        None takes every one that is available.
    peers : sequence of str, or None
        Names or short names; empty for none. None takes those of the level that are installed.
    repeats : int or None
        Repetitions of each measurement; of training: epochs. None takes those of the level, fewer
        (at least 2) on a slow machine.
    n_threads : int or None
        None leaves it to the library.
    rows : int or None
        Training rows; None takes 60,000.
    skip : sequence of str
        Names of groups and sections to leave out.
    """

    data: str = "digits"
    data_dir: str | None = None
    level: Level = "default"
    cases: Sequence[str] | None = None
    backends: Sequence[str] | None = None
    peers: Sequence[str] | None = None
    repeats: int | None = None
    n_threads: int | None = None
    rows: int | None = None
    skip: Sequence[str] = ()

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise unknown_name("level", self.level, LEVELS)
        if self.repeats is not None:
            check_integer("repeats", self.repeats, 1)
        if self.n_threads is not None:
            check_integer("threads", self.n_threads, 1)
        if self.rows is not None:
            check_integer("rows", self.rows, BATCH_SIZE)
        for name in self.backends or ():
            get_backend(name)  # raises what to say about an unknown or unavailable one
        for name in self.skip:
            if name not in (*GROUPS, *SECTION_NAMES):
                raise unknown_name("--skip", name, (*GROUPS, *SECTION_NAMES))
        if self.cases is not None:
            cases_named(self.cases, self.level)
        peers_named(self.peers or ())

    @property
    def chosen_cases(self) -> list[Case]:
        """The cases to run, in the order of running."""
        if self.cases is None:
            chosen = cases_of(level=self.level)
        else:
            chosen = cases_named(self.cases, self.level)
        kept = [case for case in chosen if case.group not in self.skip]

        def position(case: Case) -> tuple[int, int]:
            order = RUNNING_ORDER if case.level == LEVELS[0] else LATER_ORDER
            return LEVELS.index(case.level), order.index(case.group)

        return sorted(kept, key=position)

    @property
    def chosen_peers(self) -> list[Peer]:
        """The peers that were asked for, installed or not."""
        return peers_of(self.level) if self.peers is None else peers_named(self.peers)

    @property
    def skipped_sections(self) -> tuple[str, ...]:
        """The sections to leave out."""
        if self.cases is not None:
            return SECTION_NAMES
        return tuple(name for name in SECTION_NAMES if name in self.skip)

    @property
    def command(self) -> str:
        """What to type to run it again; without folders, which are nobody's business."""
        parts = ["fastmlp bench", f"--data {self.data}"]
        if self.level != "default":
            parts.append(f"--{self.level}")
        lists = {"cases": self.cases, "backends": self.backends, "skip": self.skip or None}
        for option, names in lists.items():
            if names is not None:
                parts.append(f"--{option} {','.join(names)}")
        if self.peers is not None:
            parts.append(f"--peers {','.join(self.peers) or 'none'}")
        if self.repeats is not None:
            parts.append(f"--repeats {self.repeats}")
        if self.n_threads is not None:
            parts.append(f"--threads {self.n_threads}")
        if self.rows is not None:
            parts.append(f"--rows {self.rows}")
        return " ".join(parts)
