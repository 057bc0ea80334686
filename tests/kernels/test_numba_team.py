"""The threads of the numba backend: together or alone, after fork, interrupted, on one CPU."""

from __future__ import annotations

import ctypes
import os
import subprocess
import threading
from collections.abc import Callable

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

from fastmlp import Network, Trainer
from fastmlp.kernels import numba_names as names
from fastmlp.kernels import numba_team
from fastmlp.kernels.numba_backend import NumbaEngine
from fastmlp.kernels.numba_names import ABORTED, CALL_WORDS, N_THREADS
from fastmlp.kernels.numba_team import Team

RunPython = Callable[..., subprocess.CompletedProcess[str]]

SIZES, N_ROWS = (70, 150, 10), 300


def make_trainer(n_threads: int) -> Trainer:
    network = Network(SIZES, seed=0)
    return Trainer(network, backend="numba", batch_size=100, n_threads=n_threads, seed=0)


def make_data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(N_ROWS, SIZES[0])).astype(np.float32)
    return x, random.integers(0, SIZES[-1], N_ROWS)


def trained(n_threads: int, epochs: int = 3) -> bytes:
    trainer = make_trainer(n_threads)
    trainer.fit(*make_data(), epochs=epochs)
    parameters: bytes = trainer.network.parameters.tobytes()
    return parameters


class Recorder:
    """Stands for a compiled function: notes which threads called it."""

    def __init__(self, n_threads: int) -> None:
        self.meeting = threading.Barrier(n_threads, timeout=60)
        self.called: set[int] = set()

    def __call__(self, address: int, thread: int) -> None:
        self.meeting.wait()
        self.called.add(thread)
        self.meeting.wait()


@pytest.mark.parametrize("n_threads", [1, 2, 5, 3])
def test_all_threads_run_the_function(n_threads: int) -> None:
    team, recorder, call = Team(), Recorder(n_threads), np.zeros(CALL_WORDS, np.int64)
    for _ in range(3):
        team.run(recorder, call, n_threads, None)
        assert recorder.called == set(range(n_threads))
        assert call[N_THREADS] == n_threads


def test_a_second_caller_runs_alone() -> None:
    team, call = Team(), np.zeros(CALL_WORDS, np.int64)
    with team.in_use:
        recorder = Recorder(1)
        team.run(recorder, call, 4, None)
    assert (recorder.called, call[N_THREADS]) == ({0}, 1)
    assert team.workers == []


def test_without_more_threads_fewer_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(thread: int) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(numba_team, "_Worker", refuse)
    recorder, call = Recorder(1), np.zeros(CALL_WORDS, np.int64)
    Team().run(recorder, call, 4, None)
    assert (recorder.called, call[N_THREADS]) == ({0}, 1)


def test_an_interrupt_before_the_beginning_lets_the_others_go() -> None:
    team, trainer = Team(), make_trainer(2)
    trainer.fit(*make_data())  # makes the engine's memory
    engine = trainer._bound.engine()
    assert isinstance(engine, NumbaEngine) and engine.workspace is not None
    before, left = trainer.network.parameters.copy(), threading.Event()

    def interrupted(address: int, thread: int) -> None:
        if thread == 0:
            raise KeyboardInterrupt
        engine.batches.train.ctypes(address, thread)  # waits for thread 0, which never comes
        left.set()

    with pytest.raises(KeyboardInterrupt):
        team.run(interrupted, engine.workspace.call, 2, None)
    assert left.wait(60)
    np.testing.assert_array_equal(trainer.network.parameters, before)
    recorder = Recorder(2)
    team.run(recorder, engine.workspace.call, 2, None)  # it is ready again
    assert recorder.called == {0, 1}


def test_a_thread_that_wakes_up_late_sees_the_call_that_was_given_up() -> None:
    team, call, seen = Team(), np.zeros(CALL_WORDS, np.int64), []
    go_on = threading.Event()

    def late(address: int, thread: int) -> None:
        if thread == 0:
            raise KeyboardInterrupt
        assert go_on.wait(60)
        words_of_call = (ctypes.c_int64 * CALL_WORDS).from_address(address)
        seen.append(ctypes.c_int64.from_address(words_of_call[names.ARRIVED]).value)

    with pytest.raises(KeyboardInterrupt):
        team.run(late, call, 2, None)
    recorder = Recorder(2)
    other = threading.Timer(0.1, go_on.set)
    other.start()
    team.run(recorder, call, 2, None)
    assert recorder.called == {0, 1}
    assert seen == [2 * ABORTED]


def test_trainers_in_several_python_threads() -> None:
    alone, results = trained(1), [b""] * 4

    def train(place: int) -> None:
        results[place] = trained(2)

    threads = [threading.Thread(target=train, args=(place,)) for place in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(120)
    assert results == [alone] * 4


def test_the_counter_of_an_aborted_call_is_beyond_any_meeting() -> None:
    assert ABORTED > 256 * 10**9


def test_numbas_own_limit_is_obeyed(run_python: RunPython) -> None:
    code = """
from fastmlp.kernels.numba_backend import backend
print(backend.usable_threads(1), backend.usable_threads(2), backend.usable_threads(9))
"""
    assert run_python(code, NUMBA_NUM_THREADS="2").stdout.split() == ["1", "2", "2"]
    assert run_python(code).stdout.split() == ["1", "2", "9"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_child_of_fork_starts_threads_of_its_own(run_python: RunPython) -> None:
    code = """
import os, sys, warnings
warnings.simplefilter("ignore")  # Python 3.12 warns of fork with threads: that is what is tested
import numpy as np
from fastmlp import Network, Trainer

def trained():
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 70)).astype(np.float32)
    trainer = Trainer(Network([70, 150, 10], seed=0), backend="numba", batch_size=100, n_threads=2)
    trainer.fit(x, random.integers(0, 10, 300), epochs=3)
    return len(trainer.network.parameters)

trained()
child = os.fork()
if child == 0:
    trained()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    result = run_python(code)
    assert (result.stdout.strip(), result.stderr) == ("7", "")


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system has no affinity")
def test_two_threads_on_one_cpu_get_on(run_python: RunPython) -> None:
    code = """
import os
import numpy as np
from fastmlp import Network, Trainer

random = np.random.default_rng(0)
x = random.normal(size=(300, 70)).astype(np.float32)
y = random.integers(0, 10, 300)
trainers = [
    Trainer(Network([70, 150, 10], seed=0), backend="numba", batch_size=100, n_threads=n, seed=0)
    for n in (1, 2)
]
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # threads inherit it
for trainer in trainers:
    trainer.fit(x, y, epochs=20)
one, two = [trainer.network.parameters for trainer in trainers]
print(trainers[1]._bound.engine().workspace.n_threads, (one == two).all())
"""
    result = run_python(code)
    assert (result.stdout.strip(), result.stderr) == ("2 True", "")


def test_idle_threads_use_no_cpu(run_python: RunPython) -> None:
    code = """
import time
import numpy as np
from fastmlp import Network, Trainer

random = np.random.default_rng(0)
x = random.normal(size=(300, 70)).astype(np.float32)
trainer = Trainer(Network([70, 150, 10], seed=0), backend="numba", batch_size=100, n_threads=2)
trainer.fit(x, random.integers(0, 10, 300))
start = time.process_time()
time.sleep(0.5)
print(time.process_time() - start < 0.25)
"""
    result = run_python(code)
    assert (result.stdout.strip(), result.stderr) == ("True", "")
