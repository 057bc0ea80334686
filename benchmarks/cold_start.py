"""The cold start: from a new process to a trained network, and what that takes.

Everything here runs in processes of its own, one at a time: the start of the interpreter, the
imports, compilation and reading the data count. The recipe is one for all (`RECIPE`). It was chosen
on MNIST's last 10,000 training images with a network trained on the first 50,000; the test images
only tell when a target is reached.
"""

from __future__ import annotations

import importlib.util
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from fastmlp.backend import backends
from fastmlp.datasets import Dataset, load
from fastmlp.errors import unknown_name

from .cold_process import TIME_OVER, Outcome, run_python, run_task
from .installed_size import installed_bytes, with_dependencies
from .machine import without_paths

SECONDS = {"quick": 1.0, "default": 30.0, "full": float("inf")}
"""What does not fit any more is listed as skipped."""
REPETITIONS = {"quick": 2, "default": 3, "full": 5}
TRAININGS = 3
"""Repetitions of the time to accuracy, and of the peak of memory."""
LONGEST_PROCESS = 300.0
SHORTEST_CHANCE = 1.0
"""With less time left, in seconds, no process is begun that trains, or imports much."""
SHORTEST_IMPORT = 0.1
SLOWER = 1.5
"""A repetition may take so many times as long as the first one."""
IMPORT_SHARE, MEMORY_SHARE = 0.25, 0.4
"""Of the time that is left when the imports begin, and of what is left when they are done."""
TARGETS = (0.97, 0.98)
RECIPE: dict[str, Any] = {
    "hidden": [192],
    "batch_size": 96,
    "learning_rates": [0.2, 0.15, 0.08, 0.02, 0.01, 0.005],
}
"""ReLU, softmax and cross-entropy; Nesterov momentum 0.9; a learning rate for each epoch."""
MEMORY_CASES: dict[str, dict[str, Any]] = {
    "M128": {"hidden": [128], "batch_size": 128, "rows": 60_000},
    # Its memory is in the weights: fewer rows show it as well, sooner.
    "XL": {"hidden": [2048, 2048], "batch_size": 512, "rows": 4096},
}
DISK_CACHE = "kernels that an earlier process has compiled, if there was one"

Failures = list[dict[str, str]]


@dataclass(frozen=True)
class Contender:
    """A library, or fastmlp on one of its backends.

    Attributes
    ----------
    name : str
        As in the rest of the results.
    kind : {"backend", "peer"}
    library : str
        In cold_script.py.
    module, distribution : str
        What is imported, and what is installed.
    statement : str
        What makes it ready to train, for the import time.
    """

    name: str
    kind: str
    library: str
    module: str
    distribution: str
    statement: str


def _fastmlp_on(backend: str) -> Contender:
    statement = f"import fastmlp.trainer; fastmlp.backend.get_backend({backend!r})"
    return Contender(backend, "backend", "fastmlp", "fastmlp", "fastmlp", statement)


CONTENDERS = (
    _fastmlp_on("cython"),
    _fastmlp_on("numba"),
    _fastmlp_on("numpy"),
    Contender(
        "scikit_learn", "peer", "sklearn", "sklearn", "scikit-learn",
        "from sklearn.neural_network import MLPClassifier",
    ),
    Contender("torch_eager", "peer", "torch", "torch", "torch", "import torch"),
    Contender("jax_scan", "peer", "jax", "jax", "jax", "import jax.numpy"),
)  # fmt: skip

IMPORTS = {
    "python": "",
    "numpy": "import numpy",
    "fastmlp": "import fastmlp",
    "fastmlp, cython ready": CONTENDERS[0].statement,
    "fastmlp, numba ready": CONTENDERS[1].statement,
    "numba": "import numba",
    "scikit-learn": CONTENDERS[3].statement,
    "torch": CONTENDERS[4].statement,
    "jax": CONTENDERS[5].statement,
}
INSTALLED = ("fastmlp", "numpy", "numba", "scikit-learn", "torch", "jax")


