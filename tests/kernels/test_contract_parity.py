"""Every backend does what the contract says: gradients, kernels, training; the same as the others.

The tolerances: element-wise kernels give the same bits; sums are ordered differently, which leaves
1e-12 (float64) or 1e-5 (float32) of the largest parameter after a step.
"""

from __future__ import annotations

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp.backend import BACKENDS, get_backend
from fastmlp.kernels import contract, formulas
from fastmlp.losses import NAMED_LOSSES
from fastmlp.optimizers import NAMED_OPTIMIZERS

PRECISIONS = ("float32", "float64")
ACTIVATIONS = tuple(formulas.ACTIVATIONS)


def relative_difference(found: Any, wanted: Any) -> float:
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


# ---------------------------------------------------------------------------------------------
# Signatures


def test_signatures_are_the_contracts(backend_name: str) -> None:
    backend = get_backend(backend_name)
    assert backend.name == backend_name and isinstance(backend, contract.Backend)
    assert isinstance(backend.isa, str) and backend.isa
    assert backend.usable_threads(1) == 1
    for name in contract.Backend.__abstractmethods__:
        if callable(getattr(contract.Backend, name)):
            wanted = list(inspect.signature(getattr(contract.Backend, name)).parameters)[1:]
            assert list(inspect.signature(getattr(backend, name)).parameters) == wanted, name


# ---------------------------------------------------------------------------------------------
# Gradients against central differences

# (depth, hidden activation, output, loss); the loss merged with its output, or not.
MERGED = [
    ("softmax", "categorical_cross_entropy"),
    ("sigmoid", "binary_cross_entropy"),
    ("identity", "squared_error"),
]
CASES = [(1, "tanh", output, loss) for output, loss in MERGED]
CASES += [(1, "tanh", name, "squared_error") for name in ACTIVATIONS if name != "identity"]
CASES += [(d, name, *pair) for d in (2, 3) for name in ACTIVATIONS for pair in MERGED]
CASES += [(d, n, n, "squared_error") for d in (2, 3) for n in ACTIVATIONS if n != "identity"]


# The other losses, each with one depth and the outputs that it is merged with, or is not.
CASES += [(2, "tanh", row.output, name) for name, row in formulas.LOSSES.items()]
CASES += [(2, "silu", "tanh", name) for name in ("absolute_error", "huber", "quantile")]


def gradient_case(make_trainer: Any, make_problem: Any, backend: str, case: Any) -> tuple[Any, ...]:
    depth, hidden, output, loss = case  # the seed: no unit is dead, no z lies at a kink
    sizes = {1: (3, 2), 2: (3, 3, 2), 3: (3, 4, 3, 2)}[depth]
    trainer = make_trainer(
        backend, sizes, activation=hidden, output=output, loss=loss, init="glorot", seed=7
    )
    x, y = make_problem(5, 3, 2, output, seed=1)
    if formulas.LOSSES[loss].targets == "binary":
        y = (y > 0.0).astype(float)
    elif formulas.LOSSES[loss].targets in ("not negative", "positive"):
        y = np.abs(y)
    return trainer, x, y


@pytest.mark.parametrize("case", CASES, ids=lambda case: "-".join(map(str, case)))
def test_gradients(
    case: Any, backend_name: str, make_trainer: Any, make_problem: Any, gradient_error: Any
) -> None:
    trainer, x, y = gradient_case(make_trainer, make_problem, backend_name, case)
    assert gradient_error(trainer, x, y) < 1e-7


@pytest.mark.parametrize(("output", "loss"), MERGED)
def test_gradients_with_sample_weight(
    output: str,
    loss: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
    gradient_error: Any,
) -> None:
    case = (2, "silu", output, loss)
    trainer, x, y = gradient_case(make_trainer, make_problem, backend_name, case)
    assert gradient_error(trainer, x, y, np.array([0.5, 0.0, 2.0, 1.0, 3.0])) < 1e-7


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
def test_a_wrong_derivative_is_caught(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    make_trainer: Any,
    make_problem: Any,
    gradient_error: Any,
) -> None:
    case = (2, name, "softmax", "categorical_cross_entropy")
    trainer, x, y = gradient_case(make_trainer, make_problem, "python", case)
    row = formulas.ACTIVATIONS[name]

    def wrong_z(z: Any) -> Any:
        return 1.001 * row.derivative(z)

    def wrong_a(a: Any) -> Any:
        return 1.001 * row.derivative(a)

    wrong = wrong_z if row.derivative_input == "z" else wrong_a
    assert gradient_error(trainer, x, y) < 1e-7
    monkeypatch.setitem(formulas.ACTIVATIONS, name, replace(row, derivative=wrong))
    assert gradient_error(trainer, x, y) > 1e-5


