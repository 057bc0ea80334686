"""The cold start: processes that answer, fail or take too long; rows in the form of the results."""

from __future__ import annotations

import importlib.util
import json
import time
from typing import Any

import numpy as np
import pytest

from fastmlp.benchmarks import cold_start
from fastmlp.benchmarks.cold_process import run_python, run_task
from fastmlp.benchmarks.cold_start import CONTENDERS, Contender
from fastmlp.datasets import Dataset, load_digits


@pytest.fixture(scope="module")
def dataset() -> Dataset:
    return load_digits(600, 100)


@pytest.fixture(autouse=True)
def _little_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cold_start, "IMPORTS", {"python": "", "numpy": "import numpy"})
    monkeypatch.setattr(cold_start, "INSTALLED", ("numpy", "a-package-that-nobody-has"))
    monkeypatch.setattr(cold_start, "TRAININGS", 2)
    monkeypatch.setattr(
        cold_start, "MEMORY_CASES", {"M128": {"hidden": [8], "batch_size": 32, "rows": 300}}
    )
    monkeypatch.setitem(cold_start.RECIPE, "learning_rates", [0.2, 0.15, 0.1])
    for level in ("quick", "default"):
        monkeypatch.setitem(cold_start.SECONDS, level, 300.0)


def test_a_process_answers_line_by_line():
    ticks: list[int] = []
    code = "print('not for us'); print('{\"a\": 1}', flush=True); print('{\"a\": 2}')"
    outcome = run_python(["-c", code], 60.0, tick=lambda: ticks.append(1))
    assert [answer["a"] for answer in outcome.answers] == [1, 2]
    assert 0 < outcome.answers[0]["at"] <= outcome.answers[1]["at"] <= outcome.seconds
    assert (outcome.error, len(ticks)) == ("", 3)


def test_a_process_that_fails_tells_why():
    outcome = run_python(["-c", "raise ValueError('not that one')"], 60.0)
    assert outcome.error == "ValueError: not that one"


def test_a_process_whose_time_is_over_is_ended_and_its_answers_kept():
    code = "import time; print('{\"a\": 1}', flush=True); time.sleep(600)"
    outcome = run_python(["-c", code], 3.0)
    assert outcome.error == "ended after 3.0 s"
    assert [answer["a"] for answer in outcome.answers] == [1]


def test_an_interrupt_ends_the_process():
    def interrupt() -> None:
        raise KeyboardInterrupt

    code = "import time; print('{\"a\": 1}', flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):  # and the test ends: nobody waits for ten minutes
        run_python(["-c", code], 600.0, tick=interrupt)


def test_threads_are_pinned_for_every_library():
    code = "import json, os; print(json.dumps(dict(os.environ)))"
    (answer,) = run_python(["-c", code], 60.0, n_threads=3).answers
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        assert answer[variable] == "3"


def test_quick_has_imports_and_sizes_only():
    found = cold_start.measure("quick")
    assert [row["name"] for row in found["import_seconds"]] == ["python", "numpy"]
    assert all(min(row["repetitions"]) > 0 for row in found["import_seconds"])
    (size,) = found["install_bytes"]
    assert size["name"] == "numpy"
    assert size["bytes"] >= size["own_bytes"] > 1_000_000
    assert found["time_to_accuracy"] == found["peak_memory_bytes"] == []
    assert json.loads(json.dumps(found)) == found


