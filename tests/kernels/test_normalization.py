"""Batch and layer normalisation: gradients, training by the definition, the same everywhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import scipy.sparse

from fastmlp import SGD, Clipping, Network, Regularization, Trainer
from fastmlp.kernels import formulas
from fastmlp.kernels.contract import Normalization

NORMALIZATIONS: tuple[Normalization, ...] = ("batch", "layer")
TOLERANCES = {"float32": 1e-5, "float64": 1e-12}

pytestmark = pytest.mark.parametrize("normalization", NORMALIZATIONS)


def relative_difference(found: Any, wanted: Any) -> float:
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


def shift_parameters(trainer: Any, seed: int = 8) -> None:
    """Move all parameters, so that no gamma is 1, no beta 0, and the statistics alike."""
    random, network = np.random.default_rng(seed), trainer.network
    network.parameters += random.normal(0.0, 0.2, network.n_parameters).astype(network.dtype)
    for means, variances in zip(network.running_means, network.running_variances, strict=True):
        means[...] = random.normal(0.0, 0.2, len(means))
        variances[...] = random.uniform(0.5, 2.0, len(variances))


# ---------------------------------------------------------------------------------------------
# The definition, in extended precision


class Definition:
    """A network of tanh layers and a squared error, written from the papers with whole Jacobians.

    Training is plain gradient descent.
    """

    def __init__(self, trainer: Any) -> None:
        network, real = trainer.network, np.longdouble
        self.kind, self.rate = network.normalization, real(trainer.optimizer.learning_rate)
        self.w = [each.astype(real) for each in network.weights]
        self.beta = [each.astype(real) for each in network.biases]
        self.gamma = [each.astype(real) for each in network.gammas]
        self.mean = [each.astype(real) for each in network.running_means]
        self.variance = [each.astype(real) for each in network.running_variances]

    def normalized(self, vector: Any) -> tuple[Any, Any, Any, Any]:
        """Return x, its Jacobian by `vector`, the mean and the variance."""
        n, mean = len(vector), vector.mean()
        rest = vector - mean
        variance = (rest**2).mean()
        root = np.sqrt(variance + np.longdouble(1e-5))
        jacobian = (np.eye(n) - np.longdouble(1) / n) / root
        jacobian = jacobian - np.outer(rest, rest) / (n * root**3)
        return rest / root, jacobian, mean, variance

    def normalize(self, z: Any) -> tuple[Any, list[Any], Any, Any]:
        lines = z.T if self.kind == "batch" else z
        parts = [self.normalized(line) for line in lines]
        x, jacobians, means, variances = zip(*parts, strict=True)
        by_line = np.array(x)
        found = by_line.T if self.kind == "batch" else by_line
        return found, list(jacobians), np.array(means), np.array(variances)

    def gradients(self, rows: Any, y: Any) -> dict[str, list[Any]]:
        """Return the gradients of the mean loss, and each layer's means and variances."""
        n_layers, a, kept = len(self.w), rows.astype(np.longdouble), []
        for index in range(n_layers - 1):
            z = a @ self.w[index]
            x, jacobians, means, variances = self.normalize(z)
            kept.append((a, x, jacobians, means, variances))
            a = np.tanh(self.gamma[index] * x + self.beta[index])
        z = a @ self.w[-1] + self.beta[-1]
        dz = (z - y) / len(rows)
        found: dict[str, list[Any]] = {
            "dw": [a.T @ dz], "db": [dz.sum(axis=0)], "dgamma": [np.zeros(0)],
            "mean": [], "variance": [],
        }  # fmt: skip
        activated = a
        for index in range(n_layers - 2, -1, -1):
            a_in, x, jacobians, means, variances = kept[index]
            slope = (dz @ self.w[index + 1].T) * (1 - activated**2)
            found["db"].insert(0, slope.sum(axis=0))
            found["dgamma"].insert(0, (slope * x).sum(axis=0))
            dx = slope * self.gamma[index]
            lines = dx.T if self.kind == "batch" else dx
            pairs = zip(jacobians, lines, strict=True)
            by_line = np.array([jacobian.T @ line for jacobian, line in pairs])
            dz = by_line.T if self.kind == "batch" else by_line
            found["dw"].insert(0, a_in.T @ dz)
            found["mean"].insert(0, means)
            found["variance"].insert(0, variances)
            activated = a_in
        return found

    def step(self, rows: Any, y: Any) -> None:
        found, n = self.gradients(rows, y), len(rows)
        for values, slopes in ((self.w, "dw"), (self.beta, "db"), (self.gamma, "dgamma")):
            for value, slope in zip(values, found[slopes], strict=True):
                value -= self.rate * slope
        if self.kind == "batch" and n > 1:
            for index in range(len(self.w) - 1):
                unbiased = found["variance"][index] * n / (n - 1)
                self.mean[index] += (found["mean"][index] - self.mean[index]) / 10
                self.variance[index] += (unbiased - self.variance[index]) / 10

    def predict(self, rows: Any) -> Any:
        a = rows.astype(np.longdouble)
        for index in range(len(self.w) - 1):
            z = a @ self.w[index]
            if self.kind == "batch":
                x = (z - self.mean[index]) / np.sqrt(self.variance[index] + np.longdouble(1e-5))
            else:
                x = self.normalize(z)[0]
            a = np.tanh(self.gamma[index] * x + self.beta[index])
        return a @ self.w[-1] + self.beta[-1]

    @property
    def learned(self) -> Any:
        parts = zip(self.w, self.beta, self.gamma, strict=True)
        statistics = zip(self.mean, self.variance, strict=True)
        return np.concatenate([np.ravel(p) for layer in (*parts, *statistics) for p in layer])


