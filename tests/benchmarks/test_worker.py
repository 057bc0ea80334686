"""Contests in processes of their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastmlp.benchmarks.case import Setting
from fastmlp.benchmarks.cases import CASES
from fastmlp.benchmarks.contest import LocalContest, environment_of
from fastmlp.benchmarks.worker import RemoteContest, Worker, WorkerError, load_images, save_images
from fastmlp.datasets import Dataset, load_digits

TRAINING = CASES["M128"]


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits(1024, 100)


@pytest.fixture(scope="module")
def worker(digits: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    folder = tmp_path_factory.mktemp("images")
    save_images(digits, folder)
    made = Worker(folder, {"FASTMLP_MAX_ISA": "baseline"}, 1)
    yield made
    made.close()
    assert made.process.poll() is not None


def test_sources_in_the_working_directory_do_not_matter(
    digits: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "fastmlp").mkdir()
    (tmp_path / "fastmlp" / "__init__.py").write_text("raise ImportError('the wrong one')")
    save_images(digits, tmp_path)
    monkeypatch.chdir(tmp_path)
    worker = Worker(tmp_path, {}, 1)
    contest = RemoteContest(TRAINING, Setting("numpy", 1024, 1, "backend"), worker)
    assert contest.open().loops == 1
    command = worker.process.args
    assert isinstance(command, list) and "-P" in command  # an editable install needs none
    worker.close()


def test_images_are_mapped_as_they_were(digits: Dataset, tmp_path: Path) -> None:
    save_images(digits, tmp_path)
    loaded = load_images(tmp_path)
    np.testing.assert_array_equal(loaded.x_train, digits.x_train)
    np.testing.assert_array_equal(loaded.y_test, digits.y_test)


@pytest.mark.parametrize("contender", ["numpy", "numpy_by_hand"])
def test_a_remote_contest_learns_as_a_local_one(
    contender: str, worker: Worker, digits: Dataset
) -> None:
    kind = "peer" if contender == "numpy_by_hand" else "backend"
    setting = Setting(contender, 1024, 1, kind)  # type: ignore[arg-type]
    accuracies = []
    contests = RemoteContest(TRAINING, setting, worker), LocalContest(TRAINING, setting, digits)
    for contest in contests:
        opening = contest.open()
        assert opening.loops == 1 and opening.seconds is None and opening.n_threads == 1
        assert opening.precision == "float32" and opening.first_call_seconds > 0
        assert all(contest.repeat() > 0 for _ in range(3))
        accuracies.append(contest.score().accuracy)
        contest.close()
    assert accuracies[0] is not None and accuracies[0] > 0.2
    assert accuracies[0] == pytest.approx(accuracies[1], abs=0.03)


def test_the_environment_is_that_of_the_worker(worker: Worker, backend_name: str) -> None:
    if backend_name != "cython":
        pytest.skip("only the cython backend has instruction sets to choose from")
    setting = Setting("cython", 16, 1, max_isa="baseline")
    assert RemoteContest(CASES["matmul"], setting, worker).open().isa == "baseline"
    assert environment_of(setting, 1) == {"FASTMLP_MAX_ISA": "baseline"}


def test_only_what_differs_from_the_run_has_a_process_of_its_own() -> None:
    assert environment_of(Setting("numpy", 16, 2), 2) is None
    assert environment_of(Setting("numpy", 16, 1), 2) == {}
    assert environment_of(Setting("numpy", 16, 2, precision="float64"), 2) is None


def test_packages_are_imported_ahead_and_belong_to_the_first_call(
    worker: Worker, digits: Dataset, tmp_path: Path
) -> None:
    slow = tmp_path / "a_slow_import.py"
    slow.write_text("import time\ntime.sleep(0.5)\n")
    save_images(digits, tmp_path)
    made = Worker(tmp_path, {"PYTHONPATH": str(tmp_path)}, 1, ["a_slow_import", "not_there"])
    try:
        first_calls = [
            RemoteContest(CASES["matmul"], Setting("numpy", 16, 1), made).open().first_call_seconds
            for _ in range(2)
        ]
    finally:
        made.close()
    assert first_calls[0] > 0.5 > first_calls[1]


def test_an_error_is_told_and_the_worker_goes_on(worker: Worker) -> None:
    setting = Setting("nope", 16, 1)
    with pytest.raises(WorkerError, match="ValueError: backend must be one of"):
        RemoteContest(TRAINING, setting, worker).open()
    contest = RemoteContest(CASES["matmul"], Setting("numpy", 16, 1), worker)
    assert contest.open().loops >= 1
    contest.close()
    with pytest.raises(WorkerError, match="KeyError"):
        contest.repeat()


def test_a_worker_that_ends_says_why(tmp_path: Path) -> None:
    worker = Worker(tmp_path / "missing", {"FASTMLP_MAX_ISA": ""}, 1)
    with pytest.raises(WorkerError, match="No such file"):
        worker.ask(do="open", case="M128", setting=dict(vars(Setting("numpy", 16, 1))))
    worker.process.kill()
    with pytest.raises(WorkerError, match="its process ended"):
        worker.ask(do="open")
    RemoteContest(TRAINING, Setting("numpy", 16, 1), worker).close()  # nothing to close
    worker.close()
