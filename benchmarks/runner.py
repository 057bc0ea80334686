"""Run the cases: prepare all of them, then repeat them in turn (A B A B).

A change of the machine's speed then meets every backend alike.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace

import fastmlp
from fastmlp.backend import BACKENDS, backends, get_backend
from fastmlp.checks import check_integer
from fastmlp.datasets import Dataset, load, load_digits
from fastmlp.plan import resolve_threads

from .cases import BATCH_SIZE, EPOCH_ROWS, GROUPS, SEED, Case, Group, Prepared, Setting, cases_of
from .machine import describe_machine, describe_software, without_paths
from .measure import calibrate, repeat
from .results import Measurement, Results

DRAWING_LIMIT = 12.0
"""Digits are drawn; if 60,000 would take longer than this many seconds, fewer are."""
FEWER_DIGITS = 10_000
TEST_ROWS = 10_000
REPEATS, FEWEST_REPEATS = 5, 2
TIME_LIMIT = 42.0
"""A default run begins no further round of repetitions that would end later, in seconds."""
TRIAL_ROWS = 1024

ProgressReport = Callable[[float, str], None]
"""Takes the fraction done (0 to 1) and what is being done."""


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes
    ----------
    data : {"digits", "mnist"}
    data_dir : str or None
        Where the files of MNIST are.
    backends : sequence of str, or None
        None takes every one that is available.
    repeats : int or None
        Repetitions of each measurement; of training: epochs. None takes up to 5, fewer (at least
        2) on a slow machine, so that the run stays within a minute.
    n_threads : int or None
        None leaves it to the library.
    rows : int or None
        Training rows; None takes 60,000.
    groups : sequence of {"kernels", "training"}
    """

    data: str = "digits"
    data_dir: str | None = None
    backends: Sequence[str] | None = None
    repeats: int | None = None
    n_threads: int | None = None
    rows: int | None = None
    groups: Sequence[Group] = GROUPS

    def __post_init__(self) -> None:
        if self.repeats is not None:
            check_integer("repeats", self.repeats, 1)
        if self.n_threads is not None:
            check_integer("threads", self.n_threads, 1)
        if self.rows is not None:
            check_integer("rows", self.rows, BATCH_SIZE)
        for name in self.backends or ():
            get_backend(name)  # raises what to say about an unknown or unavailable one

    @property
    def command(self) -> str:
        """What to type to run it again; without folders, which are nobody's business."""
        parts = ["fastmlp bench", f"--data {self.data}"]
        if self.backends is not None:
            parts.append(f"--backends {','.join(self.backends)}")
        if self.repeats is not None:
            parts.append(f"--repeats {self.repeats}")
        if self.n_threads is not None:
            parts.append(f"--threads {self.n_threads}")
        if self.rows is not None:
            parts.append(f"--rows {self.rows}")
        return " ".join(parts)


@dataclass
class _Contest:
    """One case on one backend, prepared."""

    prepared: Prepared
    measurement: Measurement
    seconds: float | None
    """How long a repetition takes, loops included; None until it is known."""


@dataclass
class _Estimate:
    """How much of the run is done, from what its parts have taken so far."""

    n_contests: int
    repeats: int
    start: float = field(default_factory=time.perf_counter)
    preparation: float = 0.0
    fraction: float = 0.0

    def update(self, contests: list[_Contest], done: int) -> float:
        """Return the fraction done when `done` repetitions are."""
        known = [each.seconds for each in contests if each.seconds is not None]
        if not known:
            return self.fraction
        mean = sum(known) / len(known)
        missing = self.n_contests - len(contests)
        one_round = sum(each.seconds or mean for each in contests) + missing * mean
        n_repetitions = self.n_contests * self.repeats
        left = one_round * self.repeats * (1.0 - done / n_repetitions)
        left += missing * self.preparation / max(len(contests), 1)
        elapsed = time.perf_counter() - self.start
        self.fraction = max(self.fraction, elapsed / (elapsed + left))  # never backwards
        return self.fraction


def load_data(request: Request) -> Dataset:
    """Return the data; digits are drawn, as many as the machine draws in a few seconds."""
    rows = request.rows
    if request.data != "digits":
        data = load(request.data, request.data_dir)
        return replace(data, x_train=data.x_train[:rows], y_train=data.y_train[:rows])
    if rows is None:
        start = time.perf_counter()
        load_digits(TRIAL_ROWS, 0)
        seconds = (time.perf_counter() - start) / TRIAL_ROWS * (EPOCH_ROWS + TEST_ROWS)
        rows = EPOCH_ROWS if seconds <= DRAWING_LIMIT else FEWER_DIGITS
    return load_digits(rows, min(TEST_ROWS, rows))