def test_a_row_per_target_and_one_per_memory_case(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cold_start, "TARGETS", (0.15, 1.5))
    told: list[tuple[float, str]] = []
    failures: list[dict[str, str]] = []
    found = cold_start.measure(
        "default",
        lambda *arguments: told.append(arguments),
        dataset=dataset,
        contenders=["numpy"],
        n_threads=1,
        failures=failures,
    )
    assert failures == []
    easy, impossible = found["time_to_accuracy"]
    assert (easy["contender"], easy["kind"], easy["target"]) == ("numpy", "backend", 0.15)
    assert len(easy["seconds"]) == 2
    assert min(easy["seconds"]) > 0
    assert 0.15 <= easy["accuracy"] <= 1.0
    assert 1 <= easy["epochs"] <= 3
    assert (impossible["target"], impossible["seconds"]) == (1.5, [])
    assert impossible["note"] == "reached in 0 of 2 runs"
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions)
    assert 0 <= fractions[0] <= fractions[-1] < 1
    if importlib.util.find_spec("resource") is not None:
        (memory,) = found["peak_memory_bytes"]
        assert (memory["case"], memory["rows"]) == ("M128", 300)
        assert memory["bytes"] == np.median(memory["repetitions"]) > 0
        assert len(memory["repetitions"]) == 2
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize(("seconds", "left"), [(1e-3, 60.0), (60.0, -30.0)])
def test_what_does_not_fit_the_time_is_listed(
    seconds: float, left: float, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(cold_start.SECONDS, "default", seconds)
    until = time.perf_counter() + left
    found = cold_start.measure("default", dataset=dataset, contenders=["numpy"], until=until)
    assert found["time_to_accuracy"] == found["import_seconds"] == []
    skipped = {(each["part"], each["name"]): each["reason"] for each in found["skipped"]}
    assert "no time left" in skipped["time to accuracy", "numpy"]
    assert "no time left" in skipped["import", "numpy"]


@pytest.mark.parametrize(
    ("seconds", "turns", "skipped"),
    [
        (100.0, ["a", "b", "c", "a", "b", "c", "a", "b", "c"], []),
        # Half as much again is kept for a's and b's two other runs each.
        (14.0, ["a", "b", "c", "a", "b", "c", "a", "b"], []),
        (8.5, ["a", "a", "a"], ["b", "c"]),
        (6.5, ["a", "a"], ["b", "c"]),
        (0.5, [], ["a", "b", "c"]),
    ],
)
def test_what_began_keeps_the_time_for_its_repetitions(
    seconds: float, turns: list[str], skipped: list[str], monkeypatch: pytest.MonkeyPatch
):
    now = [1000.0]
    monkeypatch.setattr(cold_start.time, "perf_counter", lambda: now[0])
    session = cold_start.Session("default", now[0] + seconds, print, [], [])
    done = []
    for _, name, allowed in session.in_turns("part", ["a", "b", "c"], 3):
        done.append(name)
        assert allowed <= session.left
        now[0] += {"a": 2.0, "b": 1.0, "c": 1.5}[name]
    assert (done, [each["name"] for each in session.skipped]) == (turns, skipped)


def test_a_missing_peer_is_skipped_with_a_reason(monkeypatch: pytest.MonkeyPatch):
    missing = Contender("nobody", "peer", "nobody", "no_such_module", "no-such-package", "")
    monkeypatch.setattr(cold_start, "CONTENDERS", (missing,))
    found = cold_start.measure("quick")
    assert {
        "part": "all", "name": "nobody", "reason": "no-such-package is not installed",
    } in found["skipped"]  # fmt: skip


def test_a_contender_that_fails_is_a_failure(dataset: Dataset, monkeypatch: pytest.MonkeyPatch):
    broken = Contender("broken", "peer", "no such library", "numpy", "numpy", "")
    monkeypatch.setattr(cold_start, "CONTENDERS", (broken,))
    failures: list[dict[str, str]] = []
    found = cold_start.measure("default", dataset=dataset, failures=failures)
    assert found["time_to_accuracy"] == []
    assert {each["contender"] for each in failures} == {"broken"}
    assert "no such library" in failures[0]["error"]


@pytest.mark.parametrize(
    ("level", "contenders", "message"),
    [("defaults", None, "Did you mean 'default'"), ("quick", ["nump"], "Did you mean 'numpy'")],
)
def test_unknown_names_are_refused(level: str, contenders: Any, message: str):
    with pytest.raises(ValueError, match=message):
        cold_start.measure(level, contenders=contenders)


@pytest.mark.parametrize("contender", CONTENDERS, ids=lambda contender: contender.name)
def test_every_contender_learns_by_the_recipe(contender: Contender, dataset: Dataset, tmp_path):
    reasons: list[dict[str, str]] = []
    session = cold_start.Session("full", 0.0, print, [], reasons)
    if not cold_start._is_there(contender, session):
        pytest.skip(reasons[0]["reason"])
    task = {
        "job": "accuracy",
        "library": contender.library,
        "backend": contender.name,
        "data": cold_start.DataFiles(dataset, tmp_path).path(600),
        "sizes": [784, 32, 10],
        "batch_size": 32,
        "learning_rates": [0.05, 0.04, 0.03, 0.02],
        "enough": 1.5,
        "n_threads": 1,
        "seed": 0,
    }
    outcome = run_task(task, 300.0)
    assert outcome.error == ""
    assert [answer["epoch"] for answer in outcome.answers] == [1, 2, 3, 4]
    accuracies = [answer["accuracy"] for answer in outcome.answers]
    assert np.mean(accuracies[2:]) > 0.5
