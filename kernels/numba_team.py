"""Python threads that run one compiled function together.

A compiled function runs without the interpreter lock, so plain threads are a team; they meet inside
of it (`numba_batches.meet`). Between calls they sleep on a lock and cost nothing.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable
from queue import SimpleQueue

from .contract import Array
from .numba_memory import address_of, aligned_zeros
from .numba_names import ABORTED, ARRIVED, CACHE_LINE, N_THREADS

MAX_THREADS = 256


def give_way_address() -> int:
    """Return the address of the system's function that lets another thread have the CPU."""
    if sys.platform == "win32":
        function = ctypes.windll.kernel32.SwitchToThread
    else:
        function = ctypes.CDLL(None).sched_yield
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0)


class _Worker:
    """A thread that does what it is handed, one work after another."""

    def __init__(self, thread: int) -> None:
        self.thread = thread
        self.works: SimpleQueue[tuple[Callable[[int, int], None], int, object]] = SimpleQueue()
        name = f"fastmlp-numba-{thread}"
        threading.Thread(target=self.run, name=name, daemon=True).start()

    def hand(self, function: Callable[[int, int], None], address: int, held: object) -> None:
        self.works.put((function, address, held))

    def run(self) -> None:
        while True:
            work = self.works.get()
            work[0](work[1], self.thread)
            del work  # it holds memory


class Team:
    """The threads of this process.

    There is one team: a second caller (another Python thread) finds it taken and runs alone, with
    the same results, since no sum depends on the number of threads.
    """

    def __init__(self) -> None:
        self.in_use = threading.Lock()
        self.workers: list[_Worker] = []

    def run(
        self, function: Callable[[int, int], None], call: Array, n_threads: int, held: object
    ) -> None:
        """Run ``function(address of call, thread)`` on all threads at once, 0 being this one.

        Parameters
        ----------
        function : callable
            A compiled function that begins and ends with a meeting of all threads.
        call : ndarray of int64
            Its words; N_THREADS and ARRIVED are set here.
        n_threads : int
            How many threads are wanted.
        held : object
            Whatever memory the call uses: it is kept as long as a thread may still look at it.
        """
        if n_threads > 1 and self.in_use.acquire(blocking=False):
            try:
                self._run_together(function, call, self._start(n_threads), held)
            finally:
                self.in_use.release()
        else:
            call[N_THREADS] = 1
            function(address_of(call), 0)

    def _start(self, n_threads: int) -> int:
        """Start threads that are missing; return how many there are, with this one."""
        while len(self.workers) < n_threads - 1:
            try:
                self.workers.append(_Worker(len(self.workers) + 1))
            except RuntimeError:  # the system gives no more: run with fewer
                break
        return min(n_threads, len(self.workers) + 1)

    def _run_together(
        self, function: Callable[[int, int], None], call: Array, n_threads: int, held: object
    ) -> None:
        arrived = aligned_zeros(CACHE_LINE).view("int64")  # a cache line to itself
        # Words of its own: a thread that wakes up late, after a call was given up, sees that call.
        own = call.copy()
        own[N_THREADS], own[ARRIVED] = n_threads, address_of(arrived)
        try:
            for worker in self.workers[: n_threads - 1]:
                worker.hand(function, address_of(own), (own, arrived, held))
            function(address_of(own), 0)
        except BaseException:  # Ctrl-C before the function began: the others wait at its beginning
            arrived[0] = 2 * ABORTED
            raise
        call[:] = own


team = Team()


def _after_fork_in_child() -> None:
    """A child of fork has the memory but not the threads."""
    team.__init__()  # type: ignore[misc]


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
