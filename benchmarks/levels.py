"""What each level measures: which contenders meet in a case, how often, and for how long."""

from __future__ import annotations

import math
from collections.abc import Sequence

from fastmlp.backend import BackendInfo, get_backend

from .case import LEVELS, OF_IMAGES, REFERENCE, Case, Level, Setting
from .cases_growth import thread_counts
from .peers import PEERS, Peer

REPEATS: dict[Level, int] = {"quick": 2, "default": 5, "full": 9}
FEWEST_REPEATS: dict[Level, int] = {"quick": 2, "default": 3, "full": 5}
LATE_REPEATS = 2
"""Once the level's time is over, which happens on a slow or a busy machine."""
REFERENCE_REPEATS: dict[Level, int] = {"quick": 1, "default": 2, "full": 3}
"""The reference is slow and hundreds of times behind: a few repetitions say enough."""
SUITE_SECONDS: dict[Level, float] = {"quick": 4.0, "default": 70.0, "full": 1200.0}
"""How long the cases may take together. A case that would take more than its share is repeated
FEWEST_REPEATS times, and once the time is over LATE_REPEATS times."""
CASES_AND_SECTIONS: dict[Level, float] = {"quick": 14.0, "default": 169.0, "full": math.inf}
"""Seconds from the start of the run. A case after which the sections to come would no longer fit,
unless it is the first, is left out, and listed: a slow machine, too, keeps to what the level
promises (20 s, 3 minutes)."""
COMPILING_SECONDS: dict[Level, float] = {"quick": 8.0, "default": math.inf, "full": 0.0}
"""From the start of the run: as long do the lower levels wait for a backend that compiles."""
LOADING_SECONDS: dict[Level, float] = {"quick": 0.0, "default": 6.0, "full": 0.0}
"""So long is waited, once the images are there, for a backend that has compiled before."""

WEIGHTS = {"training": 9.0, "options": 0.8, "inference": 1.5, "kernels": 0.2, "growth": 0.8}
"""How the time of a level is shared between the cases of the groups."""

QUICK_PEERS = ("numpy_by_hand", "scikit_learn")
"""Peers of all levels: they are loaded quickly."""
DEFAULT_PEERS = {"torch_eager": ("M32", "M128")}
"""What the default level adds, with the cases that it has time for."""

PRECISION = "float32"


def peers_of(level: Level) -> list[Peer]:
    """Return the peers of a level."""
    names = {"quick": QUICK_PEERS, "default": (*QUICK_PEERS, *DEFAULT_PEERS), "full": tuple(PEERS)}
    return [peer for peer in PEERS.values() if peer.name in names[level]]


def peers_in_time(case: Case, level: Level, peers: Sequence[Peer]) -> list[Peer]:
    """Return those of a level's peers that it has time for in a case."""
    if level == "full":
        return list(peers)
    return [peer for peer in peers if case.name in DEFAULT_PEERS.get(peer.name, (case.name,))]


def settings_of(
    case: Case,
    level: Level,
    infos: Sequence[BackendInfo],
    peers: Sequence[Peer],
    n_threads: int,
    n_rows: int | None,
) -> list[Setting]:
    """Return with what a case is measured, the reference first.

    Parameters
    ----------
    case : Case
    level : {"quick", "default", "full"}
    infos : sequence of BackendInfo
        The backends that take part.
    peers : sequence of Peer
        The peers that take part; they are installed.
    n_threads : int
        As the run was asked for; the case may have its own.
    n_rows : int or None
        How many images there are.
    """
    images = case.parameters.get("data") in OF_IMAGES or case.group == "kernels"
    limit = n_rows if images and not case.name.startswith("update") else None
    threads = n_threads if case.n_threads is None else case.n_threads
    settings: list[Setting] = []

    def add(contender: str, kind: str, n: int = threads, **others: str) -> None:
        rows = case.rows_timed(contender, limit, level)
        setting = Setting(contender, rows, n, kind, **others)  # type: ignore[arg-type]
        if rows > 0 and not case.refuses(setting):
            settings.append(setting)

    for info in infos:
        add(info.name, "backend")
    if case.dimensions is not None and LEVELS.index(level) >= LEVELS.index(case.dimensions):
        for info in infos:
            if info.name == REFERENCE:
                continue
            if info.name == "cython" or (info.name == "numba" and level == "full"):
                for cap in get_backend(info.name).weaker_caps:
                    add(info.name, "backend", max_isa=cap)
            for precision in info.precisions:
                # Single kernels have no bfloat16: it is a plan's. Emulated it is slower by nature.
                has_it = bool(info.bfloat16_isa) and case.group != "kernels"
                if precision != PRECISION and (precision != "bfloat16" or has_it):
                    add(info.name, "backend", precision=precision)
            usable = get_backend(info.name).usable_threads
            for count in thread_counts() if level == "full" else [1]:
                if usable(count) != usable(threads):
                    add(info.name, "backend", count)
    if case.with_peers and (case.group != "growth" or level == "full"):
        for peer in peers:
            if case.group != "growth" or not peer.compiles_slowly:
                add(peer.name, "peer")
    return settings
