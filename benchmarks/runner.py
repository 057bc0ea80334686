"""Make a run: load the data, run the cases and the sections, return the results."""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from itertools import groupby
from typing import Any

import fastmlp
from fastmlp.backend import BACKENDS, backends
from fastmlp.datasets import Dataset, load, load_digits
from fastmlp.plan import resolve_threads

from .cases import CASES
from .cases_training import EPOCH_ROWS
from .compile_ahead import COMPILING_BACKEND, CompileAhead
from .execution import MEASURED_TOGETHER, Execution
from .levels import (
    CASES_AND_SECTIONS,
    COMPILING_SECONDS,
    LOADING_SECONDS,
    PRECISION,
    REPEATS,
    SUITE_SECONDS,
    WEIGHTS,
)
from .machine import describe_machine, describe_software, without_paths
from .peers import PEERS, Peer
from .problem import SEED
from .request import Request
from .results import Results
from .sections import SECTION_NAMES, ProgressReport, run_sections, section_seconds

DRAWING_LIMIT = 12.0
"""Digits are drawn; if 60,000 would take longer than this many seconds, fewer are."""
FEWER_DIGITS = 10_000
QUICK_DIGITS, QUICK_TEST_DIGITS = 6_144, 2_000
TEST_ROWS = 10_000
TRIAL_ROWS = 1024


def load_data(request: Request) -> Dataset:
    """Return the data; digits are drawn, as many as the machine draws in a few seconds."""
    rows = request.rows
    if request.data != "digits":
        data = load(request.data, request.data_dir)
        return replace(data, x_train=data.x_train[:rows], y_train=data.y_train[:rows])
    test_rows = TEST_ROWS
    if rows is None and request.level == "quick":
        rows, test_rows = QUICK_DIGITS, QUICK_TEST_DIGITS
    if rows is None:
        start = time.perf_counter()
        load_digits(TRIAL_ROWS, 0)
        seconds = (time.perf_counter() - start) / TRIAL_ROWS * (EPOCH_ROWS + TEST_ROWS)
        rows = EPOCH_ROWS if seconds <= DRAWING_LIMIT else FEWER_DIGITS
    return load_digits(rows, min(test_rows, rows))


