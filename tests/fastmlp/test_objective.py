"""The loss of all rows as a function of the parameters, and its gradient."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastmlp import Network, Regularization, Trainer


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("chunk", [7, 10**6])
def test_the_objective_is_the_loss_and_its_gradient(
    backend_name: str, weighted: bool, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fastmlp.objective.DENSE_BYTES", chunk * 3 * 8 * 8)
    random = np.random.default_rng(0)
    x, y = random.normal(size=(40, 4)), random.integers(0, 3, 40)
    weights = random.integers(0, 3, 40).astype(float) if weighted else None
    if weights is not None:
        weights[:7] = 0.0  # a chunk that does not count
    network = Network([4, 5, 3], activation="tanh", seed=0)
    trainer = Trainer(network, precision="float64", backend=backend_name)
    objective = trainer.objective(x, y, weights)
    parameters = random.normal(size=network.n_parameters)
    loss, gradient = objective(parameters)
    np.testing.assert_array_equal(network.parameters, parameters)
    assert loss == pytest.approx(trainer.evaluate(x, y, weights).loss, rel=1e-12)
    found = trainer.gradients(x, y, weights)
    expected = [part.ravel() for pair in zip(found.dw, found.db, strict=True) for part in pair]
    np.testing.assert_allclose(gradient, np.concatenate(expected), rtol=1e-9, atol=1e-14)
    step = 1e-6 * gradient / np.linalg.norm(gradient)
    slope = (objective(parameters + step)[0] - objective(parameters - step)[0]) / 2e-6
    assert slope == pytest.approx(np.linalg.norm(gradient), rel=1e-5)


@pytest.mark.parametrize("divided", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_objective_has_the_penalties_in_it(divided: bool, weighted: bool) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(10, 4)), random.integers(0, 3, 10)
    weights = random.random(10) if weighted else None
    network = Network([4, 5, 3], activation="tanh", seed=0)
    penalties = Regularization(l1=0.3, l2=0.7, divided_by_rows=divided)
    trainer = Trainer(network, precision="float64", regularization=penalties)
    objective = trainer.objective(x, y, weights)
    parameters = random.normal(size=network.n_parameters)
    loss, gradient = objective(parameters)
    w = np.concatenate([each.ravel() for each in network.weights])
    counts = 10.0 if weights is None else weights.sum()
    penalty = (0.3 * np.abs(w).sum() + 0.35 * (w**2).sum()) / (counts if divided else 1.0)
    assert loss == pytest.approx(trainer.evaluate(x, y, weights).loss + penalty, rel=1e-12)
    for _ in range(5):
        direction = random.normal(size=len(parameters))
        step = 1e-6 * direction
        slope = (objective(parameters + step)[0] - objective(parameters - step)[0]) / 2e-6
        assert slope == pytest.approx(gradient @ direction, rel=1e-6)


@pytest.mark.parametrize("backend", ["numpy", "auto"])
def test_a_normalised_network_has_an_objective_only_if_rows_do_not_matter(
    backend: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem()
    with pytest.raises(ValueError, match=r"no loss of all rows.*normalization='layer'"):
        make_trainer(backend, normalization="batch").objective(x, y)
    trainer = make_trainer(backend, normalization="layer")
    objective = trainer.objective(x, y)
    parameters = trainer.network.parameters + 0.1
    loss, gradient = objective(parameters)
    assert loss == pytest.approx(trainer.evaluate(x, y).loss, rel=1e-12)
    step = 1e-6 * gradient / np.linalg.norm(gradient)
    slope = (objective(parameters + step)[0] - objective(parameters - step)[0]) / 2e-6
    assert slope == pytest.approx(np.linalg.norm(gradient), rel=1e-5)
