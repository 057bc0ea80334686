"""What the tests share: the backends to run over, small problems, trainers, a gradient checker."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

import fastmlp
from fastmlp.backend import BACKENDS
from fastmlp.kernels.contract import Gradients

# The same examples every time, however slow the machine: a test fails or it does not.
settings.register_profile("fastmlp", deadline=None, derandomize=True, database=None)
settings.load_profile("fastmlp")

MakeTrainer = Callable[..., fastmlp.Trainer]
Problem = tuple[np.ndarray, np.ndarray]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `backend_name` once per backend; skip with the reason what is missing.

    ``compiled_or_numpy_name`` leaves the python backend out, for what is too slow in it.
    """
    for fixture in ("backend_name", "compiled_or_numpy_name"):
        if fixture not in metafunc.fixturenames:
            continue
        reasons = {info.name: info.reason for info in fastmlp.backends()}
        metafunc.parametrize(
            fixture,
            [
                pytest.param(
                    name,
                    marks=pytest.mark.skipif(
                        bool(reasons[name]), reason=f"backend {name}: {reasons[name]}"
                    ),
                )
                for name in BACKENDS
                if fixture == "backend_name" or name != "python"
            ],
        )


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's environment chooses neither backends nor threads, the folder no imports."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    for variable in ("FASTMLP_BACKEND", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def make_trainer() -> MakeTrainer:
    """Return a function that makes a small seeded Trainer; its arguments override the defaults."""

    def make(backend: str = "numpy", sizes: Any = (4, 6, 3), **arguments: Any) -> fastmlp.Trainer:
        of_network: dict[str, Any] = {
            "activation": "tanh",
            "output": "softmax",
            "seed": 3,
            "input_scale": 1.0,
        }
        for name in ("activation", "output", "seed", "input_scale", "init"):
            if name in arguments:
                of_network[name] = arguments.pop(name)
        precision = arguments.get("precision", "float64")
        network = fastmlp.Network(sizes, dtype=precision, **of_network)
        of_trainer: dict[str, Any] = {
            "precision": precision,
            "batch_size": 8,
            "seed": 5,
            **arguments,
        }
        return fastmlp.Trainer(network, backend=backend, **of_trainer)

    return make


@pytest.fixture
def make_problem() -> Callable[..., Problem]:
    """Return a function that draws inputs (rows, n_inputs) and fitting targets."""

    def make(
        n_rows: int = 20,
        n_inputs: int = 4,
        n_outputs: int = 3,
        output: str = "softmax",
        seed: int = 0,
    ) -> Problem:
        random = np.random.default_rng(seed)
        x = random.normal(size=(n_rows, n_inputs))
        if output == "softmax":
            # Every class appears; its rows are shifted, so that there is something to learn.
            y = np.arange(n_rows) % n_outputs
            centers = random.normal(size=(n_outputs, n_inputs)) * 3.0
            return x + centers[y], y
        if output == "sigmoid":
            return x, random.uniform(size=(n_rows, n_outputs))
        return x, random.normal(size=(n_rows, n_outputs))

    return make


@pytest.fixture
def state_of() -> Callable[[fastmlp.Trainer], tuple[Any, ...]]:
    """Return a function that copies everything that training changes, to be compared with ==."""

    def copy(trainer: fastmlp.Trainer) -> tuple[Any, ...]:
        history = trainer.history.as_dict()
        del history["seconds"]  # measured, not computed
        return (
            trainer.network.parameters.tobytes(),
            trainer.optimizer_state.tobytes(),
            trainer.n_steps,
            str(trainer.random.bit_generator.state),
            {name: str(value) for name, value in history.items()},
        )

    return copy


@pytest.fixture
def gradient_error() -> Callable[..., float]:
    """Return a function: how far the gradients are from central differences of the loss.

    The error is relative: the largest difference by the largest derivative (at least 1e-3).
    """

    def vector(gradients: Gradients) -> np.ndarray:
        pairs = zip(gradients.dw, gradients.db, strict=True)
        return np.concatenate([np.ravel(part) for pair in pairs for part in pair])

    def error(
        trainer: fastmlp.Trainer, x: Any, y: Any, sample_weight: Any = None, h: float = 1e-5
    ) -> float:
        analytic = vector(trainer.gradients(x, y, sample_weight))
        parameters = trainer.network.parameters
        numeric = np.empty_like(parameters)
        for i, value in enumerate(parameters.tolist()):
            parameters[i] = value + h
            above = trainer.evaluate(x, y, sample_weight).loss
            parameters[i] = value - h
            below = trainer.evaluate(x, y, sample_weight).loss
            parameters[i] = value
            numeric[i] = (above - below) / (2.0 * h)
        return float(np.abs(analytic - numeric).max() / max(np.abs(numeric).max(), 1e-3))

    return error
