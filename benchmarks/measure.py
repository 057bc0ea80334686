"""How one call is timed: a warm-up, a loop for calls that are too short, a clock that is steady."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

MINIMUM_SECONDS = 0.005
"""A repetition takes at least this long: shorter ones would measure the clock."""


def time_loop(call: Callable[[], object], loops: int) -> float:
    """Return the seconds that `loops` calls take together."""
    start = time.perf_counter()
    for _ in range(loops):
        call()
    return time.perf_counter() - start


def calibrate(call: Callable[[], object], minimum: float = MINIMUM_SECONDS) -> tuple[int, float]:
    """Return how many calls fill `minimum` seconds, and the seconds that they took."""
    loops = 1
    while True:
        seconds = time_loop(call, loops)
        if seconds >= minimum:
            return loops, seconds
        # At most tenfold: a first short reading may be off.
        needed = math.ceil(1.1 * loops * minimum / max(seconds, 1e-9))
        loops = min(max(needed, loops + 1), 10 * loops)


def repeat(call: Callable[[], object], loops: int) -> float:
    """Return the seconds per call of one repetition.

    A loop is preceded by one call that is not timed: the repetition before was another
    backend's, and has left the caches and the threads in its own state.
    """
    if loops > 1:
        call()
    return time_loop(call, loops) / loops
