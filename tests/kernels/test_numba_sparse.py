"""The first layer of the numba backend on sparse rows, against dense float64 arithmetic."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")
pytest.importorskip("scipy")

from scipy import sparse

import fastmlp
from fastmlp import Clipping, Dropout, Network, Regularization, Trainer
from fastmlp.kernels import formulas, numba_backend, numba_source
from fastmlp.kernels.contract import SparseMatrix
from fastmlp.kernels.numpy_backend import backend as numpy_backend

SIZES = (60, 51, 3)  # panels in groups of four and single ones, for every width of a vector


def problem(n_rows: int = 37) -> tuple[Any, np.ndarray]:
    random = np.random.default_rng(3)
    x = random.normal(size=(n_rows, SIZES[0])) * (random.random((n_rows, SIZES[0])) < 0.1)
    x[5] = 0.0
    return sparse.csr_array(x), np.arange(n_rows) % SIZES[-1]


def make(precision: str = "float64", **settings: Any) -> Trainer:
    network = Network(SIZES, activation="tanh", seed=0, dtype=precision, input_scale=0.5)
    return Trainer(
        network, **{"backend": "numba", "precision": precision, "batch_size": 16, **settings}
    )


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_weighted_sum_and_gradient_are_within_their_bound(precision: str) -> None:
    x, y = problem()
    trainer = make(precision)
    found = trainer.gradients(x, y)
    w, b = (np.asarray(each[0], np.float64) for each in (trainer.network.weights, found.db))
    dense = x.astype(precision).toarray().astype(np.float64) * 0.5
    unit = np.finfo(precision).eps
    bound = unit * (SIZES[0] + 2) * (np.abs(dense) @ np.abs(w) + 1e-30)
    assert (np.abs(found.z[0] - dense @ w) <= bound).all()
    dz = found.dz[0].astype(np.float64)
    bound = unit * (len(dense) + 2) * (np.abs(dense).T @ np.abs(dz) + 1e-30)
    assert (np.abs(found.dw[0] - dense.T @ dz) <= bound).all()
    np.testing.assert_allclose(b, dz.sum(axis=0), rtol=100 * unit, atol=100 * unit)


def test_the_gradient_is_that_of_the_loss(gradient_error: Any) -> None:
    assert gradient_error(make(), *problem()) < 1e-7


def test_dropout_leaves_out_what_the_formula_says() -> None:
    # One step of gradient descent with rate 1 on a single layer: w - dw, of what is kept.
    x, _ = problem(n_rows=16)
    targets = np.random.default_rng(1).normal(size=(16, 2))
    network = Network((SIZES[0], 2), output="identity", init="zeros", dtype="float64")
    trainer = Trainer(
        network, backend="numba", precision="float64", batch_size=16, dropout=Dropout(input=0.4),
        optimizer="sgd",
    )  # fmt: skip
    stored = [x.indptr.astype(np.int64), x.indices.astype(np.int32), x.data]
    engine = trainer._bound.engine()
    order, key = np.arange(16)[::-1].copy(), 12345
    engine.train(
        SparseMatrix(*stored), targets, None, order, np.array([[1.0]]), np.array([[key]], np.int64)
    )
    threshold, dense = formulas.dropout_threshold(0.4), x.toarray()[order]
    is_kept = [
        [formulas.dropout_bits(key, row, unit) >= threshold for unit in range(SIZES[0])]
        for row in range(16)
    ]
    kept = dense * np.array(is_kept) / 0.6
    slope = numpy_slopes(np.zeros((16, 2)), targets[order]) / 16
    np.testing.assert_allclose(network.weights[0], -kept.T @ slope, rtol=1e-12, atol=1e-15)


def numpy_slopes(z: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return dL/dz of the squared error."""
    return np.asarray(numpy_backend.loss("squared_error", z, targets)[1])


SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": "sgd"},
    "adam, clipping": {"optimizer": "adam", "clipping": Clipping(value=0.01)},
    "norms": {"clipping": Clipping(norm=0.1), "regularization": Regularization(max_norm=0.9)},
    "dropout": {"dropout": Dropout(input=0.3, hidden=0.2), "optimizer": "momentum"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_training_is_that_on_dense_rows_for_any_number_of_threads(name: str) -> None:
    x, y = problem()
    parameters = []
    for rows, n_threads in ((x.toarray(), 1), (x, 1), (x, 2), (x, 6)):  # 6: inputs are shared
        trainer = make(n_threads=n_threads, seed=1, **SETTINGS[name])
        trainer._bound.engine().threads_for = lambda *_, n=n_threads: n
        trainer.fit(rows, y, epochs=3)
        parameters.append(trainer.network.parameters.copy())
    dense, one, *others = parameters
    np.testing.assert_allclose(one, dense, rtol=1e-11, atol=1e-12)
    for other in others:
        assert np.array_equal(one, other)


def test_dense_and_sparse_rows_in_turn(compiled_name: str) -> None:
    x, y = problem()
    in_turn, only_dense = (make(seed=1, backend=compiled_name) for _ in range(2))
    dense = x.toarray()
    for rows in (x, dense, x):
        for trainer, taken in ((in_turn, rows), (only_dense, dense)):
            trainer.fit(taken, y)
        outputs = only_dense.predict_proba(x)
        for each in (in_turn.predict_proba(rows), in_turn.predict_proba(dense)):
            np.testing.assert_allclose(each, outputs, 1e-11)
        pairs = (
            (in_turn.gradients(rows, y).dw[0], only_dense.gradients(dense, y).dw[0]),
            (in_turn.gradients(dense, y).dw[0], only_dense.gradients(dense, y).dw[0]),
            (in_turn.evaluate(rows, y).loss, only_dense.evaluate(dense, y).loss),
        )
        for found, wanted in pairs:
            np.testing.assert_allclose(found, wanted, 1e-11, 1e-13)
    damaged = x.copy()
    damaged.data[4] = np.inf
    with pytest.raises(ValueError, match="finite"):
        in_turn.predict(damaged)
    in_turn.predict(x)


@pytest.mark.parametrize("call", ["fit", "predict", "gradients"])
def test_the_first_dense_rows_after_sparse_ones(compiled_name: str, call: str) -> None:
    x, y = problem()
    trainer, fresh = (make(seed=1, backend=compiled_name, batch_size=64) for _ in range(2))
    trainer.predict(x)
    trainer.gradients(x, y)
    arguments = (x.toarray(),) if call == "predict" else (x.toarray(), y)
    getattr(trainer, call)(*arguments)
    getattr(fresh, call)(*arguments)
    assert np.array_equal(trainer.network.parameters, fresh.network.parameters)
    assert np.array_equal(trainer.predict_proba(x.toarray()), fresh.predict_proba(x.toarray()))


def test_save_and_load_go_on_as_without(tmp_path: Any) -> None:
    x, y = problem()
    straight, stopped = (make(seed=1, optimizer="adam", dropout=0.2) for _ in range(2))
    straight.fit(x, y, epochs=10)
    stopped.fit(x, y, epochs=5)
    fastmlp.save(stopped, tmp_path / "model.npz")
    resumed = fastmlp.load(tmp_path / "model.npz", backend="numba")
    resumed.fit(x, y, epochs=5)
    assert np.array_equal(resumed.network.parameters, straight.network.parameters)


def test_nothing_stored_at_all() -> None:
    trainer = make()
    trainer.network.biases[0][...] = 0.3
    nothing = sparse.csr_array((4, SIZES[0]))
    expected = trainer.predict_proba(np.zeros((4, SIZES[0])))
    assert np.array_equal(trainer.predict_proba(nothing), expected)


def test_dense_rows_compile_nothing_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> Any:
        raise AssertionError("compiled")

    monkeypatch.setattr(numba_backend, "load_sparse", refuse)
    x, y = problem()
    trainer = make()
    trainer.fit(x.toarray(), y)
    trainer.predict(x.toarray())
    with pytest.raises(AssertionError, match="compiled"):
        trainer.fit(x, y)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_sums_stay_in_registers(precision: str, compile_anew: Any) -> None:
    cpu = numba_backend.usable_cpu()
    kernels = compile_anew(lambda: numba_source.load_sparse.__wrapped__(precision, cpu))
    lanes = numba_source.lanes_of(precision, cpu)
    kind = {"float32": "float", "float64": "double"}[precision]
    text = kernels.sparse_sum.inspect_llvm()
    assert f"phi <{lanes} x {kind}>" in text
    assert "alloca [" not in text
