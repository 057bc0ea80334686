"""Rows that become dense chunk by chunk train and predict as the dense array would."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import sparse

import fastmlp
import fastmlp.rows
from fastmlp.rows import Rows, SparseRows


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
    if found._bound.backend.reads_sparse:  # then the sums leave the zeros out
        np.testing.assert_allclose(
            found.network.parameters, dense.network.parameters, rtol=1e-12, atol=1e-14
        )
    else:
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


class NarrowRows(CountedRows):
    """Rows that lack a column once they are taken."""

    def take(self, rows: Any) -> np.ndarray:
        return super().take(rows)[:, 1:]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (sparse.csr_matrix((300, 19)), r"shape \(rows, 20\).*got \(300, 19\)"),
        (sparse.csr_matrix((0, 20)), "at least one row"),
        (sparse.csr_matrix(np.full((300, 20), np.nan)), "X.data must hold finite numbers"),
        (CountedRows(np.zeros((300, 3))), r"shape \(rows, 20\).*got \(300, 3\)"),
        (CountedRows(np.full((300, 20), np.inf)), "X must hold finite numbers"),
        (NarrowRows(np.zeros((300, 20))), r"got \(\d+, 19\)"),
    ],
)
def test_what_does_not_fit_is_refused(bad: Any, message: str, problem: Any) -> None:
    with pytest.raises(ValueError, match=message):
        trained(bad, problem[1])


@pytest.mark.parametrize(
    ("part", "place", "number", "message"),
    [
        ("indices", 1, 1_000_000, "are column numbers from 0 to 4; got 0 to 1000000"),
        ("indices", 1, -1, "are column numbers from 0 to 4; got -1 to 4"),
        ("indptr", 1, 1_000_000, "indptr rises from 0 to at most 5"),
        ("indptr", 5, 1_000_000, "indptr rises from 0 to at most 5"),
        ("indptr", 0, -1, "indptr rises from 0 to at most 5"),
    ],
)
def test_sparse_features_that_point_outside_are_refused(
    part: str, place: int, number: int, message: str
) -> None:
    features = sparse.csr_matrix(np.eye(5))
    getattr(features, part)[place] = number
    trainer = fastmlp.Trainer(fastmlp.Network([5, 3, 2], seed=0))
    for call in (trainer.predict, lambda x: trainer.fit(x, [0, 1, 0, 1, 0])):
        with pytest.raises(ValueError, match=message):
            call(features)


def test_sparse_features_of_one_dimension_are_refused() -> None:
    trainer = fastmlp.Trainer(fastmlp.Network([5, 3, 2], seed=0))
    with pytest.raises(ValueError, match=r"X must have the shape \(rows, 5\)"):
        trainer.predict(sparse.csr_array(np.ones(5)))


def test_complex_sparse_features_are_refused_when_predicting() -> None:
    trainer = fastmlp.Trainer(fastmlp.Network([5, 3, 2], seed=0))
    with pytest.raises(TypeError, match="got the dtype complex128"):
        trainer.predict(sparse.csr_matrix(np.eye(5) * 1j))


def test_sparse_features_must_be_numbers(problem: Any) -> None:
    with pytest.raises(TypeError, match="X must hold numbers"):
        trained(sparse.csr_matrix(np.ones((300, 20), complex)), problem[1])


# ---------------------------------------------------------------------------------------------
# Sparse rows as they are, where the backend reads them

SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adam": {"optimizer": "adam"},
    "dropout": {"dropout": fastmlp.Dropout(hidden=0.3, input=0.4)},
    "penalties": {"regularization": fastmlp.Regularization(l1=0.01, l2=0.1)},
    "norms": {
        "clipping": fastmlp.Clipping(norm=0.2),
        "regularization": fastmlp.Regularization(max_norm=1.0),
    },
    "several": {
        "optimizer": "momentum",
        "clipping": fastmlp.Clipping(value=0.01),
        "dropout": fastmlp.Dropout(hidden=0.0, input=0.2),
    },
}


def reading_backends() -> list[str]:
    from fastmlp.backend import get_backend

    names = [info.name for info in fastmlp.backends() if info.available]
    return [name for name in names if get_backend(name).reads_sparse]


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(70, 3), (70, 37, 20, 3)])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_first_layer_on_sparse_rows_is_that_on_dense_ones(
    name: str, sizes: tuple[int, ...], precision: str
) -> None:
    if not reading_backends():
        pytest.skip("no backend here reads sparse rows")
    random = np.random.default_rng(1)
    x = random.normal(size=(150, 70)) * (random.random((150, 70)) < 0.1)
    x[7] = 0.0  # a row without anything
    y = np.arange(150) % 3

    scale = np.linspace(0.5, 1.5, 70) if len(sizes) > 2 else 0.7  # one per input, or for all

    def outcome(backend: str, features: Any, n_threads: int) -> list[np.ndarray]:
        network = fastmlp.Network(sizes, seed=1, dtype=precision, input_scale=scale)
        settings = {"batch_size": 32, "seed": 2, "precision": precision, **SETTINGS[name]}
        trainer = fastmlp.Trainer(network, backend=backend, n_threads=n_threads, **settings)
        trainer.fit(features, y, epochs=2)
        found = trainer.gradients(features, y)
        few = trainer.predict_proba(features[:3])
        parts = [network.parameters, trainer.predict_proba(features), few, *found.dw]
        return [*parts, np.array(trainer.evaluate(features, y).loss)]

    wanted = outcome("numpy", x, 1)
    tolerance = 1e-11 if precision == "float64" else 5e-5
    for backend in reading_backends():
        found = [outcome(backend, sparse.csr_matrix(x), n_threads) for n_threads in (1, 2)]
        for one, two, dense in zip(*found, wanted, strict=True):
            np.testing.assert_allclose(one, dense, rtol=tolerance, atol=tolerance)
            assert np.array_equal(one, two)


def test_sparse_rows_are_not_made_dense_where_they_are_read(monkeypatch: Any) -> None:
    def refuse(self: SparseRows, rows: Any) -> Any:
        raise AssertionError("made dense")

    monkeypatch.setattr(SparseRows, "take", refuse)
    x = sparse.random(64, 30, 0.1, format="csr", random_state=0)
    for backend in reading_backends():
        trainer = fastmlp.Trainer(fastmlp.Network([30, 4, 2]), backend=backend)
        trainer.fit(x, np.arange(64) % 2)
        trainer.predict(x)
        trainer.evaluate(x, np.arange(64) % 2)


def test_sparse_rows_are_refused_where_inputs_have_a_center(backend_name: str) -> None:
    network = fastmlp.Network([9, 2], seed=0, input_center=np.eye(9)[4])
    trainer = fastmlp.Trainer(network, backend=backend_name)
    before = network.parameters.copy()
    x, y = sparse.csr_matrix(np.eye(9)), np.arange(9) % 2
    for use in (lambda: trainer.fit(x, y), lambda: trainer.predict(x)):
        with pytest.raises(ValueError, match=r"X must be dense.*input_center.*toarray"):
            use()
    np.testing.assert_array_equal(network.parameters, before)
    trainer.fit(x.toarray(), y)


def test_rows_with_much_stored_are_made_dense() -> None:
    half = sparse.random(40, 30, 0.5, format="csr", random_state=0)
    tenth = sparse.random(40, 30, 0.1, format="csr", random_state=0)
    assert SparseRows(tenth).is_thin and not SparseRows(half).is_thin


def test_values_that_are_not_finite_are_refused_when_predicting() -> None:
    x = sparse.csr_matrix(np.eye(9))
    x.data[2] = np.nan
    for backend in ("numpy", *reading_backends()):
        trainer = fastmlp.Trainer(fastmlp.Network([9, 2]), backend=backend)
        with pytest.raises(ValueError, match="must hold finite numbers only; got nan"):
            trainer.predict(x)
