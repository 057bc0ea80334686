"""How many threads train: all that were planned, or one, whichever was measured to be faster.

Threads that wait for each other at every step lose much when another program takes one of their
CPUs: then a thread by itself is several times faster. What is computed does not depend on it.
"""

from __future__ import annotations

SHORTEST = 3e-4
"""Seconds: a shorter call says more about waking up than about training."""

FIRST_PAUSE, LONGEST_PAUSE = 8, 64
"""After so many calls with one thread all are tried again; twice as many each time they lose.

The first time they lose after having won they are tried again at once: something may have come in
between, once.
"""


class ThreadChoice:
    """Chooses for one call of training after the other, and learns from how long they took.

    Parameters
    ----------
    n_threads : int
        How many were planned.
    """

    def __init__(self, n_threads: int) -> None:
        self.n_threads = n_threads
        self.seconds_per_row: dict[int, float] = {}  # by number of threads, of the last call
        self.pause, self.calls_left = FIRST_PAUSE, 0

    def choose(self) -> int:
        """Return how many threads the next call takes."""
        if self.n_threads in self.seconds_per_row and 1 not in self.seconds_per_row:
            return 1  # once, to have something to compare with
        return 1 if self.calls_left > 0 else self.n_threads

    def learn(self, n_threads: int, seconds: float, n_rows: int) -> None:
        """Take in how long a call with `n_threads` took for `n_rows` rows."""
        if seconds < SHORTEST:
            return
        self.seconds_per_row[n_threads] = seconds / n_rows
        if n_threads == 1:
            self.calls_left = max(0, self.calls_left - 1)
        elif 1 not in self.seconds_per_row:
            pass  # nothing to compare with
        elif self.seconds_per_row[n_threads] > self.seconds_per_row[1]:
            self.calls_left = self.pause
            self.pause = min(max(2 * self.pause, FIRST_PAUSE), LONGEST_PAUSE)
        else:
            self.pause = 0