@dataclass
class Session:
    """What all parts of one measurement share.

    Attributes
    ----------
    level : str
    deadline : float
        On the clock of `time.perf_counter`.
    step : function of a text
        Called before each process and at each of its answers.
    failures, skipped : list
        What failed, and what was not measured and why.
    """

    level: str
    deadline: float
    step: Callable[[str], object]
    failures: Failures
    skipped: list[dict[str, str]]

    @property
    def left(self) -> float:
        """Seconds until the deadline."""
        return self.deadline - time.perf_counter()

    def in_turns(
        self, part: str, names: Sequence[str], repetitions: int, shortest: float = SHORTEST_CHANCE
    ) -> Iterator[tuple[int, str, float]]:
        """Yield (repetition, name, seconds that it may take): each name once, then each again.

        What began keeps the time for all its repetitions, and for slower ones: a later name gets
        what is left over, or is skipped.
        """
        needed: dict[str, float] = {}
        for name in names:
            free = self.left - sum(needed.values()) * (repetitions - 1)
            if free < shortest:
                self.no_time(part, name)
                continue
            start = time.perf_counter()
            yield 0, name, min(free, LONGEST_PROCESS)
            needed[name] = SLOWER * (time.perf_counter() - start)
        for number in range(1, repetitions):
            for name, seconds in needed.items():
                if self.left >= seconds:
                    yield number, name, min(self.left, LONGEST_PROCESS)

    def skip(self, part: str, name: str, reason: str) -> None:
        """Note what is not measured."""
        self.skipped.append({"part": part, "name": name, "reason": reason})

    def no_time(self, part: str, name: str) -> None:
        """Note what does not fit the level."""
        self.skip(part, name, f"no time left for it at this level ({self.level})")

    def fail(self, part: str, name: str, outcome: Outcome) -> None:
        """Note what failed."""
        error = without_paths(outcome.error)
        self.failures.append({"case": f"cold start: {part}", "contender": name, "error": error})


def measure(
    level: str = "default",
    progress: Callable[[float, str], object] | None = None,
    data: str = "digits",
    data_dir: str | None = None,
    *,
    dataset: Dataset | None = None,
    n_threads: int | None = None,
    contenders: Sequence[str] | None = None,
    failures: Failures | None = None,
    until: float = math.inf,
) -> dict[str, Any]:
    """Measure the cold start of fastmlp's backends and of the peers that are installed.

    Parameters
    ----------
    level : {"quick", "default", "full"}
        quick: imports and sizes, in 1 s; default: as much as fits 30 s, fastmlp first; full:
        everything, which takes minutes.
    progress : function (fraction, text), optional
        Called before each process.
    data : {"digits", "mnist"}
        What is learned, if `dataset` is not given.
    data_dir : str, optional
        Where the files of MNIST are.
    dataset : Dataset, optional
        Data that are there already: images as uint8 (rows, features) and their classes.
    n_threads : int, optional
        For every contender alike; None leaves it to each.
    contenders : sequence of str, optional
        Names in `CONTENDERS`; default all.
    failures : list, optional
        What failed is appended, as {"case", "contender", "error"}.
    until : float, optional
        On the clock of `time.perf_counter`: the time that the level has may end earlier.

    Returns
    -------
    dict
        - "recipe": what all contenders train, and how.
        - "time_to_accuracy": rows {"contender", "kind", "target", "seconds", "epochs", "accuracy",
          "note"}: `seconds` from the start of the process, one per repetition that reached the
          target; `accuracy` and `epochs` are medians, without `seconds` of the best that was had.
        - "import_seconds": rows {"name", "statement", "repetitions"}: whole processes, the
          interpreter's start and end included.
        - "install_bytes": rows {"name", "bytes", "own_bytes", "distributions"}: `bytes` with all
          that the package needs, `own_bytes` without.
        - "peak_memory_bytes": rows {"contender", "kind", "case", "bytes", "repetitions", "rows"}:
          growth from after the imports to the peak of one epoch, data included; `bytes` is the
          median of the repetitions.
        - "skipped": rows {"part", "name", "reason"}.

    Raises
    ------
    ValueError
        If the level or a contender is unknown.
    """
    if level not in SECONDS:
        raise unknown_name("level", level, SECONDS)
    known = {contender.name: contender for contender in CONTENDERS}
    for name in contenders or ():
        if name not in known:
            raise unknown_name("contenders", name, known)

    start = time.perf_counter()
    n_imports = len(IMPORTS) * REPETITIONS[level]
    n_steps = {"quick": n_imports, "default": n_imports + 20, "full": n_imports + 100}[level]
    n_done = 0

    def step(text: str) -> None:
        nonlocal n_done
        share = (time.perf_counter() - start) / SECONDS[level]
        if progress is not None:
            progress(min(max(share, n_done / n_steps), 0.99), text)
        n_done += 1

    deadline = min(start + SECONDS[level], until)
    session = Session(level, deadline, step, [] if failures is None else failures, [])
    chosen = [
        contender
        for contender in known.values()
        if (contenders is None or contender.name in contenders) and _is_there(contender, session)
    ]
    found: dict[str, Any] = {
        "recipe": {**RECIPE, "targets": list(TARGETS), "momentum": 0.9, "n_threads": n_threads},
        "time_to_accuracy": [],
        "import_seconds": _imports(session),
        "install_bytes": _sizes(),
        "peak_memory_bytes": [],
        "skipped": session.skipped,
    }
    if level != "quick":
        if dataset is None:
            before = time.perf_counter()
            dataset = load(data, data_dir)
            # Reading or drawing the data here is no part of what is measured.
            session.deadline += time.perf_counter() - before
        with tempfile.TemporaryDirectory(prefix="fastmlp-") as folder:
            files = DataFiles(dataset, Path(folder))
            common = {"n_threads": n_threads}
            shape = (dataset.x_train.shape[1], dataset.n_classes)
            deadline = session.deadline
            session.deadline -= min(MEMORY_SHARE * max(session.left, 0.0), LONGEST_PROCESS)
            found["time_to_accuracy"] = _time_to_accuracy(session, chosen, files, common, shape)
            session.deadline = deadline
            found["peak_memory_bytes"] = _peak_memory(session, chosen, files, common, shape)
    return found


