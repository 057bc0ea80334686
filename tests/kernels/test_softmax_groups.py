"""Outputs in several softmax groups: every backend against SciPy's formulas and the reference."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy.special import log_softmax

from fastmlp import CategoricalCrossEntropy, Focal, Network, Trainer
from fastmlp.kernels.contract import groups_of
from fastmlp.losses import Loss

# Groups that begin and end anywhere in the vectors of a panel, one of one class, several panels.
GROUPS = [(3, 2), (1, 5, 3), (20, 17, 2, 9), (8, 8, 16)]
LOSSES = [CategoricalCrossEntropy(), CategoricalCrossEntropy(label_smoothing=0.2), Focal(1.5)]
TOLERANCE = {"float64": 1e-12, "float32": 1e-5}


def make(
    backend: str,
    group_sizes: tuple[int, ...],
    loss: Loss | str = "auto",
    precision: str = "float64",
    sizes: tuple[int, ...] = (6, 7),
    **arguments: Any,
) -> Trainer:
    network = Network(
        [*sizes, sum(group_sizes)], "tanh", group_sizes=group_sizes, seed=2, dtype=precision
    )
    return Trainer(
        network,
        loss=loss,
        backend=backend,
        precision=precision,
        **{"batch_size": 8, "seed": 3, **arguments},
    )


def problem(group_sizes: tuple[int, ...], n_rows: int = 37, n_inputs: int = 6) -> tuple[Any, ...]:
    """Return inputs, labels (rows, groups) and weights."""
    random = np.random.default_rng(4)
    y = np.stack([random.integers(0, size, n_rows) for size in group_sizes], axis=1)
    return random.normal(size=(n_rows, n_inputs)), y, random.uniform(size=n_rows)


def test_groups_lie_one_after_the_other() -> None:
    assert groups_of((3, 1, 2)) == (slice(0, 3), slice(3, 4), slice(4, 6))


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("group_sizes", [(3, 2), (1, 5, 3)], ids=str)
def test_gradients(
    group_sizes: tuple[int, ...], loss: Loss, backend_name: str, gradient_error: Any
) -> None:
    trainer = make(backend_name, group_sizes, loss, sizes=(6, 3))
    x, y, weights = problem(group_sizes, 5)
    assert gradient_error(trainer, x, y) < 1e-7
    assert gradient_error(trainer, x, y, weights) < 1e-7


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("group_sizes", GROUPS, ids=str)
def test_each_group_has_a_softmax_and_a_cross_entropy_of_its_own(
    group_sizes: tuple[int, ...], precision: str, backend_name: str
) -> None:
    smoothing = 0.1
    trainer = make(backend_name, group_sizes, CategoricalCrossEntropy(smoothing), precision)
    x, y, weights = problem(group_sizes)
    found = trainer.gradients(x, y, weights)
    z = found.z[-1].astype(np.float64)
    losses, outputs, slopes = np.zeros(len(x)), [], []
    for group, labels in zip(groups_of(group_sizes), y.T, strict=True):
        log_p = log_softmax(z[:, group], axis=1)
        n_classes = log_p.shape[1]
        wanted = (1 - smoothing) * np.eye(n_classes)[labels] + smoothing / n_classes
        losses -= (wanted * log_p).sum(axis=1)
        outputs.append(np.exp(log_p))
        slopes.append((np.exp(log_p) - wanted) * (weights / weights.sum())[:, None])
    tolerance = TOLERANCE[precision]
    assert found.loss == pytest.approx(np.average(losses, weights=weights), rel=tolerance)
    for got, expected in ((found.a[-1], outputs), (found.dz[-1], slopes)):
        np.testing.assert_allclose(got, np.hstack(expected), rtol=0, atol=tolerance)
    assert np.array_equal(trainer.predict_proba(x), found.a[-1])
    labels = np.stack([part.argmax(axis=1) for part in outputs], axis=1)
    assert np.array_equal(trainer.predict(x), labels)
    evaluation = trainer.evaluate(x, y, weights)
    assert evaluation.loss == pytest.approx(found.loss, rel=tolerance)
    right = (labels == y).all(axis=1)
    assert evaluation.accuracy == pytest.approx(np.average(right, weights=weights), rel=1e-6)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("loss", LOSSES, ids=repr)
@pytest.mark.parametrize("group_sizes", GROUPS, ids=str)
def test_an_epoch_is_that_of_the_reference(
    group_sizes: tuple[int, ...], loss: Loss, precision: str, compiled_or_numpy_name: str
) -> None:
    x, y, weights = problem(group_sizes)
    found = make(compiled_or_numpy_name, group_sizes, loss, precision)
    wanted = make("python", group_sizes, loss)
    wanted.network.parameters = found.network.parameters
    for trainer in (found, wanted):
        trainer.fit(x, y, sample_weight=weights)
    expected = wanted.network.parameters
    difference = np.abs(found.network.parameters - expected).max() / np.abs(expected).max()
    assert difference < TOLERANCE[precision]


@pytest.mark.parametrize("n_rows", [1, 3, 15, 16, 40, 200])
def test_few_rows_are_predicted_with_the_same_bits(
    n_rows: int, compiled_or_numpy_name: str
) -> None:
    trainer = make(compiled_or_numpy_name, (5, 9, 2), precision="float32")
    x = problem((5, 9, 2), 200)[0]
    together = trainer.predict_proba(x)
    if compiled_or_numpy_name == "numpy":  # BLAS may add up in another order
        np.testing.assert_allclose(trainer.predict_proba(x[:n_rows]), together[:n_rows], atol=1e-6)
    else:
        assert np.array_equal(trainer.predict_proba(x[:n_rows]), together[:n_rows])


def test_the_number_of_threads_does_not_change_a_bit(compiled_or_numpy_name: str) -> None:
    groups = (30, 9, 40)
    x, y, weights = problem(groups, 300, 70)
    found = []
    for n_threads in (1, 2, 3):
        trainer = make(
            compiled_or_numpy_name,
            groups,
            precision="float32",
            sizes=(70, 150),
            batch_size=100,
            n_threads=n_threads,
        )
        trainer.fit(x, y, epochs=2, sample_weight=weights)
        found.append((trainer.network.parameters.tobytes(), trainer.predict_proba(x).tobytes()))
    assert found[0] == found[1] == found[2]


def test_a_group_of_one_class_is_always_right_and_learns_nothing(backend_name: str) -> None:
    x, y, _ = problem((3, 1))
    found = make(backend_name, (3, 1)).gradients(x, y)
    assert (found.a[-1][:, 3] == 1.0).all() and (found.dz[-1][:, 3] == 0.0).all()
    alone = make(backend_name, (3,))
    alone.network.weights[0][...] = make(backend_name, (3, 1)).network.weights[0]
    alone.network.weights[1][...] = make(backend_name, (3, 1)).network.weights[1][:, :3]
    assert found.loss == pytest.approx(alone.gradients(x, y[:, 0]).loss, rel=1e-12)


def test_one_group_is_what_there_was_before(backend_name: str) -> None:
    x, y, _ = problem((4,))
    found = []
    for group_sizes in (None, (4,)):
        network = Network([6, 7, 4], group_sizes=group_sizes, seed=2)
        trainer = Trainer(network, backend=backend_name, precision="float32", seed=3)
        trainer.fit(x, y[:, 0])
        found.append((network.parameters.tobytes(), trainer.predict(x).tobytes()))
        assert trainer.plan.group_sizes == (4,)
    assert found[0] == found[1]


def test_the_groups_matter(backend_name: str) -> None:
    # Else the tests above could pass with groups that nobody looks at.
    x = problem((3, 2))[0]
    grouped, other = make(backend_name, (3, 2)), make(backend_name, (2, 3))
    assert np.array_equal(grouped.network.parameters, other.network.parameters)
    assert not np.allclose(grouped.predict_proba(x), other.predict_proba(x))
    assert replace(grouped.plan, group_sizes=(2, 3)).groups != grouped.plan.groups