def test_gradients_report_the_whole_way(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    trainer = make_trainer(backend_name, sizes=(4, 6, 3))
    x, y = make_problem(n_rows=7)
    found = trainer.gradients(x, y)
    w, b = trainer.network.weights, trainer.network.biases
    z0 = x @ w[0] + b[0]
    a0 = np.tanh(z0)
    z1 = a0 @ w[1] + b[1]
    a1 = np.exp(z1) / np.exp(z1).sum(axis=1, keepdims=True)
    dz1 = (a1 - np.eye(3)[y]) / 7
    dz0 = (dz1 @ w[1].T) * (1 - a0**2)
    for got, wanted in [
        (found.z, [z0, z1]),
        (found.a, [a0, a1]),
        (found.dz, [dz0, dz1]),
        (found.dw, [x.T @ dz0, a0.T @ dz1]),
        (found.db, [dz0.sum(axis=0), dz1.sum(axis=0)]),
    ]:
        for layer in range(2):
            np.testing.assert_allclose(got[layer], wanted[layer], rtol=1e-12, atol=1e-14)
    assert found.loss == pytest.approx(-np.log(a1[np.arange(7), y]).mean(), rel=1e-12)
    assert found.loss == pytest.approx(trainer.evaluate(x, y).loss, rel=1e-12)


# ---------------------------------------------------------------------------------------------
# Kernels


def bits(array: Any, precision: str) -> np.ndarray:
    array = np.array(array, precision)
    array[np.isnan(array)] = np.nan  # one NaN is as good as another
    return array.view(f"i{array.itemsize}")


def element_values(precision: str) -> np.ndarray:
    random = np.random.default_rng(0)
    special = [-np.inf, -1e30, -0.0, 0.0, 88.5, 1e30, np.inf]
    parts = [random.uniform(-90.0, 90.0, 500), random.normal(size=500), special]
    return np.concatenate(parts).astype(precision).reshape(1, -1)


def skip_what_python_rounds(backend: str, precision: str) -> None:
    if backend == "python" and precision == "float32":
        pytest.skip("the python backend computes in float64 and rounds at the end")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_give_numpys_bits(name: str, precision: str, backend_name: str) -> None:
    skip_what_python_rounds(backend_name, precision)
    backend, numpy_backend = get_backend(backend_name), get_backend("numpy")
    z = element_values(precision)
    with np.errstate(all="ignore"):
        a = numpy_backend.activation(name, z)
        slope = numpy_backend.activation_derivative(name, z, a)
        found_a = backend.activation(name, z)
        found_slope = backend.activation_derivative(name, z, a)
    assert a.dtype == slope.dtype == precision
    assert np.array_equal(bits(found_a, precision), bits(a, precision))
    assert np.array_equal(bits(found_slope, precision), bits(slope, precision))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations_keep_nan(name: str, precision: str, backend_name: str) -> None:
    z = np.array([[np.nan, 1.0, np.nan]], precision)
    with np.errstate(all="ignore"):
        a = np.asarray(get_backend(backend_name).activation(name, z))
    assert np.isnan(a).tolist() == [[True, False, True]]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", formulas.OPTIMIZERS)
def test_updates_give_numpys_bits(name: str, precision: str, backend_name: str) -> None:
    skip_what_python_rounds(backend_name, precision)
    optimizer, random = NAMED_OPTIMIZERS[name], np.random.default_rng(1)
    n_states = len(formulas.OPTIMIZERS[name].states)
    coefficients = optimizer.coefficients(7, 1)[0].tolist()
    results = []
    for backend in (get_backend(backend_name), get_backend("numpy")):
        random = np.random.default_rng(1)
        w, g = random.normal(size=(2, 1003)).astype(precision)
        state = random.uniform(size=(n_states, 1003)).astype(precision)
        backend.update(name, w, g, state, coefficients)
        results.append(np.concatenate([w, state.ravel()]))
    assert np.array_equal(bits(results[0], precision), bits(results[1], precision))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 5, 2), (17, 33, 9), (64, 70, 65)])
