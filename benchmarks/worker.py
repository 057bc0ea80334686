"""A process of its own for a contender: started by `Worker`, told what to do line by line.

``python -m fastmlp.benchmarks.worker FOLDER PACKAGES`` imports the packages, then reads one JSON
object per line and answers with one.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import IO, Any

import numpy as np

from fastmlp.commands.common import IDLE_VARIABLES, THREAD_VARIABLES
from fastmlp.datasets import Dataset

from .case import Case, Setting
from .contest import LocalContest, Opening, Score, as_message

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
TAIL_CHARACTERS = 300


class WorkerError(RuntimeError):
    """A contender's process reported an error, or ended."""


def save_images(data: Dataset, folder: Path) -> None:
    """Write the images to where the workers read them."""
    for name in ARRAYS:
        np.save(folder / f"{name}.npy", getattr(data, name))


def load_images(folder: Path) -> Dataset:
    """Read the images that `save_images` wrote, into memory of this process, as users have them."""
    arrays = {name: np.load(folder / f"{name}.npy") for name in ARRAYS}
    return Dataset("images", **arrays, n_classes=10)


class Worker:
    """A process that runs contests.

    Parameters
    ----------
    folder : Path
        Where `save_images` wrote the images.
    environment : dict
        Variables to set for it.
    n_threads : int
        For the libraries that read the number from their environment.
    packages : sequence of str
        What it imports at once, while nobody waits for it.
    """

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str],
        n_threads: int,
        packages: Sequence[str] = (),
    ) -> None:
        threads = dict.fromkeys(THREAD_VARIABLES, str(n_threads))
        self.errors: IO[str] = tempfile.TemporaryFile(  # noqa: SIM115 (closed in `close`)
            "w+", encoding="utf-8", errors="replace"
        )
        self.process = subprocess.Popen(
            # -P: not what lies in the working directory, which may be a clone of the sources.
            [sys.executable, "-P", "-m", __name__, str(folder), *packages],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            env=os.environ | threads | IDLE_VARIABLES | environment,
            text=True,
            encoding="utf-8",
        )

    def ask(self, **message: Any) -> dict[str, Any]:
        """Send a message and return the answer.

        Raises
        ------
        WorkerError
            If the answer is an error, or there is none.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        try:
            self.process.stdin.write(json.dumps(message) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError:
            line = ""
        if not line:
            self.errors.seek(0)
            tail = " ".join(self.errors.read()[-TAIL_CHARACTERS:].split())
            status = self.process.wait()
            raise WorkerError(f"its process ended with status {status}: {tail or 'no message'}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(OSError):  # what was not sent needs not be
                    stream.close()
        self.errors.close()


class RemoteContest:
    """A contest in a worker."""

    def __init__(self, case: Case, setting: Setting, worker: Worker) -> None:
        self.case, self.setting, self.worker = case, setting, worker
        self.number = -1

    def open(self) -> Opening:
        answer = self.worker.ask(do="open", case=self.case.name, setting=as_message(self.setting))
        self.number = answer.pop("number")
        return Opening(**answer)

    def repeat(self) -> float:
        return float(self.worker.ask(do="repeat", number=self.number)["seconds"])

    def score(self) -> Score:
        return Score(**self.worker.ask(do="score", number=self.number))

    def close(self) -> None:
        if self.number >= 0 and self.worker.process.poll() is None:
            self.worker.ask(do="close", number=self.number)


class _Server:
    """The worker's side."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data: Dataset | None = None
        self.contests: dict[int, LocalContest] = {}
        self.n_opened = 0
        self.import_seconds = 0.0

    def import_packages(self, names: Sequence[str]) -> None:
        """Import what the contests need; one that fails is told by the contest that needs it."""
        start = time.perf_counter()
        for name in names:
            with contextlib.suppress(Exception):
                importlib.import_module(name)
        self.import_seconds = time.perf_counter() - start

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """Do what a message says."""
        if message["do"] == "open":
            from .cases import CASES

            if self.data is None:
                self.data = load_images(self.folder)
            setting = Setting(**message["setting"])
            contest = LocalContest(CASES[message["case"]], setting, self.data)
            opening = contest.open()
            # The import is part of the first call.
            first_call = opening.first_call_seconds + self.import_seconds
            opening = replace(opening, first_call_seconds=first_call)
            self.import_seconds = 0.0
            self.n_opened += 1
            self.contests[self.n_opened] = contest
            return {"number": self.n_opened, **asdict(opening)}
        contest = self.contests[message["number"]]
        if message["do"] == "repeat":
            return {"seconds": contest.repeat()}
        if message["do"] == "score":
            return asdict(contest.score())
        del self.contests[message["number"]]
        contest.close()
        return {}


def main() -> None:
    """Answer until standard input ends."""
    # Ctrl-C reaches every process of the terminal; the runner decides what becomes of this one.
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints goes to standard error, not between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    server = _Server(Path(sys.argv[1]))
    server.import_packages(sys.argv[2:])
    for line in sys.stdin:
        try:
            answer = server.answer(json.loads(line))
        except Exception as error:  # whatever a library raises is for the runner to tell
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
