"""Orthogonal steps of weight matrices: Newton and Schulz, and Muon's update, in every backend.

The oracle is written from Jordan's text in extended precision, without the formulas.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp import Clipping, Muon, Regularization
from fastmlp.backend import get_backend

TOLERANCE = {"float32": 2e-5, "float64": 5e-14}

SHAPES = [(1, 1), (1, 9), (9, 1), (5, 3), (3, 5), (17, 33), (40, 9), (64, 64), (9, 70), (129, 130)]


def exact(matrix: Any) -> Any:
    """Return five steps of Newton and Schulz, by the smaller of the two Gram matrices."""
    x = matrix.astype(np.longdouble)
    norm = np.sqrt((x**2).sum())
    x = x / norm if norm > 0.0 else x
    a, b, c = (np.longdouble(text) for text in ("3.4445", "-4.7750", "2.0315"))
    for _ in range(5):
        if x.shape[0] > x.shape[1]:
            gram = x.T @ x
            x = a * x + x @ (b * gram + c * gram @ gram)
        else:
            gram = x @ x.T
            x = a * x + (b * gram + c * gram @ gram) @ x
    return x


def drawn(shape: tuple[int, int], precision: str = "float64", seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=shape).astype(precision)


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("shape", SHAPES)
def test_against_extended_precision(
    shape: tuple[int, int], precision: str, backend_name: str
) -> None:
    matrix = drawn(shape, precision)
    before = matrix.copy()
    found = np.asarray(get_backend(backend_name).orthogonalized(matrix), np.float64)
    assert found.shape == shape and np.array_equal(matrix, before)
    assert np.abs(found - exact(matrix)).max() < TOLERANCE[precision]


@pytest.mark.parametrize("shape", [(30, 30), (50, 20), (20, 50)])
def test_singular_values_are_about_one_and_the_vectors_stay(
    shape: tuple[int, int], backend_name: str
) -> None:
    left, values, right = np.linalg.svd(drawn(shape), full_matrices=False)
    values = np.linspace(1.0, 0.1, len(values))
    found = np.asarray(get_backend(backend_name).orthogonalized((left * values) @ right))
    inner = left.T @ found @ right.T
    assert (np.abs(np.diag(inner) - 0.95) < 0.3).all()
    assert np.abs(inner - np.diag(np.diag(inner))).max() < 1e-12


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("shape", [(17, 12), (12, 17)])
def test_extreme_matrices(shape: tuple[int, int], precision: str, backend_name: str) -> None:
    orthogonalized = get_backend(backend_name).orthogonalized
    matrix = drawn(shape, precision)
    usual = np.asarray(orthogonalized(matrix))
    for size in (1e-30, 1e30):  # how long a gradient is does not matter
        found = np.asarray(orthogonalized((matrix * size).astype(precision)))
        assert np.abs(found - usual).max() < TOLERANCE[precision]
    rank_one = np.outer(drawn((shape[0], 1)), drawn((1, shape[1]), seed=1)).astype(precision)
    found = np.asarray(orthogonalized(rank_one))
    assert np.abs(found - exact(rank_one)).max() < TOLERANCE[precision]
    for nothing in (np.zeros(shape, precision), np.full(shape, 1e-40, precision)):
        assert not np.asarray(orthogonalized(nothing)).any()


# ---------------------------------------------------------------------------------------------
# Muon's steps


def exact_epoch(trainer: fastmlp.Trainer, muon: Muon, x: Any, y: Any, n_steps: int) -> Any:
    """Return the parameters after steps on the same rows: gradients of the trainer's own network.

    `trainer` is of plain gradient descent; its parameters are set to the oracle's before each step.
    """
    real, network = np.longdouble, trainer.network
    parameters = network.parameters.astype(real)
    mean, first, second = (np.zeros_like(parameters) for _ in range(3))
    rate, adam_rate, decay = (
        real(value) for value in (muon.learning_rate, muon.adam_learning_rate, muon.weight_decay)
    )
    momentum, beta_1, beta_2 = real(muon.momentum), real(muon.beta_1), real(muon.beta_2)
    for t in range(1, n_steps + 1):
        network.parameters = parameters.astype(np.float64)
        found = trainer.gradients(x, y)
        pairs = zip(found.dw, found.db, strict=True)
        g = np.concatenate([np.ravel(part) for pair in pairs for part in pair]).astype(real)
        mean = momentum * mean + (1 - momentum) * g
        first = beta_1 * first + (1 - beta_1) * g
        second = beta_2 * second + (1 - beta_2) * g**2
        step = first / (1 - beta_1**t) / (np.sqrt(second / (1 - beta_2**t)) + muon.epsilon)
        after = parameters - adam_rate * (step + decay * parameters)
        direction = (1 - momentum) * g + momentum * mean if muon.nesterov else mean
        for (weights, _), shape in list(zip(network.slices, network.shapes, strict=True))[1:-1]:
            orthogonal = exact(direction[weights].reshape(shape))
            orthogonal = orthogonal * max(real(1), real(shape[1]) / shape[0]) ** real(0.5)
            w = parameters[weights]
            after[weights] = w - rate * (orthogonal.ravel() + decay * w)
        parameters = after
    return parameters.astype(np.float64)


@pytest.mark.parametrize(
    "muon",
    [Muon(), Muon(0.05, momentum=0.5, nesterov=False), Muon(weight_decay=0.5, beta_1=0.5)],
    ids=["default", "not nesterov", "decay"],
)
@pytest.mark.parametrize("sizes", [(4, 9, 5, 3), (4, 5, 9, 9, 4, 3)])
def test_steps_follow_the_paper(
    sizes: tuple[int, ...], muon: Muon, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=8)
    wanted = exact_epoch(make_trainer("numpy", sizes), muon, x, y, n_steps=5)
    trainer = make_trainer(backend_name, sizes, optimizer=muon, shuffle=False)
    trainer.fit(x, y, epochs=5)
    found = trainer.network.parameters
    assert np.abs(found - wanted).max() < 1e-12 * np.abs(wanted).max()


SETTINGS: dict[str, dict[str, Any]] = {
    "clipping": {"clipping": Clipping(value=0.05, norm=0.1)},
    "penalties": {"regularization": Regularization(l1=0.01, l2=0.1, max_norm=0.7)},
    "dropout": {"dropout": 0.3},
}


@pytest.mark.parametrize("precision", TOLERANCE)
@pytest.mark.parametrize("setting", SETTINGS)
def test_an_epoch_is_the_references(
    setting: str, precision: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=21)
    results = []
    for backend in (backend_name, "python"):
        trainer = make_trainer(
            backend, (4, 9, 17, 6, 3), optimizer=Muon(), precision=precision, **SETTINGS[setting]
        )
        trainer.fit(x, y)
        results.append(trainer.network.parameters.astype(np.float64))
    difference = np.abs(results[0] - results[1]).max() / np.abs(results[1]).max()
    assert difference < (1e-12 if precision == "float64" else 1e-5)


@pytest.mark.parametrize("precision", TOLERANCE)
def test_the_number_of_threads_does_not_change_a_bit(
    precision: str, compiled_or_numpy_name: str, make_trainer: Any, state_of: Any
) -> None:
    # Square, wide and tall; columns that are not whole vectors; enough work for threads.
    random = np.random.default_rng(6)
    x, y = random.normal(size=(300, 70)).astype(np.float32), random.integers(0, 10, 300)
    states = []
    for n_threads in (1, 2, 3):
        trainer = make_trainer(
            compiled_or_numpy_name,
            sizes=(70, 150, 150, 201, 99, 10),
            optimizer=Muon(),
            precision=precision,
            batch_size=100,
            n_threads=n_threads,
            clipping=Clipping(norm=0.5),
        )
        trainer.fit(x, y, epochs=2)
        states.append(state_of(trainer))
    assert states[0] == states[1] == states[2]


def test_without_a_gradient_nothing_moves(backend_name: str, make_trainer: Any) -> None:
    # Zero weights behind the hidden layers: no gradient reaches them.
    trainer = make_trainer(backend_name, (4, 9, 5, 3), optimizer=Muon(adam_learning_rate=0.0))
    trainer.network.weights[2][...] = 0.0
    before = trainer.network.parameters.copy()
    trainer.fit(np.ones((8, 4)), np.arange(8) % 3, epochs=3)
    assert np.array_equal(trainer.network.parameters, before)


def test_sparse_rows_are_trained_as_dense_ones(backend_name: str, make_trainer: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x = sparse.random(40, 60, density=0.1, format="csr", random_state=1)
    y = np.arange(40) % 3
    results = []
    for rows in (x, x.toarray()):
        trainer = make_trainer(backend_name, (60, 9, 5, 3), optimizer=Muon())
        trainer.fit(rows, y)
        results.append(trainer.network.parameters)
    assert np.abs(results[0] - results[1]).max() < 1e-12
