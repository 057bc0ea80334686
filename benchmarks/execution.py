"""A run that is under way: the contenders of one case after the other, repeated in turn (A B A B).

A change of the machine's speed then meets every contender alike; and every case alike, where cases
are compared with each other (`MEASURED_TOGETHER`). Backends run in this process;
a peer, another instruction set or another number of threads has a process of its own (`worker`).
"""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from fastmlp.backend import BackendInfo
from fastmlp.datasets import Dataset

from .case import REFERENCE, Case, Setting
from .contest import Contest, LocalContest, environment_of
from .levels import (
    FEWEST_REPEATS,
    LATE_REPEATS,
    REFERENCE_REPEATS,
    WEIGHTS,
    peers_in_time,
    settings_of,
)
from .machine import without_paths
from .peers import PEERS, Peer
from .request import Request
from .results import LEFT_OUT, Measurement, Results
from .sections import ProgressReport
from .worker import RemoteContest, Worker, WorkerError, save_images

MEASURED_TOGETHER = ("options",)
"""Groups whose cases are compared with each other: they are repeated in turn, too."""

SETTLING_SECONDS = 0.003
"""Before each repetition: the idle threads of the contender before go to sleep."""


@dataclass
class Entry:
    """One contender of a case that is under way."""

    case: Case
    contest: Contest
    measurement: Measurement
    seconds: float
    """How long a repetition takes, loops included; 0 until it is known."""