def a_regression(make_trainer: Any, normalization: str, backend: str, **others: Any) -> Any:
    arguments = {"output": "identity", "loss": "squared_error", "optimizer": SGD(0.05)} | others
    sizes = arguments.pop("sizes", (4, 19, 6, 2))
    trainer = make_trainer(backend, sizes, normalization=normalization, **arguments)
    shift_parameters(trainer)
    return trainer


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("batch_size", [8, 10, 100])  # 21 rows: the last batch has 5, 1 or all
def test_training_follows_the_definition(
    batch_size: int,
    precision: str,
    normalization: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
) -> None:
    x, y = make_problem(21, 4, 2, "identity")
    x, y = x.astype(precision), y.astype(precision)
    trainer = a_regression(
        make_trainer, normalization, backend_name, batch_size=batch_size, precision=precision,
        shuffle=False,
    )  # fmt: skip
    wanted = Definition(trainer)
    for _ in range(3 if precision == "float64" else 1):
        trainer.fit(x, y)
        for start in range(0, 21, batch_size):
            wanted.step(x[start : start + batch_size], y[start : start + batch_size])
    tolerance = TOLERANCES[precision]
    assert relative_difference(trainer.network.learned, wanted.learned) < tolerance
    assert relative_difference(trainer.predict_proba(x), wanted.predict(x)) < tolerance
    loss = 0.5 * float(((wanted.predict(x) - y) ** 2).sum(axis=1).mean())
    assert trainer.evaluate(x, y).loss == pytest.approx(loss, rel=tolerance)


