"""Numba compiles for seconds the first time: in a process of its own, before anything is timed.

Compiled code is kept in the user's cache, where the run finds it.
"""

from __future__ import annotations

import math
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from fastmlp.backend import BackendInfo
from fastmlp.datasets import load_digits

from .case import Case, Level
from .contest import environment_of
from .levels import settings_of
from .worker import RemoteContest, Worker, WorkerError, save_images

COMPILING_BACKEND = "numba"
FEW_DIGITS = 256


class CompileAhead:
    """Opens every case with the backend that compiles, in a second process, until it is done.

    What fails there fails again in the run, and is listed then.

    Parameters
    ----------
    cases : sequence of Case
    level : {"quick", "default", "full"}
    infos : sequence of BackendInfo
        The backends that take part; without the one that compiles, nothing is done.
    n_threads : int
    """

    def __init__(
        self, cases: Sequence[Case], level: Level, infos: Sequence[BackendInfo], n_threads: int
    ) -> None:
        self.worker: Worker | None = None
        compiling = [info for info in infos if info.name == COMPILING_BACKEND]
        if not compiling or not cases:
            return
        self.folder = tempfile.TemporaryDirectory(prefix="fastmlp-", ignore_cleanup_errors=True)
        save_images(load_digits(FEW_DIGITS, FEW_DIGITS), Path(self.folder.name))
        self.worker = Worker(Path(self.folder.name), {}, n_threads)
        contests = [
            RemoteContest(case, setting, self.worker)
            for case in cases
            for setting in settings_of(case, level, compiling, [], n_threads, FEW_DIGITS)
            if environment_of(setting, n_threads) is None
        ]
        self.thread = threading.Thread(target=self._open, args=(contests,), daemon=True)
        self.thread.start()

    def _open(self, contests: Sequence[RemoteContest]) -> None:
        for contest in contests:
            try:
                contest.open()
            except WorkerError:
                continue
            except ValueError:  # `close` has taken the streams away
                return

    def wait(self, deadline: float = math.inf) -> bool:
        """Return whether everything is compiled, at the latest at this time of `perf_counter`."""
        if self.worker is not None:
            while self.thread.is_alive() and time.perf_counter() < deadline:
                self.thread.join(0.1)  # Windows does not hear Ctrl-C during a longer one
        return self.worker is None or not self.thread.is_alive()

    def close(self) -> None:
        """End the process, whatever it is doing."""
        if self.worker is not None:
            self.worker.process.kill()
            self.thread.join()
            self.worker.close()
            self.folder.cleanup()
