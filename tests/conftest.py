"""What the tests share: the backends and caps to run over, small problems, trainers, processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings

import fastmlp
from fastmlp.backend import BACKENDS
from fastmlp.kernels import formulas
from fastmlp.kernels.contract import Gradients
from fastmlp.kernels.isa_cap import CAPS, MAX_ISA_VARIABLE

# The same examples every time, however slow the machine: a test fails or it does not.
settings.register_profile("fastmlp", deadline=None, derandomize=True, database=None)
settings.load_profile("fastmlp")

# What a shell starts in the background ignores Ctrl-C, and tests of it would wait for ever.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Read before any test changes the environment.
REAL_DATA = Path(
    os.environ.get("FASTMLP_DATA") or Path(__file__).resolve().parents[2] / "shared" / "data"
)

MakeTrainer = Callable[..., fastmlp.Trainer]
Problem = tuple[np.ndarray, np.ndarray]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that takes `backend_name` once per backend; skip with the reason what is missing.

    ``compiled_or_numpy_name`` leaves the python backend out, for what is too slow in it, and
    ``compiled_name`` the numpy backend, too. A test that takes ``isa_cap`` runs once per value of
    FASTMLP_MAX_ISA.
    """
    if "isa_cap" in metafunc.fixturenames:
        metafunc.parametrize("isa_cap", CAPS)
    left_out: dict[str, set[str]] = {
        "backend_name": set(),
        "compiled_or_numpy_name": {"python"},
        "compiled_name": {"python", "numpy"},
    }
    for fixture, without in left_out.items():
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
                if name not in without
            ],
        )


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's environment chooses neither backends nor threads, the folder no imports."""
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    for variable in ("FASTMLP_BACKEND", "OMP_NUM_THREADS"):
        monkeypatch.delenv(variable, raising=False)


@pytest.fixture
def tables_as_they_were() -> Iterator[None]:
    """Take losses and activations of the test's own out again: other tests enumerate the tables."""
    kept = dict(formulas.LOSSES), dict(formulas.ACTIVATIONS)
    yield
    for table, rows in zip((formulas.LOSSES, formulas.ACTIVATIONS), kept, strict=True):
        table.clear()
        table.update(rows)  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder with real data sets: $FASTMLP_DATA, or ../shared/data next to the checkout."""
    return REAL_DATA


@pytest.fixture(scope="session")
def allowed_isas() -> Callable[[str], tuple[str, ...]]:
    """Return a function: what the cython backend may choose under a cap."""
    return lambda cap: CAPS[: CAPS.index(cap) + 1]


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Return a function that runs Python code in a process of its own.

    The cap on the instruction set is read once, when a backend is loaded: each needs a process.
    So does the number of BLAS threads: on a busy machine many of them are far slower than one.
    """

    def run(
        code: str, *, isa_cap: str | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        left_out = ("NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_ENABLE_AVX")
        left_out += (MAX_ISA_VARIABLE, "FASTMLP_BACKEND", "OMP_NUM_THREADS")
        inherited = {name: value for name, value in os.environ.items() if name not in left_out}
        chosen = {"PYTHONSAFEPATH": "1", "OPENBLAS_NUM_THREADS": "1", **environment}
        if isa_cap is not None:
            chosen[MAX_ISA_VARIABLE] = isa_cap
        return subprocess.run(
            [sys.executable, "-c", code],
            env=inherited | chosen,
            capture_output=True,
            text=True,
            timeout=300,
        )

    return run


@pytest.fixture
def make_trainer() -> MakeTrainer:
    """Return a function that makes a small seeded Trainer; its arguments override the defaults."""

    def make(backend: str = "numpy", sizes: Any = None, **arguments: Any) -> fastmlp.Trainer:
        if sizes is None:  # Muon is about the weights between two hidden layers
            sizes = (4, 6, 5, 3) if arguments.get("optimizer") == "muon" else (4, 6, 3)
        of_network: dict[str, Any] = {
            "activation": "tanh",
            "output": "softmax",
            "seed": 3,
            "input_scale": 1.0,
        }
        for name in (
            "activation", "output", "seed", "input_scale", "input_center", "init", "normalization",
        ):  # fmt: skip
            if name in arguments:
                of_network[name] = arguments.pop(name)
        precision = arguments.get("precision", "float64")
        dtype = "float64" if precision == "float64" else "float32"
        network = fastmlp.Network(sizes, dtype=dtype, **of_network)
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
            trainer.network.learned.tobytes(),
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
        layers = zip(gradients.dw, gradients.db, gradients.dgamma, strict=True)
        return np.concatenate([np.ravel(part) for layer in layers for part in layer])

    def error(
        trainer: fastmlp.Trainer, x: Any, y: Any, sample_weight: Any = None, h: float = 1e-5
    ) -> float:
        analytic = vector(trainer.gradients(x, y, sample_weight))
        # Evaluations normalise a batch by the running statistics.
        is_batch = trainer.network.normalization == "batch"
        measure = trainer.gradients if is_batch else trainer.evaluate
        parameters = trainer.network.parameters
        numeric = np.empty_like(parameters)
        for i, value in enumerate(parameters.tolist()):
            parameters[i] = value + h
            above = measure(x, y, sample_weight).loss
            parameters[i] = value - h
            below = measure(x, y, sample_weight).loss
            parameters[i] = value
            numeric[i] = (above - below) / (2.0 * h)
        return float(np.abs(analytic - numeric).max() / max(np.abs(numeric).max(), 1e-3))

    return error


@pytest.fixture
def assert_usable() -> Callable[[fastmlp.Trainer, Any, Any], None]:
    """Train once more: what is learned and noted is as it should be."""

    def assert_usable(trainer: fastmlp.Trainer, x: Any, y: Any) -> None:
        assert np.isfinite(trainer.network.parameters).all()
        assert np.isfinite(trainer.optimizer_state).all()
        n_epochs = trainer.history.n_epochs
        trainer.fit(x, y)
        assert trainer.history.n_epochs == n_epochs + 1
        assert trainer.history.stop_reason == "epochs done"

    return assert_usable