def _is_there(contender: Contender, session: Session) -> bool:
    """Return whether a contender can run here; if not, note why."""
    if contender.kind == "backend":
        reason = {info.name: info.reason for info in backends()}[contender.name]
    elif importlib.util.find_spec(contender.module) is None:
        reason = f"{contender.distribution} is not installed"
    else:
        reason = ""
    if reason:
        session.skip("all", contender.name, without_paths(reason))
    return not reason


class DataFiles:
    """The data as all contenders read them: npz files, not compressed, written when asked for."""

    def __init__(self, dataset: Dataset, folder: Path) -> None:
        self.dataset = dataset
        self.folder = folder

    def path(self, rows: int) -> str:
        """Return the file with the first `rows` training rows and all test rows."""
        path = self.folder / f"{rows}.npz"
        if not path.exists():
            data = self.dataset
            np.savez(
                path,
                x_train=data.x_train[:rows],
                y_train=data.y_train[:rows],
                x_test=data.x_test,
                y_test=data.y_test,
            )
        return str(path)


def _imports(session: Session) -> list[dict[str, Any]]:
    """Time new processes that import something and end, in turn (A B A B)."""
    wanted = {}
    for name, statement in IMPORTS.items():
        module = {"scikit-learn": "sklearn", "python": "sys"}.get(name, name.partition(",")[0])
        if "numba" in name:
            module = "numba"
        if importlib.util.find_spec(module) is None:
            session.skip("import", name, f"{module} is not installed")
        else:
            wanted[name] = statement
    seconds: dict[str, list[float]] = {name: [] for name in wanted}
    share = 1.0 if session.level == "quick" else IMPORT_SHARE
    own = replace(session, deadline=time.perf_counter() + session.left * share)
    shortest = SHORTEST_IMPORT if session.level == "quick" else SHORTEST_CHANCE
    failed: set[str] = set()
    turns = own.in_turns("import", list(wanted), REPETITIONS[session.level], shortest)
    for number, name, allowed in turns:
        if name in failed:
            continue
        session.step(f"import {name}")
        outcome = run_python(["-c", wanted[name]], allowed)
        if outcome.error.startswith(TIME_OVER):
            if number == 0:
                session.no_time("import", name)
        elif outcome.error:
            session.fail("import", name, outcome)
            failed.add(name)
        else:
            seconds[name].append(outcome.seconds)
    return [
        {"name": name, "statement": IMPORTS[name], "repetitions": repetitions}
        for name, repetitions in seconds.items()
        if repetitions and name not in failed
    ]


def _sizes() -> list[dict[str, Any]]:
    """Return the sizes on disk, of those that are installed."""
    rows = []
    for name in INSTALLED:
        own = installed_bytes(name)
        if own is None:
            continue
        needed = {each: installed_bytes(each) or 0 for each in with_dependencies(name)}
        needed[name] = own
        rows.append(
            {
                "name": name,
                "bytes": sum(needed.values()),
                "own_bytes": own,
                "distributions": sorted(needed),
            }
        )
    return rows


def _sizes_of(hidden: Sequence[int], shape: tuple[int, int]) -> list[int]:
    return [shape[0], *hidden, shape[1]]


