from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from fastmlp.benchmarks import request as request_module
from fastmlp.benchmarks import runner
from fastmlp.benchmarks.case import GROUPS, Case, Prepared, Setting
from fastmlp.benchmarks.cases import cases_of
from fastmlp.benchmarks.levels import LATE_REPEATS, REFERENCE_REPEATS, REPEATS
from fastmlp.benchmarks.request import Request
from fastmlp.benchmarks.results import Results
from fastmlp.benchmarks.runner import run
from fastmlp.benchmarks.sections import SECTION_NAMES
from fastmlp.benchmarks.terminal import failure_lines
from fastmlp.datasets import Dataset


def small(**changes: Any) -> Request:
    fields: dict[str, Any] = {
        "backends": ["numpy"], "peers": [], "rows": 512, "repeats": 2, "level": "quick",
        "skip": SECTION_NAMES,
    }  # fmt: skip
    return Request(**(fields | changes))


def replace_cases(
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[str], object],
    group: Any = "training",
    names: Sequence[str] = ("case",),
) -> None:
    """Put one case, or several, in place of the table; they call `call` with the contender."""

    def prepare(setting: Setting, data: Dataset) -> Prepared:
        return Prepared(lambda: call(setting.contender), lambda: None)

    cases = {
        name: Case(
            name, group, "title", "description", 128, prepare, reference_rows=128,
            loops=group != "training",
        )
        for name in names
    }  # fmt: skip
    monkeypatch.setattr(request_module, "cases_of", lambda level: list(cases.values()))
    monkeypatch.setattr(runner, "CASES", cases)


def test_everything_is_measured() -> None:
    results = run(small(peers=["numpy"]))
    assert results.complete and results.failures == []
    quick = [case.name for case in cases_of(GROUPS, "quick")]
    measured = [each.case for each in results.measurements if each.contender == "numpy"]
    assert measured == quick  # in the order of the table
    for each in results.measurements:
        assert len(each.repetitions) == 2 and min(each.repetitions) > 0
        assert each.first_call_seconds > 0 and each.loops >= 1
        assert bool(each.isa) == (each.kind == "backend")
    with_peer = {each.case for each in results.measurements if each.contender == "numpy_by_hand"}
    assert with_peer == {"M128", "predict_1", "predict_64"}
    assert Results.from_dict(json.loads(json.dumps(results.as_dict()))) == results


def test_everybody_trains_as_much_and_is_scored() -> None:
    results = run(small(cases=["M128"], peers=["numpy_by_hand"]))
    assert [each.contender for each in results.measurements] == ["numpy", "numpy_by_hand"]
    for each in results.measurements:
        assert each.rows_timed == 512 and each.rows_reported == 60_000
        assert each.accuracy_note == "after 2 epochs of 512 rows"
    ours, theirs = results.measurements
    assert ours.accuracy is not None and ours.accuracy > 0.1
    assert ours.accuracy == pytest.approx(theirs.accuracy, abs=0.01)
    assert results.roofline is None


def test_the_reference_is_timed_on_a_slice_and_scaled() -> None:
    request = small(backends=["numpy", "python"], repeats=1, cases=["matmul", "M128"])
    by_key = {(each.case, each.contender): each for each in run(request).measurements}
    assert by_key["matmul", "python"].scale == 8
    assert by_key["M128", "python"].scale == 60_000 / 32
    assert by_key["M128", "python"].accuracy is None
    assert by_key["M128", "python"].accuracy_note == "trained on 32 rows only"
    assert by_key["M128", "numpy"].accuracy is not None


