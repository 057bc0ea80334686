from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable

import pytest

from fastmlp.benchmarks import runner
from fastmlp.benchmarks.cases import Case, Prepared, Setting, cases_of
from fastmlp.benchmarks.results import Results
from fastmlp.benchmarks.runner import Request, run


def quick(**changes: object) -> Request:
    fields = {"backends": ["numpy"], "rows": 128, "repeats": 2}
    return Request(**(fields | changes))  # type: ignore[arg-type]


def replace_cases(
    monkeypatch: pytest.MonkeyPatch, call: Callable[[str], object], group: str = "training"
) -> None:
    """Put one case in place of the table; it calls `call` with the backend's name."""

    def prepare(setting: Setting) -> Prepared:
        return Prepared(lambda: call(setting.backend), lambda: None)

    case = Case("case", group, "title", "description", 128, 128, prepare)  # type: ignore[arg-type]
    monkeypatch.setattr(runner, "cases_of", lambda groups: [case])


def test_everything_is_measured() -> None:
    results = run(quick())
    assert results.complete and results.failures == []
    assert [each.case for each in results.measurements] == [case.name for case in cases_of()]
    for each in results.measurements:
        assert len(each.repetitions) == 2 and min(each.repetitions) > 0
        assert each.first_call_seconds > 0 and each.isa
        assert each.loops >= 1
    training = results.measurements[-1]
    assert training.rows_timed == 128 and training.rows_reported == 60_000
    assert training.accuracy is not None and 0 <= training.accuracy <= 1
    assert training.accuracy_note == "after 2 epochs"
    assert Results.from_dict(json.loads(json.dumps(results.as_dict()))) == results


def test_the_reference_is_timed_on_a_slice_and_scaled() -> None:
    results = run(quick(backends=["numpy", "python"], repeats=1, rows=256))
    by_key = {(each.case, each.backend): each for each in results.measurements}
    assert by_key["matmul", "python"].scale == 4
    assert by_key["train_epoch", "python"].scale == 60_000 / 128
    assert by_key["train_epoch", "python"].accuracy is None
    assert by_key["train_epoch", "python"].accuracy_note == "trained on 128 rows only"
    assert by_key["train_epoch", "numpy"].accuracy is not None
    assert results.speedup(by_key["matmul", "numpy"], "python") > 1


def test_repetitions_are_interleaved(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    replace_cases(monkeypatch, called.append)
    run(quick(backends=["numpy", "python"], repeats=3))
    assert called == ["python", "numpy"] * 3


def test_progress_goes_from_zero_upwards() -> None:
    told: list[tuple[float, str]] = []
    run(quick(), lambda fraction, text: told.append((fraction, text)))
    fractions = [fraction for fraction, _ in told]
    assert fractions[0] == 0.0 and fractions == sorted(fractions)
    assert 0.2 < fractions[-1] <= 1.0
    assert told[-1][1] == "repetition 2/2: train_epoch, numpy"


def test_interruption_keeps_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []

    def call(backend: str) -> None:
        called.append(backend)
        if len(called) == 4:
            raise KeyboardInterrupt

    replace_cases(monkeypatch, call)
    results = run(quick(backends=["numpy", "python"], repeats=3))
    assert not results.complete
    assert {each.backend: len(each.repetitions) for each in results.measurements} == {
        "python": 2, "numpy": 1,
    }  # fmt: skip
    assert all(each.accuracy_note == "the run was interrupted" for each in results.measurements)


def test_interruption_inside_of_training_ends_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from fastmlp.kernels.numpy_backend import NumpyEngine

    def train(*arguments: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(NumpyEngine, "train", train)
    results = run(quick())
    assert not results.complete and results.measurements == []


def test_a_broken_backend_does_not_take_the_others_along(monkeypatch: pytest.MonkeyPatch) -> None:
    def call(backend: str) -> None:
        if backend == "python":
            raise RuntimeError("/home/ann/kernel.so: broken")

    replace_cases(monkeypatch, call, group="kernels")
    results = run(quick(backends=["numpy", "python"]))
    assert results.complete
    assert [each.backend for each in results.measurements] == ["numpy"]
    assert results.failures == [
        {"case": "case", "backend": "python", "error": "RuntimeError: kernel.so: broken"}
    ]


def test_a_slow_machine_gets_fewer_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    replace_cases(monkeypatch, called.append)
    monkeypatch.setattr(runner, "TIME_LIMIT", 0.0)
    results = run(quick(repeats=None))
    assert len(called) == runner.FEWEST_REPEATS == results.settings["repeats"]
    called.clear()
    run(quick(repeats=4))
    assert len(called) == 4


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


def test_the_command_repeats_the_run_without_folders() -> None:
    request = Request(data="mnist", data_dir="/home/ann", backends=["numpy"], n_threads=1, rows=500)
    assert request.command == ("fastmlp bench --data mnist --backends numpy --threads 1 --rows 500")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"repeats": 0}, "repeats"),
        ({"rows": 127}, "rows must be an integer >= 128; got 127"),
        ({"n_threads": 0}, "threads"),
        ({"backends": ["nope"]}, "backend must be one of"),
    ],
)
def test_wrong_requests(changes: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dataclasses.replace(quick(), **changes)