@dataclass
class Execution:
    """A run that is under way."""

    request: Request
    results: Results
    progress: ProgressReport
    infos: list[BackendInfo]
    peers: list[Peer]
    n_threads: int
    stack: ExitStack
    data: Dataset
    repeats: int
    deadline: float = math.inf
    last_start: float = math.inf
    weight_left: float = 0.0
    weight_done: float = 0.0
    most_rounds: int = 0
    workers: dict[tuple[tuple[str, str], ...], Worker] = field(default_factory=dict)
    folder: Path | None = None

    def contest(self, case: Case, setting: Setting) -> Contest:
        """Return a contest, here or in the worker that its environment needs."""
        environment = environment_of(setting, self.n_threads)
        if environment is None:
            return LocalContest(case, setting, self.data)
        # One process per peer, and one per environment of the backends.
        owner = setting.contender if setting.kind == "peer" else ""
        marks = {"owner": owner, "threads": str(setting.n_threads), **environment}
        key = tuple(sorted(marks.items()))
        if key in self.workers and self.workers[key].process.poll() is not None:
            self.workers.pop(key).close()
        if key not in self.workers:
            packages = PEERS[owner].packages if owner else ()
            worker = Worker(self.image_folder(), environment, setting.n_threads, packages)
            self.stack.callback(worker.close)
            self.workers[key] = worker
        return RemoteContest(case, setting, self.workers[key])

    def image_folder(self) -> Path:
        """Return where the workers read the images; write them the first time."""
        if self.folder is None:
            temporary = tempfile.TemporaryDirectory(prefix="fastmlp-", ignore_cleanup_errors=True)
            self.folder = Path(self.stack.enter_context(temporary))
            save_images(self.data, self.folder)
        return self.folder

    def settings(self, case: Case) -> list[Setting]:
        """Return with what a case is measured."""
        level, n_rows = self.request.level, len(self.data.x_train)
        peers = self.peers
        if self.request.peers is None:
            peers = peers_in_time(case, level, peers)
        return settings_of(case, level, self.infos, peers, self.n_threads, n_rows)

    def start_peers(self, case: Case) -> None:
        """Start the processes of a case's peers: they import their libraries meanwhile."""
        for setting in self.settings(case):
            if setting.kind == "peer":
                self.contest(case, setting)

    def run_cases(self, cases: Sequence[Case]) -> None:
        """Measure cases of a group together, with every contender; list them if it is too late.

        The first ones of a run are never too late.
        """
        if self.weight_done > 0.0 and time.perf_counter() > self.last_start:
            text = f"{LEFT_OUT}the time of the level {self.request.level!r} was over"
            self.results.failures += [
                {"case": case.name, "contender": "", "error": text} for case in cases
            ]
            return
        settings = [(case, setting) for case in cases for setting in self.settings(case)]
        steps = max(1, len(settings) * (1 + self.repeats))
        weight = len(cases) * WEIGHTS[cases[0].group]
        now = time.perf_counter()
        case_deadline = now + (self.deadline - now) * weight / max(self.weight_left, weight)
        total = self.weight_left + self.weight_done

        def tell(step: int, text: str) -> None:
            self.progress((self.weight_done + weight * min(1.0, step / steps)) / total, text)

        entries: list[Entry] = []
        try:
            for number, (case, setting) in enumerate(settings):
                tell(number, f"first call: {case.name}, {setting.contender}")
                try:
                    entries.append(self.enter(case, setting))
                except Exception as error:  # one that is broken must not take the others along
                    self.note_failure(case, setting.contender, error)
            self.repeat(list(entries), len(settings), case_deadline, tell)
            self.score(entries)
        finally:
            self.results.measurements += [
                entry.measurement for entry in entries if entry.measurement.repetitions
            ]
        for entry in entries:
            try:
                entry.contest.close()
            except WorkerError as error:
                self.note_failure(entry.case, entry.measurement.contender, error)
        self.weight_left -= weight
        self.weight_done += weight

    def enter(self, case: Case, setting: Setting) -> Entry:
        """Prepare one contender."""
        start = time.perf_counter()
        contest = self.contest(case, setting)
        opening = contest.open()
        first_call = opening.first_call_seconds
        if not isinstance(contest, LocalContest):
            # From outside: the import of a library is part of its first call.
            first_call = max(first_call, time.perf_counter() - start - (opening.seconds or 0.0))
        measurement = Measurement(
            case=case.name,
            group=case.group,
            contender=setting.contender,
            kind=setting.kind,
            isa=opening.isa,
            precision=opening.precision,
            n_threads=opening.n_threads,
            rows_timed=setting.rows,
            rows_reported=case.rows,
            loops=opening.loops,
            first_call_seconds=first_call,
            flops=case.flops,
            max_isa=setting.max_isa,
        )
        return Entry(case, contest, measurement, opening.seconds or 0.0)

    def repeat(
        self,
        entries: list[Entry],
        first_step: int,
        deadline: float,
        tell: Callable[[int, str], None],
    ) -> None:
        """Time every contender once, then every one again, and so on.

        A round is done whole or not at all: every contender has trained the same number of epochs.
        """
        step = first_step
        asked = self.request.repeats
        few = REFERENCE_REPEATS[self.request.level] if asked is None else asked
        for repetition in range(self.repeats):
            if repetition == few:
                entries = [each for each in entries if each.measurement.contender != REFERENCE]
            one_round = sum(entry.seconds for entry in entries)
            now = time.perf_counter()
            fewest = FEWEST_REPEATS[self.request.level] if now < self.deadline else LATE_REPEATS
            late = now + one_round > deadline
            if repetition >= fewest and late and asked is None:
                return
            for entry in list(entries):
                case, found = entry.case, entry.measurement
                text = f"repetition {repetition + 1}/{self.repeats}: {case.name}, {found.contender}"
                tell(step, text)
                step += 1
                time.sleep(SETTLING_SECONDS)
                try:
                    seconds = entry.contest.repeat()
                except Exception as error:
                    self.note_failure(case, found.contender, error)
                    entries.remove(entry)
                    continue
                found.repetitions.append(seconds)
                entry.seconds = seconds * found.loops
            self.most_rounds = max(self.most_rounds, repetition + 1)

    def score(self, entries: list[Entry]) -> None:
        """Take what every contender has learned, and say after what."""
        for entry in entries:
            found = entry.measurement
            if not found.repetitions:
                continue
            try:
                score = entry.contest.score()
            except Exception as error:
                self.note_failure(entry.case, found.contender, error)
                continue
            found.accuracy, found.accuracy_note = score.accuracy, score.note
            if found.group not in ("training", "growth"):
                continue
            if score.accuracy is None:
                found.accuracy_note = f"trained on {found.rows_timed:,} rows only"
            else:
                epochs = len(found.repetitions)
                found.accuracy_note = f"after {epochs} epoch{'s' if epochs > 1 else ''}"
                if found.is_scaled:
                    found.accuracy_note += f" of {found.rows_timed:,} rows"

    def note_failure(self, case: Case, contender: str, error: Exception) -> None:
        """List what could not be measured."""
        text = without_paths(
            str(error) if isinstance(error, WorkerError) else f"{type(error).__name__}: {error}"
        )
        self.results.failures.append({"case": case.name, "contender": contender, "error": text})
