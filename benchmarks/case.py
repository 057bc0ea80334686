"""What a case is, what it is measured with, and what it prepares to be timed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fastmlp.datasets import Dataset

Group = Literal["kernels", "training", "options", "inference", "growth"]
GROUPS: tuple[Group, ...] = ("kernels", "training", "options", "inference", "growth")

Level = Literal["quick", "default", "full"]
LEVELS: tuple[Level, ...] = ("quick", "default", "full")
"""How much is measured; each holds the one before."""

Kind = Literal["backend", "peer"]

REFERENCE, REFERENCE_PRECISION = "python", "float64"
"""The backend that speedups are relative to, and that is timed on fewer rows; what it computes in,
whatever it is asked for: Python has no other floats."""

OF_IMAGES = ("images", "standardized images")
"""The data that are made of the images of the run, as many as there are, and read as uint8."""

QUICK_REFERENCE_ROWS = 32
"""At the quick level the reference is timed on no more rows. On far fewer than a batch the update,
which comes once, would count for too much."""


@dataclass(frozen=True)
class Setting:
    """What a case is measured with.

    Attributes
    ----------
    contender : str
        The name of a backend or of a peer.
    rows : int
        How many rows the call works on.
    n_threads : int
    kind : {"backend", "peer"}
    precision : str, default "float32"
    max_isa : str, default ""
        The cap that FASTMLP_MAX_ISA sets; empty for none.
    """

    contender: str
    rows: int
    n_threads: int
    kind: Kind = "backend"
    precision: str = "float32"
    max_isa: str = ""


@dataclass(frozen=True)
class Prepared:
    """A case that is ready to be timed.

    Attributes
    ----------
    call : function
        What is timed.
    warm_up : function
        Makes the contender compile what `call` needs, and changes nothing that `call` works on.
    score : function or None
        The test accuracy, from 0 to 1, after the last call.
    note : function or None
        A remark on what was computed, after the last call.
    precision : str
        What the contender says that it computes in, if that is not the setting's.
    """

    call: Callable[[], object]
    warm_up: Callable[[], object]
    score: Callable[[], float] | None = None
    note: Callable[[], str] | None = None
    precision: str = ""


def nothing_against(setting: Setting) -> str:
    """Return the reason not to measure: none."""
    return ""


@dataclass(frozen=True)
class Case:
    """One thing that is measured, for every contender.

    Attributes
    ----------
    name : str
        Its key in the results.
    group : {"kernels", "training", "options", "inference", "growth"}
    title, description : str
        For the tables, in a few words and in a sentence.
    rows : int
        How many rows the reported time is for.
    prepare : function of (Setting, Dataset), returns Prepared
    level : {"quick", "default", "full"}
        The lowest level that it belongs to.
    reference_rows : int
        How many rows the reference is timed on, scaled; 0 leaves the reference out.
    rows_at : dict of level to int
        How many rows are timed at a level, scaled, where all of them would take too long.
    parameters : dict
        Sizes and settings, for results.json.
    flops : int or None
        Multiplications and additions of the products of one reported call.
    dimensions : {"quick", "default", "full"} or None
        The lowest level at which it is measured for each instruction set, precision and number
        of threads.
    n_threads : int or None
        The number of threads, if that is what the case is about.
    with_peers : bool
    loops : bool
        Whether a call may be repeated in a loop to be long enough to be timed: not an epoch, for
        every contender trains as often.
    refuses : function of a Setting, returns str
        Why a contender cannot run it; empty if it can.
    """

    name: str
    group: Group
    title: str
    description: str
    rows: int
    prepare: Callable[[Setting, Dataset], Prepared]
    level: Level = "default"
    reference_rows: int = 0
    rows_at: Mapping[Level, int] = field(default_factory=dict)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    flops: int | None = None
    dimensions: Level | None = None
    n_threads: int | None = None
    with_peers: bool = False
    loops: bool = True
    refuses: Callable[[Setting], str] = nothing_against

    def rows_timed(self, contender: str, n_rows: int | None, level: Level = "full") -> int:
        """Return how many rows are timed if the data have `n_rows` (None: as many as needed)."""
        wanted = min(self.rows, self.rows_at.get(level, self.rows))
        if contender == REFERENCE:
            rows = self.reference_rows
            if level == "quick":
                rows = min(rows, QUICK_REFERENCE_ROWS)
            wanted = min(rows, wanted)
        return wanted if n_rows is None else min(wanted, n_rows)

    def as_dict(self) -> dict[str, Any]:
        """Return what results.json says of it."""
        names = ("name", "group", "title", "description")
        return {name: getattr(self, name) for name in names} | {"parameters": dict(self.parameters)}