def _time_to_accuracy(
    session: Session,
    contenders: Sequence[Contender],
    files: DataFiles,
    common: dict[str, Any],
    shape: tuple[int, int],
) -> list[dict[str, Any]]:
    """Let each contender train until the last target, in turn; return a row per target."""
    task = {
        **common,
        "job": "accuracy",
        "data": files.path(len(files.dataset.x_train)),
        "sizes": _sizes_of(RECIPE["hidden"], shape),
        "batch_size": RECIPE["batch_size"],
        "learning_rates": RECIPE["learning_rates"],
        "enough": TARGETS[-1],
    }
    libraries = {contender.name: contender.library for contender in contenders}
    outcomes: dict[str, list[Outcome]] = {name: [] for name in libraries}
    for number, name, seconds in session.in_turns("time to accuracy", list(libraries), TRAININGS):
        earlier = outcomes[name]
        if earlier and earlier[-1].error:
            continue
        text = f"time to accuracy, {name}"
        session.step(text)
        named = {"library": libraries[name], "backend": name, "seed": number}
        outcome = run_task({**task, **named}, seconds, lambda: session.step(text))  # noqa: B023
        if outcome.error and not outcome.error.startswith(TIME_OVER):
            session.fail("time to accuracy", name, outcome)
        earlier.append(outcome)
    return [
        _reached(contender, target, outcomes[contender.name])
        for contender in contenders
        for target in TARGETS
        if any(outcome.answers for outcome in outcomes[contender.name])
    ]


def _reached(contender: Contender, target: float, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return the row of a contender and a target."""
    first = [
        next((answer for answer in outcome.answers if answer["accuracy"] >= target), None)
        for outcome in outcomes
    ]
    reached = [answer for answer in first if answer is not None]
    notes = [DISK_CACHE] if contender.name == "numba" else []
    if len(reached) < len(outcomes):
        notes.append(f"reached in {len(reached)} of {len(outcomes)} runs")
    notes += sorted({outcome.error for outcome in outcomes if outcome.error})
    best = reached or [
        max(outcome.answers, key=lambda answer: float(answer["accuracy"]))
        for outcome in outcomes
        if outcome.answers
    ]
    return {
        "contender": contender.name,
        "kind": contender.kind,
        "target": target,
        "seconds": [answer["at"] for answer in reached],
        "epochs": statistics.median(answer["epoch"] for answer in best),
        "accuracy": statistics.median(answer["accuracy"] for answer in best),
        "note": without_paths("; ".join(notes)),
    }


def _peak_memory(
    session: Session,
    contenders: Sequence[Contender],
    files: DataFiles,
    common: dict[str, Any],
    shape: tuple[int, int],
) -> list[dict[str, Any]]:
    """Let each contender train one epoch of each case; return the growth of its memory."""
    if importlib.util.find_spec("resource") is None:
        session.skip("peak memory", "all", "this system does not tell the peak of a process")
        return []
    # Every contender's first case before anybody's second.
    pairs = {
        f"{contender.name}, {case}": (contender, case)
        for case in MEMORY_CASES
        for contender in contenders
    }
    peaks: dict[str, list[int]] = {name: [] for name in pairs}
    failed: set[str] = set()
    for _, name, seconds in session.in_turns("peak memory", list(pairs), TRAININGS):
        if name in failed:
            continue
        contender, case = pairs[name]
        session.step(f"peak memory of {case}, {contender.name}")
        settings = MEMORY_CASES[case]
        task = {
            **common,
            "job": "memory",
            "library": contender.library,
            "backend": contender.name,
            "sizes": _sizes_of(settings["hidden"], shape),
            "batch_size": settings["batch_size"],
            "data": files.path(_memory_rows(case, files)),
            "learning_rates": [0.01],
            "seed": 0,
        }
        outcome = run_task(task, seconds)
        if not outcome.error:
            told = outcome.answers[-1]
            peaks[name].append(max(told["peak"] - told["before"], 0))
            continue
        failed.add(name)
        if not outcome.error.startswith(TIME_OVER):
            session.fail(f"peak memory of {case}", contender.name, outcome)
        elif not peaks[name]:
            session.no_time("peak memory", name)
    return [
        {
            "contender": contender.name,
            "kind": contender.kind,
            "case": case,
            "bytes": statistics.median(peaks[name]),
            "repetitions": peaks[name],
            "rows": _memory_rows(case, files),
        }
        for name, (contender, case) in pairs.items()
        if peaks[name]
    ]


def _memory_rows(case: str, files: DataFiles) -> int:
    """Return how many rows a case trains on."""
    return min(int(MEMORY_CASES[case]["rows"]), len(files.dataset.x_train))