def test_repetitions_are_interleaved(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    replace_cases(monkeypatch, called.append)
    run(small(backends=["numpy", "python"], repeats=3))
    assert called == ["python", "numpy"] * 3


@pytest.mark.parametrize("group", ["options", "training"])
def test_cases_that_are_compared_with_each_other_are_interleaved(
    group: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    replace_cases(monkeypatch, lambda contender: None, group, ["one", "other"])
    run(
        small(backends=["numpy"], repeats=3),
        lambda fraction, text: told.append(text) if text and "repetition" in text else None,
    )
    cases = [text.split(": ")[1].split(",")[0] for text in told]
    both = ["one", "other"]
    assert cases == (both * 3 if group == "options" else ["one"] * 3 + ["other"] * 3)


def test_the_reference_is_repeated_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    replace_cases(monkeypatch, called.append)
    run(small(backends=["numpy", "python"], repeats=None))
    assert called == ["python"] * REFERENCE_REPEATS["quick"] + ["numpy"] * REPEATS["quick"]
    assert REFERENCE_REPEATS["quick"] < REPEATS["quick"]


@pytest.mark.parametrize("is_compiled", [False, True])
def test_the_experiments_run_before_anything_is_timed_only_while_a_backend_compiles(
    is_compiled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    waits: list[float] = []

    def run_sections(results: object, level: str, names: list[str], *others: object) -> None:
        done.extend(names)

    class Compiling:
        def __init__(self, cases: object, level: str, infos: object, n_threads: int) -> None:
            done.append("compile")

        def wait(self, deadline: float) -> bool:
            waits.append(deadline)
            return is_compiled or len(waits) > 1

        def close(self) -> None:
            done.append("close")

    monkeypatch.setattr(runner, "run_sections", run_sections)
    monkeypatch.setattr(runner, "CompileAhead", Compiling)
    replace_cases(monkeypatch, done.append)
    for level in ("quick", "default"):
        done.clear()
        waits.clear()
        run(small(skip=(), repeats=1, level=level))
        timed = ["numpy", "close", "roofline", "cold_start"]
        expected = [*timed, "drawbacks"] if is_compiled else ["drawbacks", *timed]
        assert done == ["compile", *expected]
    done.clear()
    run(small(skip=(), repeats=1, level="full"))
    assert done == ["numpy", "roofline", "cold_start", "drawbacks"]


def test_a_backend_that_compiles_for_too_long_takes_no_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []
    replace_cases(monkeypatch, called.append)
    infos = [replace(info, available=True, reason="") for info in runner.backends()]
    monkeypatch.setattr(runner, "backends", lambda: infos)
    monkeypatch.setattr(runner.CompileAhead, "__init__", lambda *arguments: None)
    monkeypatch.setattr(runner.CompileAhead, "close", lambda ahead: None)
    for in_time in (True, False):
        monkeypatch.setattr(
            runner.CompileAhead, "wait", lambda ahead, deadline, in_time=in_time: in_time
        )
        called.clear()
        results = run(small(backends=["numba", "numpy"]))
        assert set(called) == ({"numba", "numpy"} if in_time else {"numpy"})
        (numba,) = (each for each in results.backends if each["name"] == "numba")
        assert numba["available"] == in_time
        assert ("run the command again" in str(numba["reason"])) != in_time


def test_cases_that_would_begin_too_late_are_left_out_and_listed_but_never_the_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    called: list[str] = []
    replace_cases(monkeypatch, called.append, names=["first", "second"])
    monkeypatch.setattr(runner, "CASES_AND_SECTIONS", {"quick": 0.0})
    results = run(small(repeats=None))
    assert results.complete and {each.case for each in results.measurements} == {"first"}
    text = "left out: the time of the level 'quick' was over"
    assert results.failures == [{"case": "second", "contender": "", "error": text}]
    assert not results.has_failed
    told = ["Left out, the time of the level 'quick' was over: second."]
    assert failure_lines(results) == told
    results.failures.append({"case": "first", "contender": "numpy", "error": "OSError: no"})
    assert results.has_failed
    assert failure_lines(results) == ["first with numpy failed: OSError: no", *told]


def test_progress_goes_from_zero_upwards() -> None:
    told: list[tuple[float, str]] = []
    run(small(), lambda fraction, text: told.append((fraction, text)))
    fractions = [fraction for fraction, _ in told]
    assert fractions[0] == 0.0 and fractions == sorted(fractions)
    assert 0.9 < fractions[-1] <= 1.0
    assert told[-1][1].startswith("repetition 2/2: growth_")


def test_interruption_keeps_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def call(backend: str) -> None:
        called.append(backend)
        if len(called) == 4:
            raise KeyboardInterrupt

    replace_cases(monkeypatch, call)
    results = run(small(backends=["numpy", "python"], repeats=3))
    assert not results.complete
    assert {each.contender: len(each.repetitions) for each in results.measurements} == {
        "python": 2, "numpy": 1,
    }  # fmt: skip
    assert all(each.accuracy_note == "the run was interrupted" for each in results.measurements)


def test_interruption_inside_of_training_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastmlp.kernels.numpy_backend import NumpyEngine

    def train(*arguments: object, **how: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(NumpyEngine, "train", train)
    results = run(small())
    assert not results.complete and results.measurements == []


def test_a_broken_contender_does_not_take_the_others_along(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def call(backend: str) -> None:
        if backend == "python":
            raise RuntimeError("/home/ann/kernel.so: broken")

    expected = [{"case": "case", "contender": "python", "error": "RuntimeError: kernel.so: broken"}]
    for group in ("kernels", "training"):  # when it is first called, and when it is repeated
        replace_cases(monkeypatch, call, group)
        results = run(small(backends=["numpy", "python"]))
        assert results.complete
        assert [each.contender for each in results.measurements] == ["numpy"]
        assert results.failures == expected


def test_a_slow_machine_gets_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    replace_cases(monkeypatch, called.append)
    monkeypatch.setattr(runner, "SUITE_SECONDS", {"quick": 0.0})
    results = run(small(repeats=None))
    assert len(called) == LATE_REPEATS == results.settings["repeats"]
    called.clear()
    run(small(repeats=4))
    assert len(called) == 4


def test_other_threads_and_instruction_sets_run_in_processes_of_their_own() -> None:
    results = run(small(level="default", cases=["matmul"], n_threads=2, repeats=1))
    found = {(each.precision, each.n_threads, each.max_isa) for each in results.measurements}
    assert {("float32", 2, ""), ("float64", 2, ""), ("float32", 1, "")} <= found
    main = [each for each in results.measurements if results.is_main(each)]
    assert [(each.precision, each.n_threads) for each in main] == [("float32", 2)]


def test_slow_drawing_gets_fewer_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, int]] = []

    def load_digits(n_train: int, n_test: int) -> None:
        drawn.append((n_train, n_test))

    monkeypatch.setattr(runner, "load_digits", load_digits)
    runner.load_data(Request())
    assert drawn.pop() == (60_000, 10_000)
    monkeypatch.setattr(runner, "DRAWING_LIMIT", -1.0)
    runner.load_data(Request())
    assert drawn.pop() == (10_000, 10_000)
    runner.load_data(Request(level="quick"))
    assert drawn.pop() == (runner.QUICK_DIGITS, runner.QUICK_TEST_DIGITS)


def test_peers_are_described_with_the_reason_why_one_is_left_out() -> None:
    described = {each["name"]: each for each in runner.describe_peers([])}
    by_hand = described["numpy_by_hand"]
    assert by_hand["available"] and by_hand["version"]
    assert by_hand["reason"] == "not asked for: measured with --full or --peers numpy"
    assert all(each["available"] or each["reason"] for each in described.values())


def test_a_case_that_leaves_no_time_for_the_sections_after_it_is_left_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    replace_cases(monkeypatch, lambda backend: None, names=["first", "second"])
    until: list[float] = []

    def run_sections(results: object, level: str, names: object, report: object, options: Any):
        until.append(options["cold_start"].get("until", 0.0))  # set when the cases begin

    monkeypatch.setattr(runner, "run_sections", run_sections)
    monkeypatch.setattr(runner, "CASES_AND_SECTIONS", {"default": 60.0})
    for seconds, left_out in [(59.0, []), (61.0, ["second"])]:
        monkeypatch.setattr(
            runner, "section_seconds", lambda level, names, s=seconds: s if names else 0.0
        )
        before = time.perf_counter()
        results = run(small(level="default", repeats=None, skip=["drawbacks"]))
        assert [each["case"] for each in results.failures] == left_out
        # What comes before the experiments on drawbacks ends in time, too.
        assert before + 60.0 <= until[-1] <= time.perf_counter() + 60.0
