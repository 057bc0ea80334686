"""Rows that become dense chunk by chunk train and predict as the dense array would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

import fastmlp
import fastmlp.rows
from fastmlp.rows import Rows, SparseRows, TransformedRows


class CountedRows(Rows):
    """Rows of an array that notes how many were asked for at once."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array
        self.largest = 0

    @property
    def shape(self) -> tuple[int, int]:
        return self.array.shape

    def take(self, rows: Any) -> np.ndarray:
        part = self.array[rows]
        self.largest = max(self.largest, len(part))
        return part


@pytest.fixture
def problem() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    x = random.normal(size=(300, 20)) * (random.random((300, 20)) < 0.2)
    return x, (x.sum(axis=1) > 0).astype(np.int64)


def trained(x: Any, y: np.ndarray, backend: str = "numpy", **fit: Any) -> fastmlp.Trainer:
    network = fastmlp.Network([20, 8, 2], seed=0)
    trainer = fastmlp.Trainer(network, batch_size=32, seed=1, backend=backend, precision="float64")
    trainer.fit(x, y, epochs=3, **fit)
    return trainer


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "csr_array", "coo_array"])
def test_sparse_features_give_the_bits_of_dense_ones(form: str, problem: Any) -> None:
    x, y = problem
    weights = np.linspace(0.5, 2.0, len(y))
    matrix = getattr(sparse, form)(x)
    dense = trained(x, y, sample_weight=weights, validation_data=(x[:50], y[:50]))
    found = trained(matrix, y, sample_weight=weights, validation_data=(matrix.tocsr()[:50], y[:50]))
    np.testing.assert_array_equal(found.network.parameters, dense.network.parameters)
    assert found.history.validation_loss == dense.history.validation_loss
    np.testing.assert_array_equal(found.predict_proba(matrix), dense.predict_proba(x))
    assert found.evaluate(matrix, y) == dense.evaluate(x, y)
    np.testing.assert_array_equal(found.gradients(matrix, y).dw[0], dense.gradients(x, y).dw[0])


def test_sparse_features_in_every_backend(backend_name: str, problem: Any) -> None:
    x, y = problem
    found = trained(sparse.csr_matrix(x), y, backend_name)
    dense = trained(x, y, backend_name)
    np.testing.assert_array_equal(found.network.parameters, dense.network.parameters)


def test_no_call_makes_more_rows_dense_than_the_limit(
    problem: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, y = problem
    monkeypatch.setattr(fastmlp.rows, "DENSE_BYTES", 70 * 20 * 8)
    rows = CountedRows(x)
    trainer = trained(rows, y, validation_data=(rows, y))
    trainer.predict_proba(rows)
    assert rows.largest == 70
    np.testing.assert_array_equal(trainer.network.parameters, trained(x, y).network.parameters)


def test_transformed_rows_are_those_of_the_transformed_array(problem: Any) -> None:
    x, y = problem
    found = trained(TransformedRows(x, lambda part: part * 2.0 - 1.0), y)
    np.testing.assert_array_equal(
        found.network.parameters, trained(x * 2.0 - 1.0, y).network.parameters
    )


def test_a_transform_may_change_the_width(problem: Any) -> None:
    x, y = problem
    doubled = TransformedRows(
        SparseRows(sparse.csr_matrix(x[:, :10])), lambda part: part.repeat(2, axis=1), n_inputs=20
    )
    assert doubled.shape == (300, 20)
    expected = trained(x[:, :10].repeat(2, axis=1), y)
    np.testing.assert_array_equal(
        trained(doubled, y).network.parameters, expected.network.parameters
    )


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (sparse.csr_matrix((300, 19)), r"shape \(rows, 20\).*got \(300, 19\)"),
        (sparse.csr_matrix((0, 20)), "at least one row"),
        (sparse.csr_matrix(np.full((300, 20), np.nan)), "X.data must hold finite numbers"),
        (CountedRows(np.zeros((300, 3))), r"shape \(rows, 20\).*got \(300, 3\)"),
        (CountedRows(np.full((300, 20), np.inf)), "X must hold finite numbers"),
        (TransformedRows(np.zeros((300, 20)), lambda part: part[:, 1:]), r"got \(\d+, 19\)"),
    ],
)
def test_what_does_not_fit_is_refused(bad: Any, message: str, problem: Any) -> None:
    with pytest.raises(ValueError, match=message):
        trained(bad, problem[1])


def test_sparse_features_must_be_numbers(problem: Any) -> None:
    with pytest.raises(TypeError, match="X must hold numbers"):
        trained(sparse.csr_matrix(np.ones((300, 20), complex)), problem[1])