def test_gradients_follow_the_definition(
    normalization: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(7, 4, 2, "identity")
    trainer = a_regression(make_trainer, normalization, backend_name)
    before = trainer.network.statistics.copy()
    found, wanted = trainer.gradients(x, y), Definition(trainer).gradients(x, y)
    for name in ("dw", "db", "dgamma"):
        for got, exact in zip(getattr(found, name), wanted[name], strict=True):
            np.testing.assert_allclose(got, exact.astype(float), rtol=1e-11, atol=1e-13)
    np.testing.assert_array_equal(trainer.network.statistics, before)
    np.testing.assert_allclose(found.z[0], x @ trainer.network.weights[0], rtol=1e-12)
    np.testing.assert_allclose(found.dw[0], x.T @ found.dz[0], rtol=1e-10, atol=1e-14)


# ---------------------------------------------------------------------------------------------
# Gradients against central differences


@pytest.mark.parametrize("activation", ["tanh", "silu"])  # written in a, and in what it takes
@pytest.mark.parametrize("sizes", [(3, 2), (3, 4, 2), (3, 1, 2), (3, 5, 4, 2), (2, 18, 2)])
@pytest.mark.parametrize("weights", [None, [0.5, 0.0, 2.0, 1.0, 3.0]])
def test_gradients(
    weights: list[float] | None,
    sizes: tuple[int, ...],
    activation: str,
    normalization: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
    gradient_error: Any,
) -> None:
    trainer = make_trainer(
        backend_name, sizes, normalization=normalization, activation=activation, seed=7
    )
    shift_parameters(trainer)
    x, y = make_problem(5, sizes[0], 2, seed=1)
    weights = None if weights is None else np.array(weights)
    assert gradient_error(trainer, x, y, weights) < 1e-7


def test_a_wrong_slope_is_caught(
    normalization: str,
    monkeypatch: pytest.MonkeyPatch,
    make_trainer: Any,
    make_problem: Any,
    gradient_error: Any,
) -> None:
    x, y = make_problem(5, 3, 2, seed=1)
    trainer = make_trainer("python", (3, 4, 2), normalization=normalization)
    right = formulas.normalization_slope
    assert gradient_error(trainer, x, y) < 1e-7
    monkeypatch.setattr(formulas, "normalization_slope", lambda *numbers: 1.001 * right(*numbers))
    assert gradient_error(trainer, x, y) > 1e-5


# ---------------------------------------------------------------------------------------------
# What is the same


@pytest.mark.parametrize(
    "arguments",
    [
        {"optimizer": "adam", "activation": "silu"},
        {"dropout": 0.3},
        {"regularization": Regularization(l1=0.01, l2=0.1)},
        {"clipping": Clipping(value=0.01)},
        {"clipping": Clipping(norm=0.1)},
        {"regularization": Regularization(max_norm=0.5)},
        {"activation": "relu", "output": "sigmoid", "loss": "squared_error"},
    ],
    ids=lambda arguments: "-".join(arguments),
)
@pytest.mark.parametrize("sizes", [(4, 6, 3), (4, 33, 16, 3)])
def test_backends_agree(
    sizes: tuple[int, ...],
    arguments: dict[str, Any],
    normalization: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
) -> None:
    x, y = make_problem(21, output=arguments.get("output", "softmax"))
    results = []
    for backend in (backend_name, "python"):
        trainer = make_trainer(backend, sizes, normalization=normalization, **arguments)
        shift_parameters(trainer)
        trainer.fit(x, y, epochs=2)
        results.append(np.concatenate([trainer.network.learned, trainer.predict_proba(x).ravel()]))
    assert relative_difference(*results) < 1e-11


@pytest.mark.parametrize("others", [{}, {"clipping": Clipping(norm=0.1, value=0.01)}])
@pytest.mark.parametrize("sizes", [(4, 6, 5, 3), (4, 17, 33, 3)])
def test_muon_leaves_gamma_and_beta_to_adam(
    sizes: tuple[int, ...],
    others: dict[str, Any],
    normalization: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
) -> None:
    x, y = make_problem(21)
    results = []
    for backend in (backend_name, "python"):
        trainer = make_trainer(
            backend, sizes, normalization=normalization, optimizer="muon", **others
        )
        shift_parameters(trainer)
        trainer.fit(x, y, epochs=2)
        results.append(trainer.network.learned)
    assert relative_difference(*results) < 1e-11


def test_groups_of_outputs(normalization: Normalization, backend_name: str) -> None:
    random = np.random.default_rng(9)
    x, results = random.normal(size=(40, 4)), []
    y = np.stack([random.integers(0, 2, 40), random.integers(0, 3, 40)], axis=1)
    for backend in (backend_name, "python"):
        network = Network([4, 19, 5], normalization=normalization, group_sizes=(2, 3), seed=1)
        trainer = Trainer(network, backend=backend, precision="float64", batch_size=16, seed=2)
        shift_parameters(trainer)
        trainer.fit(x, y, epochs=2)
        results.append(np.concatenate([trainer.network.learned, trainer.predict_proba(x).ravel()]))
    assert relative_difference(*results) < 1e-11


def test_dropout_and_weights_together(
    normalization: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(21)
    weights, results = np.random.default_rng(1).uniform(0.0, 2.0, 21), []
    for backend, given in ((backend_name, weights), ("python", weights), ("python", None)):
        trainer = make_trainer(backend, (4, 33, 16, 3), normalization=normalization, dropout=0.3)
        trainer.fit(x, y, sample_weight=given, epochs=2)
        results.append(trainer.network.learned)
    assert relative_difference(results[0], results[1]) < 1e-11
    assert relative_difference(results[0], results[2]) > 1e-5


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("sizes", [(70, 150, 10), (9, 20, 33, 3), (70, 150, 20, 10)])
def test_the_number_of_threads_does_not_change_a_bit(
    sizes: tuple[int, ...],
    precision: str,
    normalization: str,
    compiled_or_numpy_name: str,
    make_trainer: Any,
    state_of: Any,
) -> None:
    random = np.random.default_rng(6)
    x = random.normal(size=(301, sizes[0])).astype(np.float32)
    y = random.integers(0, sizes[-1], 301)
    states = []
    for n_threads in (1, 2, 3):
        trainer = make_trainer(
            compiled_or_numpy_name, sizes, normalization=normalization, precision=precision,
            batch_size=100, n_threads=n_threads, optimizer="momentum", dropout=0.1,
        )  # fmt: skip
        trainer.fit(x, y, epochs=3)
        kept = trainer.gradients(x, y)
        parts = [kept.loss, *(part.tobytes() for part in (*kept.dz, *kept.dgamma))]
        outputs = [trainer.predict_proba(x[:n]).tobytes() for n in (1, 20, 301)]
        states.append((state_of(trainer), outputs, parts, trainer.evaluate(x, y).loss))
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("precision", TOLERANCES)
def test_how_many_batches_a_call_has_does_not_matter(
    precision: str,
    normalization: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
    state_of: Any,
) -> None:
    x, y = make_problem(n_rows=60)
    states = []
    for batches_per_call in (1, 3, 100):
        trainer = make_trainer(backend_name, normalization=normalization, precision=precision)
        trainer._bound.batches_per_call = batches_per_call
        trainer._bound.plan_next_call = lambda n_batches, seconds: None  # it goes by the clock
        trainer.fit(x, y, epochs=2)
        states.append(state_of(trainer))
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("sizes", [(4, 6, 3), (4, 16, 3)])  # a row of weights is whole vectors
def test_a_rows_prediction_is_its_own(
    sizes: tuple[int, ...],
    normalization: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
) -> None:
    x, y = make_problem(n_rows=300)
    trainer = make_trainer(backend_name, sizes, normalization=normalization)
    trainer.fit(x, y, epochs=2)
    together = trainer.predict_proba(x)
    for row in (0, 150, 299):
        np.testing.assert_allclose(trainer.predict_proba(x[row : row + 1])[0], together[row], 1e-12)
    hidden = trainer.hidden(x)
    wanted = hidden @ trainer.network.weights[-1] + trainer.network.biases[-1]
    np.testing.assert_allclose(np.log(together), wanted - np.log(np.exp(wanted).sum(1))[:, None])


def test_a_batch_of_one_row(
    normalization: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=1)
    trainer = make_trainer(backend_name, normalization=normalization)
    shift_parameters(trainer)
    before, beta = trainer.network.statistics.copy(), trainer.network.biases[0].copy()
    found = trainer.gradients(x, y)
    trainer.fit(x, y)
    np.testing.assert_array_equal(trainer.network.statistics, before)
    if normalization == "batch":  # all of z is its mean
        np.testing.assert_allclose(found.a[0][0], np.tanh(beta), rtol=1e-14)
        assert not found.dw[0].any() and not found.dgamma[0].any() and found.db[0].any()
    assert np.isfinite(trainer.network.parameters).all()


def test_a_large_mean_leaves_the_variance(
    normalization: str, backend_name: str, make_trainer: Any
) -> None:
    # The mean of squares less the square of the mean would be noise here, in float32.
    random = np.random.default_rng(2)
    x = (1000.0 + random.normal(size=(64, 1))).astype(np.float32)
    trainer = make_trainer(
        backend_name, (1, 2, 2), normalization=normalization, precision="float32", batch_size=64
    )
    network = trainer.network
    network.weights[0][...] = [[1.0, 1.001]]
    z = trainer.gradients(x, np.arange(64) % 2).z[0].astype(np.longdouble)
    axis = 0 if normalization == "batch" else 1
    exact = (z - z.mean(axis, keepdims=True)) / np.sqrt(z.var(axis, keepdims=True) + 1e-5)
    found = np.arctanh(trainer.gradients(x, np.arange(64) % 2).a[0].astype(np.float64))
    np.testing.assert_allclose(found, exact.astype(np.float64), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_sparse_rows(
    n_threads: int,
    normalization: str,
    compiled_or_numpy_name: str,
    make_trainer: Any,
) -> None:
    random = np.random.default_rng(3)
    dense = random.normal(size=(90, 60)) * (random.uniform(size=(90, 60)) < 0.05)
    y = np.arange(90) % 3
    learned = []
    for x in (dense, scipy.sparse.csr_matrix(dense)):
        trainer = make_trainer(
            compiled_or_numpy_name, (60, 70, 3), normalization=normalization, batch_size=40,
            n_threads=n_threads,
        )  # fmt: skip
        trainer.fit(x, y, epochs=2)
        learned.append(np.concatenate([trainer.network.learned, trainer.predict_proba(x).ravel()]))
    assert relative_difference(*learned) < 1e-11


@pytest.mark.filterwarnings("ignore:the .* backend emulates bfloat16")
def test_bfloat16(normalization: str, backend_name: str) -> None:
    random = np.random.default_rng(4)
    x, y = random.normal(size=(40, 20)).astype(np.float32), np.arange(40) % 3
    found = []
    for backend in (backend_name, "numpy"):
        network = Network([20, 17, 3], normalization=normalization, seed=0)
        trainer = Trainer(network, precision="bfloat16", backend=backend, batch_size=20, seed=0)
        trainer.fit(x, y)
        found.append(network.learned)
    assert relative_difference(*found) < 2e-3  # roundings may fall on either side


def test_penalties_leave_gamma_and_beta(
    normalization: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem()
    gammas = []
    for strength in (0.0, 0.5):
        trainer = make_trainer(
            backend_name, normalization=normalization, batch_size=20,
            regularization=Regularization(l2=strength, l1=strength),
        )  # fmt: skip
        trainer.fit(x, y)  # one batch: the penalty comes into the next one's gradients
        gammas.append([*trainer.network.gammas, *trainer.network.biases])
    for plain, penalized in zip(*gammas, strict=True):
        np.testing.assert_array_equal(plain, penalized)