def test_matmul(shape: tuple[int, int, int], precision: str, backend_name: str) -> None:
    rows, inner, columns = shape
    random = np.random.default_rng(2)
    a = random.normal(size=(rows, inner)).astype(precision)
    b = random.normal(size=(inner, columns)).astype(precision)
    exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
    found = np.asarray(get_backend(backend_name).matmul(a, b))
    scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    assert (np.abs(found - exact) <= inner * np.finfo(precision).eps * scale).all()


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", formulas.LOSSES)
def test_losses(name: str, precision: str, backend_name: str) -> None:
    random = np.random.default_rng(3)
    z = (random.normal(size=(40, 7)) * 4.0).astype(precision)
    y = random.dirichlet(np.ones(7), size=40).astype(precision)
    # Each output has parameters of its own.
    common = NAMED_LOSSES[name].parameters(7)
    own = [[(1.0 - 0.05 * k) * value for k, value in enumerate(row)] for row in common]
    values, slopes = get_backend(backend_name).loss(name, z, y, own)
    wanted_values, wanted_slopes = get_backend("python").loss(name, z, y, own)
    tolerance = 1e-13 if precision == "float64" else 2e-5
    np.testing.assert_allclose(values, wanted_values, rtol=tolerance)
    np.testing.assert_allclose(slopes, wanted_slopes, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------------------------------------
# Optimizers against the papers' equations, in extended precision


class Oracle:
    """Steps written from the papers, with the moments kept from step to step."""

    def __init__(self, w: Any) -> None:
        self.w = w.astype(np.longdouble)
        self.first = np.zeros_like(self.w)
        self.second = np.zeros_like(self.w)

    def step(self, name: str, t: int, g: Any) -> None:
        real, optimizer = np.longdouble, NAMED_OPTIMIZERS[name]
        settings = {key: real(value) for key, value in optimizer.settings().items()}
        rate, g = settings["learning_rate"], g.astype(real)
        if name == "sgd":
            self.w = self.w - rate * g
        elif name in ("momentum", "nesterov"):
            decay = settings["momentum"]
            self.first = decay * self.first - rate * g
            ahead = decay * self.first - rate * g
            self.w = self.w + (ahead if name == "nesterov" else self.first)
        elif name == "lion":
            rest_1, rest_2 = 1 - settings["beta_1"], 1 - settings["beta_2"]
            direction = np.sign(settings["beta_1"] * self.first + rest_1 * g)
            self.w = self.w - rate * (direction + settings["weight_decay"] * self.w)
            self.first = settings["beta_2"] * self.first + rest_2 * g
        elif name == "adagrad":
            self.second = self.second + g**2
            self.w = self.w - rate * g / (np.sqrt(self.second) + settings["epsilon"])
        elif name == "nadam":
            mu, nu = settings["beta_1"], settings["beta_2"]
            self.first = mu * self.first + (1 - mu) * g
            self.second = nu * self.second + (1 - nu) * g**2
            mean = mu * self.first / (1 - mu ** (t + 1)) + (1 - mu) * g / (1 - mu**t)
            root = np.sqrt(self.second / (1 - nu**t))
            self.w = self.w - rate * mean / (root + settings["epsilon"])
        elif name == "rmsprop":
            self.second = settings["rho"] * self.second + (1 - settings["rho"]) * g**2
            self.w = self.w - rate * g / (np.sqrt(self.second) + settings["epsilon"])
        elif name in ("adam", "adamw", "muon"):  # muon: what is no hidden layer's matrix
            rate = settings.get("adam_learning_rate", rate)
            beta_1, beta_2 = settings["beta_1"], settings["beta_2"]
            self.first = beta_1 * self.first + (1 - beta_1) * g
            self.second = beta_2 * self.second + (1 - beta_2) * g**2
            first = self.first / (1 - beta_1**t)
            second = self.second / (1 - beta_2**t)
            decay = settings.get("weight_decay", real(0)) * self.w
            self.w = self.w - rate * (first / (np.sqrt(second) + settings["epsilon"]) + decay)
        else:
            raise AssertionError(f"give {name} an oracle")


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", NAMED_OPTIMIZERS)
def test_optimizers_follow_the_papers(name: str, precision: str, backend_name: str) -> None:
    backend, optimizer = get_backend(backend_name), NAMED_OPTIMIZERS[name]
    random = np.random.default_rng(4)
    w = random.normal(size=20).astype(precision)
    state = np.zeros((len(formulas.OPTIMIZERS[name].states), 20), precision)
    oracle = Oracle(w)
    tolerance = 1e-13 if precision == "float64" else 2e-6
    for t in range(1, 1001 if backend_name in ("numpy", "python") else 101):
        # The gradient depends on the step alone: errors of w do not feed back.
        g = (random.normal(size=20) + np.sin(t / 50.0)).astype(precision)
        coefficients = optimizer.coefficients(t, 1)[0].tolist()
        backend.update(name, w, g, state, coefficients)
        oracle.step(name, t, g)
        if t in (1, 2, 3):
            np.testing.assert_allclose(w, oracle.w.astype(np.float64), rtol=tolerance, atol=1e-7)
    drift = 1e-12 if precision == "float64" else 2e-4
    assert relative_difference(w, oracle.w) < drift


def test_adams_first_step_is_the_learning_rate(backend_name: str) -> None:
    w, g = np.zeros(3), np.array([1e-3, -5.0, 0.2])
    coefficients = NAMED_OPTIMIZERS["adam"].coefficients(1, 1)[0].tolist()
    get_backend(backend_name).update("adam", w, g, np.zeros((2, 3)), coefficients)
    np.testing.assert_allclose(w, [-0.001, 0.001, -0.001], rtol=1e-4)


# ---------------------------------------------------------------------------------------------
# Training

TARGETS = {
    "labels": ("softmax", lambda y: y),
    "one-hot": ("softmax", lambda y: np.eye(3)[y]),
    "sigmoid": ("sigmoid", lambda y: np.eye(3)[y] * 0.8 + 0.1),
    "values": ("identity", lambda y: np.eye(3)[y] * 2.0 - y[:, None]),
}


@pytest.mark.parametrize("kind", TARGETS)
@pytest.mark.parametrize("optimizer", NAMED_OPTIMIZERS)
def test_an_epoch_in_float64(
    optimizer: str, kind: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    output, targets = TARGETS[kind]
    x, y = make_problem(n_rows=21)  # batches of 8, 8 and 5
    trainers = []
    for backend in (backend_name, "numpy"):
        trainers.append(make_trainer(backend, output=output, optimizer=optimizer))
        trainers[-1].fit(x, targets(y))
    found, wanted = trainers
    assert relative_difference(found.network.parameters, wanted.network.parameters) < 1e-12
    if found.plan.n_states:
        assert relative_difference(found.optimizer_state, wanted.optimizer_state) < 1e-11
    assert found.history.loss == pytest.approx(wanted.history.loss, rel=1e-12)
    assert found.history.batch_losses == pytest.approx(wanted.history.batch_losses, rel=1e-12)


@pytest.mark.parametrize("optimizer", NAMED_OPTIMIZERS)
def test_a_step_in_float32(
    optimizer: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=8)
    wanted = make_trainer("python", precision="float64", optimizer=optimizer)
    wanted.network.parameters[...] = wanted.network.parameters.astype(np.float32)
    found = make_trainer(backend_name, precision="float32", optimizer=optimizer)
    found.network.parameters[...] = wanted.network.parameters
    for trainer in (found, wanted):
        trainer.fit(x.astype(np.float32), y)
    assert relative_difference(found.network.parameters, wanted.network.parameters) < 1e-5


@pytest.mark.parametrize("batch_size", [1, 7, 21, 100])
def test_batch_sizes(
    batch_size: int, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=21)
    parameters = []
    for backend in (backend_name, "python"):
        trainer = make_trainer(backend, batch_size=batch_size)
        trainer.fit(x, y)
        parameters.append(trainer.network.parameters)
    assert relative_difference(*parameters) < 1e-12


@pytest.mark.parametrize("sizes", [(1, 2), (5, 1, 2), (3, 40, 33, 17, 2), (70, 9, 10)])
def test_shapes(
    sizes: tuple[int, ...], compiled_or_numpy_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(13, sizes[0], sizes[-1])
    results = []
    for backend in (compiled_or_numpy_name, "python"):
        trainer = make_trainer(backend, sizes=sizes, activation="relu")
        trainer.fit(x, y)
        results.append(
            np.concatenate([trainer.network.parameters, trainer.predict_proba(x).ravel()])
        )
    assert relative_difference(*results) < 1e-12


def input_of_kind(kind: str, folder: Path) -> np.ndarray:
    random = np.random.default_rng(5)
    if kind == "uint8":
        return random.integers(0, 256, (21, 4), dtype=np.uint8)
    wide = random.normal(size=(42, 12))
    if kind == "memmap":
        mapped = np.memmap(folder / "x.bin", np.float32, "w+", shape=(21, 4))
        mapped[...] = wide[:21, :4]
        return mapped
    return {
        "float32": wide[:21, :4].astype(np.float32),
        "float64": wide[:21, :4].copy(),
        "fortran": np.asfortranarray(wide[:21, :4]),
        "strided": wide[::2, ::3],
        "strided uint8": (wide * 20.0 + 100.0).astype(np.uint8)[::2, ::3],
        "negative strides": wide[20::-1, 3::-1],
        "transposed float32": wide[:4, :].astype(np.float32).repeat(2, axis=1)[:, :21].T,
    }[kind]


INPUT_KINDS = (
    "uint8", "float32", "float64", "fortran", "strided", "strided uint8", "negative strides",
    "transposed float32", "memmap",
)  # fmt: skip


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", INPUT_KINDS)
def test_inputs_of_every_kind(
    kind: str,
    precision: str,
    backend_name: str,
    make_trainer: Any,
    state_of: Any,
    tmp_path: Path,
) -> None:
    x = input_of_kind(kind, tmp_path)
    assert x.shape == (21, 4)
    y = np.arange(21) % 3
    scale = 1 / 255 if x.dtype == np.uint8 else 0.7

    def trained(backend: str, inputs: np.ndarray) -> fastmlp.Trainer:
        trainer: fastmlp.Trainer = make_trainer(backend, precision=precision, input_scale=scale)
        trainer.fit(inputs, y, epochs=2)
        return trainer

    found = trained(backend_name, x)
    # Where the rows lie does not change a bit.
    contiguous = np.ascontiguousarray(x)
    assert state_of(found) == state_of(trained(backend_name, contiguous))
    assert np.array_equal(found.predict_proba(x), found.predict_proba(contiguous))
    wanted = trained("numpy", contiguous)
    tolerance = 1e-12 if precision == "float64" else 2e-5
    assert relative_difference(found.network.parameters, wanted.network.parameters) < tolerance
    outputs = found.predict_proba(x), wanted.predict_proba(x)
    assert relative_difference(*outputs) < tolerance


def scaling_trainer(backend: str, x: np.ndarray, precision: str, **of_network: Any) -> Any:
    """Return a Trainer whose network hands its scaled inputs out as they are."""
    width = x.shape[1]
    network = fastmlp.Network((width, width), output="identity", dtype=precision, **of_network)
    network.parameters = np.zeros(network.n_parameters)
    network.weights[0][...] = np.eye(width)
    return fastmlp.Trainer(network, backend=backend, precision=precision, batch_size=8, seed=5)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", INPUT_KINDS)
def test_inputs_of_every_kind_with_a_center_and_a_scale_each(
    kind: str, precision: str, backend_name: str, state_of: Any, tmp_path: Path
) -> None:
    x = input_of_kind(kind, tmp_path)
    center, scale = np.array([0.5, -3.0, 100.0, 0.0]), np.array([0.02, -0.005, 1 / 255, 0.03])
    wanted = (x.astype(np.longdouble) - center) * scale
    trainer = scaling_trainer(backend_name, x, precision, input_center=center, input_scale=scale)
    # Half a unit each for the difference, the product, the scale in float32, and the result.
    two_units = 2.0 * float(np.finfo(precision).eps)
    np.testing.assert_allclose(trainer.predict_proba(x), wanted, two_units)
    if backend_name != "python":  # which computes in float64
        np.testing.assert_array_equal(trainer.network.scaled(x), trainer.predict_proba(x))
    plain = scaling_trainer("numpy", x, precision)
    contiguous = scaling_trainer(backend_name, x, precision, input_center=center, input_scale=scale)
    trainer.fit(x, x * 1e-2, epochs=2)
    plain.fit(wanted.astype(np.float64), x * 1e-2, epochs=2)
    contiguous.fit(np.ascontiguousarray(x), x * 1e-2, epochs=2)
    assert state_of(trainer) == state_of(contiguous)
    tolerance = 1e-12 if precision == "float64" else 2e-5
    assert relative_difference(trainer.network.parameters, plain.network.parameters) < tolerance


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_each_of_many_inputs_gets_its_own_numbers(
    precision: str, dtype: str, compiled_or_numpy_name: str
) -> None:
    width = 1031  # more than are converted at once, and no whole number of vectors
    x = np.random.default_rng(2).integers(0, 256, (3, width)).astype(dtype)
    center, scale = np.arange(width) / 8.0, 1.0 + np.arange(width) / 64.0
    trainer = scaling_trainer(
        compiled_or_numpy_name, x, precision, input_center=center, input_scale=scale
    )
    tolerance = 1e-15 if precision == "float64" else 3e-7
    np.testing.assert_allclose(trainer.predict_proba(x), (x - center) * scale, tolerance)


def test_one_center_for_all_inputs(backend_name: str) -> None:
    x = np.random.default_rng(2).integers(0, 256, (3, 11)).astype(np.uint8)
    trainer = scaling_trainer(backend_name, x, "float64", input_center=127.5, input_scale=2.0)
    np.testing.assert_array_equal(trainer.predict_proba(x), (x - 127.5) * 2.0)


def test_data_far_from_zero_keep_their_digits_in_float32(backend_name: str) -> None:
    # One step of float32 at 1e9 is 64: converted first, the data would be lost.
    small = np.random.default_rng(4).normal(size=(20, 5))
    x, center = 1e9 + small, np.full(5, 1e9)
    trainer = scaling_trainer(backend_name, x, "float32", input_center=center)
    np.testing.assert_allclose(trainer.predict_proba(x), x - center, rtol=1e-7)
    np.testing.assert_allclose(trainer.predict_proba(x), small, atol=2e-7)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_same_seed_gives_the_same_bits(
    precision: str, backend_name: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    x, y = make_problem(n_rows=50)
    states = []
    for _ in range(2):
        trainer = make_trainer(backend_name, precision=precision, optimizer="adam")
        trainer.fit(x, y, epochs=3)
        states.append(state_of(trainer))
    assert states[0] == states[1]


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_number_of_threads_does_not_change_a_bit(
    precision: str, compiled_or_numpy_name: str, make_trainer: Any, state_of: Any
) -> None:
    random = np.random.default_rng(6)
    x = random.normal(size=(300, 70)).astype(np.float32)
    y = random.integers(0, 10, 300)
    states = []
    for n_threads in (1, 2, 3):
        trainer = make_trainer(
            compiled_or_numpy_name,
            sizes=(70, 150, 10),
            precision=precision,
            batch_size=100,
            n_threads=n_threads,
            input_center=x.mean(axis=0),
            input_scale=1.0 / x.std(axis=0),
        )
        trainer.fit(x, y, epochs=2)
        states.append((state_of(trainer), trainer.predict_proba(x).tobytes()))
    assert states[0] == states[1] == states[2]


def test_the_caller_may_change_parameters_between_calls(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    # An engine may keep packed copies, but the flat vector is what counts.
    x, y = make_problem()
    trainer, wanted = make_trainer(backend_name), make_trainer("numpy")
    trainer.fit(x, y)
    wanted.fit(x, y)
    for each in (trainer, wanted):
        each.network.weights[0][...] *= 0.5
        each.network.biases[1][...] += 1.0
    assert relative_difference(trainer.predict_proba(x), wanted.predict_proba(x)) < 1e-12
    assert trainer.evaluate(x, y).loss == pytest.approx(wanted.evaluate(x, y).loss, rel=1e-12)
    for each in (trainer, wanted):
        each.fit(x, y)
    assert relative_difference(trainer.network.parameters, wanted.network.parameters) < 1e-12


def test_all_backends_are_enumerated() -> None:
    assert [info.name for info in fastmlp.backends()] == list(BACKENDS)