def describe_peers(chosen: Sequence[Peer]) -> list[dict[str, object]]:
    """Return what results.json says of each peer: its version, or why it is not measured."""
    described: list[dict[str, object]] = []
    for peer in PEERS.values():
        missing = peer.missing_reason()
        reason = missing
        if not missing and peer not in chosen:
            reason = f"not asked for: measured with --full or --peers {peer.option}"
        described.append(
            {
                "name": peer.name,
                "title": peer.title,
                "available": not missing,
                "reason": reason,
                "version": "" if missing else peer.version(),
            }
        )
    return described


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
    began = time.perf_counter()
    every = backends()
    wanted = BACKENDS if request.backends is None else tuple(request.backends)
    infos = [info for info in every if info.available and info.name in wanted]
    infos.reverse()  # the reference first
    n_threads = resolve_threads(request.n_threads)
    repeats = REPEATS[request.level] if request.repeats is None else request.repeats
    cases = request.chosen_cases
    results = Results(
        date=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        fastmlp_version=fastmlp.__version__,
        command=request.command,
        complete=False,
        level=request.level,
        settings={
            "repeats": repeats,
            "threads": n_threads,
            "precision": PRECISION,
            "seed": SEED,
        },
        data={"name": request.data, "rows_reported": EPOCH_ROWS},
        machine=describe_machine(),
        software=describe_software(),
        backends=[
            asdict(info)
            | {"reason": without_paths(info.reason), "precisions": list(info.precisions)}
            for info in every
        ],
        peers=describe_peers(request.chosen_peers),
        cases=[case.as_dict() for case in CASES.values() if case in cases],
    )
    chosen = [name for name in SECTION_NAMES if name not in request.skipped_sections]
    suite = SUITE_SECONDS[request.level] if cases else 0.0
    compiling_seconds = COMPILING_SECONDS[request.level]
    compiles_ahead = compiling_seconds > 0.0
    options: dict[str, dict[str, Any]] = {
        "roofline": {"n_threads": n_threads, "failures": results.failures}
    }
    try:
        with ExitStack() as stack:
            drawing = "drawing the images" if request.data == "digits" else "reading the images"
            progress(0.0, drawing)
            if compiles_ahead:
                ahead = CompileAhead(cases, request.level, infos, n_threads)
                stack.callback(ahead.close)
            data = load_data(request)
            results.data |= {"rows": len(data.x_train), "test_rows": len(data.x_test)}
            options["cold_start"] = {
                "dataset": data,
                "n_threads": n_threads,
                "failures": results.failures,
            }
            if "drawbacks" in chosen:
                results.drawbacks = {}  # filled bit by bit: an interrupted run keeps what it has
                options["drawbacks"] = {"into": results.drawbacks, "data_dir": request.data_dir}
            early: list[str] = []
            if compiles_ahead and not ahead.wait(
                time.perf_counter() + LOADING_SECONDS[request.level]
            ):
                # While Numba compiles in a process of its own, what is not about time is done.
                early = [name for name in chosen if name == "drawbacks"]
            late = [name for name in chosen if name not in early]
            stage = stages_of(
                progress,
                section_seconds(request.level, early),
                suite,
                section_seconds(request.level, late),
            )
            work = Execution(
                request=request,
                results=results,
                progress=stage(1),
                infos=infos,
                peers=[peer for peer in request.chosen_peers if not peer.missing_reason()],
                n_threads=n_threads,
                stack=stack,
                data=data,
                repeats=repeats,
                weight_left=sum(WEIGHTS[case.group] for case in cases),
            )
            if compiles_ahead:
                for case in cases[:1]:
                    work.start_peers(case)
            run_sections(results, request.level, early, stage(0), options)
            if compiles_ahead:
                stage(1)(0.0, "compiling the numba kernels")
                if not ahead.wait(began + compiling_seconds):
                    ahead.close()
                    work.infos = [info for info in infos if info.name != COMPILING_BACKEND]
                    _leave_out_compiling(results, compiling_seconds)
            if request.repeats is None:
                work.deadline = time.perf_counter() + suite
                end = began + CASES_AND_SECTIONS[request.level]
                work.last_start = end - section_seconds(request.level, late)
                last = [name for name in late if name == "drawbacks"]
                options["cold_start"]["until"] = end - section_seconds(request.level, last)
            for _, together in groupby(
                cases, lambda case: case.group if case.group in MEASURED_TOGETHER else case.name
            ):
                work.run_cases(list(together))
            results.settings["repeats"] = max(1, work.most_rounds)
        run_sections(results, request.level, late, stage(2), options)
        results.complete = True
    except KeyboardInterrupt:
        pass
    _finish(results)
    return results


def stages_of(progress: ProgressReport, *seconds: float) -> Callable[[int], ProgressReport]:
    """Return a function that makes a stage, by its number, tell its share of the progress."""
    whole = max(sum(seconds), 1e-9)

    def stage(number: int) -> ProgressReport:
        start, share = sum(seconds[:number]) / whole, seconds[number] / whole
        return lambda fraction, text: progress(start + share * fraction, text)

    return stage


def _leave_out_compiling(results: Results, seconds: float) -> None:
    """Say why the backend that compiles takes no part."""
    for each in results.backends:
        if each["name"] == COMPILING_BACKEND:
            each["available"] = False
            each["reason"] = (
                f"it was still compiling its kernels after {seconds:g} s, which happens once; what "
                "is compiled is kept: run the command again"
            )


def _finish(results: Results) -> None:
    """Put the measurements into the table's order, and say why an accuracy is missing."""
    results.drawbacks = results.drawbacks or None
    position = {name: number for number, name in enumerate(case["name"] for case in results.cases)}
    results.measurements.sort(key=lambda each: position[each.case])
    for each in results.measurements:
        if each.group in ("training", "growth") and not each.accuracy_note:
            each.accuracy_note = "the run was interrupted"