def run(request: Request, progress: ProgressReport = lambda fraction, text: None) -> Results:
    """Measure everything; after Ctrl-C, return what there is, marked as incomplete.

    Parameters
    ----------
    request : Request
    progress : function of (fraction, text)

    Returns
    -------
    Results
    """
    infos = backends()
    names = [info.name for info in infos if info.available]
    if request.backends is not None:
        names = [name for name in BACKENDS if name in request.backends]
    names.reverse()  # the reference first
    repeats = REPEATS if request.repeats is None else request.repeats
    cases = cases_of(request.groups)
    results = Results(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        fastmlp_version=fastmlp.__version__,
        command=request.command,
        complete=False,
        settings={
            "repeats": repeats,
            "threads": request.n_threads,
            "precision": "float32",
            "seed": SEED,
        },
        data={"name": request.data, "rows_reported": EPOCH_ROWS},
        machine=describe_machine(),
        software=describe_software(),
        backends=[
            asdict(info)
            | {"reason": without_paths(info.reason), "precisions": list(info.precisions)}
            for info in infos
        ],
        cases=[
            {name: getattr(case, name) for name in ("name", "group", "title", "description")}
            for case in cases
        ],
    )
    contests: list[_Contest] = []
    start = time.perf_counter()
    try:
        progress(0.0, "drawing the images" if request.data == "digits" else "reading the images")
        data = load_data(request)
        rows = len(data.x_train)
        results.data |= {"rows": rows, "test_rows": len(data.x_test)}
        estimate = _Estimate(len(cases) * len(names), repeats)
        _prepare_all(request, cases, names, data, rows, contests, results, estimate, progress)
        estimate.n_contests = len(contests)
        time_limit = TIME_LIMIT if request.repeats is None else math.inf
        rounds = _repeat_all(repeats, contests, estimate, progress, start + time_limit)
        results.settings["repeats"] = rounds
        _score_all(contests)
        results.complete = True
    except KeyboardInterrupt:
        pass
    results.measurements = [each.measurement for each in contests if each.measurement.repetitions]
    for each in results.measurements:
        if each.group == "training" and each.accuracy is None and not each.accuracy_note:
            each.accuracy_note = "the run was interrupted"
    return results


def _prepare_all(
    request: Request,
    cases: list[Case],
    names: list[str],
    data: Dataset,
    rows: int,
    contests: list[_Contest],
    results: Results,
    estimate: _Estimate,
    progress: ProgressReport,
) -> None:
    """Fill `contests`: build every case on every backend, call it once, find its loops."""
    for case in cases:
        for name in names:
            progress(estimate.update(contests, 0), f"first call: {case.name}, {name}")
            start = time.perf_counter()
            try:
                contests.append(_prepare(request, case, name, data, rows))
            except Exception as error:  # one broken backend must not take the others along
                text = without_paths(f"{type(error).__name__}: {error}")
                results.failures.append({"case": case.name, "backend": name, "error": text})
                estimate.n_contests -= 1
            estimate.preparation += time.perf_counter() - start


def _prepare(request: Request, case: Case, name: str, data: Dataset, rows: int) -> _Contest:
    setting = Setting(name, data, case.rows_timed(name, rows), n_threads=request.n_threads)
    start = time.perf_counter()
    prepared = case.prepare(setting)
    prepared.warm_up()
    first_call = time.perf_counter() - start
    loops, seconds = 1, None
    if case.group == "kernels":  # an epoch is long enough, and may not be trained for nothing
        loops, seconds = calibrate(prepared.call)
    backend = get_backend(name)
    measurement = Measurement(
        case=case.name,
        group=case.group,
        backend=name,
        isa=backend.isa,
        precision=setting.precision,
        n_threads=backend.usable_threads(resolve_threads(request.n_threads)),
        rows_timed=setting.rows,
        rows_reported=case.rows,
        loops=loops,
        first_call_seconds=first_call,
    )
    return _Contest(prepared, measurement, seconds)


def _repeat_all(
    repeats: int,
    contests: list[_Contest],
    estimate: _Estimate,
    progress: ProgressReport,
    deadline: float,
) -> int:
    """Time every contest once, then every one again, and so on; return how many rounds.

    A round is done whole or not at all: every backend has trained the same number of epochs.
    """
    done = 0
    for repetition in range(repeats):
        one_round = sum(contest.seconds or 0.0 for contest in contests)
        if repetition >= FEWEST_REPEATS and time.perf_counter() + one_round > deadline:
            return repetition
        for contest in contests:
            found = contest.measurement
            text = f"repetition {repetition + 1}/{repeats}: {found.case}, {found.backend}"
            progress(estimate.update(contests, done), text)
            seconds = repeat(contest.prepared.call, found.loops)
            found.repetitions.append(seconds)
            contest.seconds = seconds * found.loops
            done += 1
    return repeats


def _score_all(contests: list[_Contest]) -> None:
    for contest in contests:
        found = contest.measurement
        if found.group != "training":
            continue
        if contest.prepared.score is None:
            found.accuracy_note = f"trained on {found.rows_timed:,} rows only"
        else:
            found.accuracy = contest.prepared.score()
            epochs = len(found.repetitions)
            found.accuracy_note = f"after {epochs} epoch{'s' if epochs > 1 else ''}"
