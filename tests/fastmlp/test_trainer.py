"""`Trainer`: learning, continuing, interrupting, diverging; data is neither copied nor changed."""

from __future__ import annotations

import _thread
import math
import pickle
import threading
from copy import deepcopy
from typing import Any

import numpy as np
import pytest

from fastmlp import SGD, Callback, Network, Trainer

# ---------------------------------------------------------------------------------------------
# Learning


def test_xor(backend_name: str) -> None:
    network = Network([2, 8, 1], activation="tanh", output="sigmoid", seed=1)
    trainer = Trainer(network, optimizer="adam", batch_size=4, backend=backend_name, seed=0)
    x, y = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0])
    trainer.optimizer = type(trainer.optimizer)(learning_rate=0.05)
    trainer.fit(x, y, epochs=200)
    assert trainer.predict(x).tolist() == [0, 1, 1, 0]
    assert trainer.evaluate(x, y).accuracy == 1.0


def test_a_single_perceptron_learns_and(backend_name: str) -> None:
    network = Network([2, 1], output="sigmoid", seed=0)
    trainer = Trainer(network, optimizer=SGD(2.0), batch_size=4, backend=backend_name, seed=0)
    x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.uint8)
    trainer.fit(x, [0, 0, 0, 1], epochs=200)
    assert trainer.predict(x).tolist() == [0, 0, 0, 1]


def test_classes(backend_name: str, make_trainer: Any, make_problem: Any) -> None:
    x, y = make_problem(n_rows=200)
    trainer = make_trainer(backend_name, precision="float32", optimizer=SGD(0.2))
    history = trainer.fit(x[:150], y[:150], epochs=15, validation_data=(x[150:], y[150:]))
    assert history.loss[-1] < 0.4 * history.loss[0]
    assert history.validation_score[-1] == trainer.evaluate(x[150:], y[150:]).score > 0.8
    assert len(history.validation_loss) == len(history.seconds) == history.n_epochs == 15
    assert len(history.batch_losses) == 19


def test_regression(backend_name: str, make_trainer: Any) -> None:
    x = np.linspace(-2.0, 2.0, 60).reshape(-1, 1)
    y = np.sin(2.0 * x[:, 0])
    trainer = make_trainer(backend_name, sizes=(1, 16, 1), output="identity", optimizer="nesterov")
    trainer.optimizer = SGD(0.02, momentum=0.9, nesterov=True)
    trainer.fit(x, y, epochs=150)
    evaluation = trainer.evaluate(x, y)
    assert evaluation.r2 is not None and evaluation.r2 > 0.98 and evaluation.accuracy is None
    assert evaluation.score == evaluation.r2 and trainer.score_name == "r2"


# ---------------------------------------------------------------------------------------------
# Going on


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", ["sgd", "nesterov", "adam"])
def test_fit_twice_is_fit_once(
    optimizer: str,
    precision: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
    state_of: Any,
) -> None:
    x, y = make_problem(n_rows=21)
    twice, once = (
        make_trainer(backend_name, optimizer=optimizer, precision=precision) for _ in range(2)
    )
    twice.fit(x, y, epochs=2, validation_data=(x, y))
    twice.fit(x, y, epochs=3, validation_data=(x, y))
    once.fit(x, y, epochs=5, validation_data=(x, y))
    assert state_of(twice) == state_of(once)


def test_zero_epochs_change_nothing(make_trainer: Any, make_problem: Any, state_of: Any) -> None:
    trainer = make_trainer()
    before = trainer.network.parameters.copy()
    assert trainer.fit(*make_problem(), epochs=0).n_epochs == 0
    assert np.array_equal(before, trainer.network.parameters)


def test_predicting_does_not_disturb_training(
    backend_name: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    x, y = make_problem(n_rows=21)
    disturbed, wanted = make_trainer(backend_name), make_trainer(backend_name)
    for _ in range(2):
        disturbed.predict(x)
        disturbed.evaluate(x, y)
        disturbed.gradients(x, y)
        disturbed.fit(x, y)
        wanted.fit(x, y)
    assert state_of(disturbed) == state_of(wanted)


# ---------------------------------------------------------------------------------------------
# Interrupting and diverging


class InterruptAfter(Callback):
    def __init__(self, n_chunks: int) -> None:
        self.left = n_chunks

    def on_chunk_end(self, trainer: Trainer, n_batches_done: int, n_batches: int) -> None:
        self.left -= 1
        if not self.left:
            raise KeyboardInterrupt


def test_ctrl_c_in_a_callback(
    backend_name: str, make_trainer: Any, make_problem: Any, assert_usable: Any
) -> None:
    x, y = make_problem(n_rows=100)
    trainer = make_trainer(backend_name, optimizer="adam")
    history = trainer.fit(x, y, epochs=50, callbacks=[InterruptAfter(2)])
    assert history is trainer.history and history.stop_reason == "interrupted"
    assert trainer.n_steps > 0
    assert_usable(trainer, x, y)


class Interrupting:
    """An engine that is interrupted in the middle of its second call."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.calls = engine, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def train(
        self,
        x: Any,
        y: Any,
        weights: Any,
        order: Any,
        coefficients: Any,
        keys: Any,
        **how: Any,
    ) -> Any:
        self.calls += 1
        if self.calls == 2:
            half = len(coefficients) // 2 or 1
            self.engine.train(x, y, weights, order, coefficients[:half], keys, **how)
            raise KeyboardInterrupt
        return self.engine.train(x, y, weights, order, coefficients, keys, **how)


def test_ctrl_c_in_an_engine(
    backend_name: str, make_trainer: Any, make_problem: Any, assert_usable: Any
) -> None:
    x, y = make_problem(n_rows=100)
    trainer = make_trainer(backend_name)
    trainer._bound._engine = Interrupting(trainer._bound.engine())
    assert trainer.fit(x, y, epochs=3).stop_reason == "interrupted"
    assert trainer.history.n_epochs <= 1
    assert_usable(trainer, x, y)


def test_a_real_ctrl_c(
    backend_name: str, make_trainer: Any, make_problem: Any, assert_usable: Any
) -> None:
    x, y = make_problem(n_rows=64)
    trainer = make_trainer(backend_name, precision="float32")
    trainer.fit(x, y)  # compiled, warmed up
    timer = threading.Timer(0.2, _thread.interrupt_main)
    timer.start()
    try:
        history = trainer.fit(x, y, epochs=10**9)
    finally:
        timer.cancel()
    assert history.stop_reason == "interrupted" and history.n_epochs >= 1
    assert_usable(trainer, x, y)


# ---------------------------------------------------------------------------------------------
# The data


def repeated(x: Any, y: Any, counts: Any) -> tuple[Any, Any]:
    return np.repeat(x, counts, axis=0), np.repeat(y, counts, axis=0)


@pytest.mark.parametrize("output", ["softmax", "sigmoid", "identity"])
def test_integer_weights_are_repeated_rows(
    output: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(8, output=output)
    counts = np.array([1, 2, 0, 3, 1, 0, 1, 4])
    weighted, plain = (make_trainer(backend_name, output=output, batch_size=100) for _ in range(2))
    weighted.fit(x, y, epochs=3, sample_weight=counts)
    plain.fit(*repeated(x, y, counts), epochs=3)
    np.testing.assert_allclose(
        weighted.network.parameters, plain.network.parameters, rtol=1e-11, atol=1e-13
    )
    assert weighted.history.loss == pytest.approx(plain.history.loss, rel=1e-12)
    found, wanted = weighted.evaluate(x, y, counts), plain.evaluate(*repeated(x, y, counts))
    assert found.loss == pytest.approx(wanted.loss, rel=1e-11)
    assert found.score == pytest.approx(wanted.score, rel=1e-11)


def test_rows_of_weight_zero_have_no_influence(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(8)
    other_x, other_y = x.copy(), y.copy()
    other_x[3], other_y[3] = 50.0, 0
    weights = np.array([1.0, 2.0, 1.0, 0.0, 1.0, 1.0, 1.0, 1.0])
    first, second = make_trainer(backend_name), make_trainer(backend_name)
    first.fit(x, y, epochs=3, sample_weight=weights)
    second.fit(other_x, other_y, epochs=3, sample_weight=weights)
    assert np.array_equal(first.network.parameters, second.network.parameters)


# ---------------------------------------------------------------------------------------------
# What comes out


@pytest.mark.parametrize(
    ("output", "loss", "n_outputs", "shape", "dtype"),
    [
        ("softmax", "auto", 3, (5,), "int64"),
        ("sigmoid", "auto", 1, (5,), "int64"),
        ("sigmoid", "auto", 3, (5, 3), "int64"),
        ("sigmoid", "squared_error", 1, (5,), "float32"),
        ("identity", "auto", 1, (5,), "float32"),
        ("identity", "auto", 3, (5, 3), "float32"),
        ("tanh", "auto", 2, (5, 2), "float32"),
    ],
)
def test_shapes_of_predictions(
    output: str, loss: str, n_outputs: int, shape: Any, dtype: str, make_trainer: Any
) -> None:
    trainer = make_trainer(sizes=(4, n_outputs), output=output, loss=loss, precision="float32")
    x = np.random.default_rng(0).normal(size=(5, 4))
    predicted, outputs = trainer.predict(x), trainer.predict_proba(x)
    assert predicted.shape == shape and predicted.dtype == dtype
    assert outputs.shape == (5, n_outputs) and outputs.dtype == np.float32
    if output == "softmax":
        np.testing.assert_allclose(outputs.sum(axis=1), 1.0, rtol=1e-6)
        assert np.array_equal(predicted, outputs.argmax(axis=1))


def test_repr_and_reason(make_trainer: Any) -> None:
    trainer = make_trainer()
    assert repr(trainer).startswith("<Trainer <Network 4-6-3") and "0 steps done" in repr(trainer)
    assert trainer.backend_reason == "numpy: asked for by name" and trainer.backend_name == "numpy"


# ---------------------------------------------------------------------------------------------
# Bad input changes nothing

GOOD_X, GOOD_Y = np.ones((6, 4)), np.array([0, 1, 2, 0, 1, 2])


def with_value(value: float) -> np.ndarray:
    x = GOOD_X.copy()
    x[4, 2] = value
    return x


BAD_CALLS: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"X": np.ones((6, 5))}, ValueError, r"X must have the shape \(rows, 4\)"),
    ({"X": np.ones(4)}, ValueError, "X must have the shape"),
    ({"X": np.ones((6, 2, 2))}, ValueError, "X must have the shape"),
    ({"X": np.ones((0, 4))}, ValueError, "X must have at least one row"),
    ({"X": [["a"] * 4] * 6}, TypeError, "X must hold numbers"),
    ({"X": np.full((6, 4), None)}, TypeError, "X must hold numbers"),
    ({"X": GOOD_X * 1j}, TypeError, "X must hold numbers"),
    ({"X": with_value(np.nan)}, ValueError, r"X must hold finite.*nan at X\[4, 2\]"),
    ({"X": with_value(np.inf)}, ValueError, r"inf at X\[4, 2\]"),
    ({"y": GOOD_Y[:5]}, ValueError, r"y must have one target per row of X \(6\)"),
    ({"y": GOOD_Y + 1}, ValueError, "y must hold integers from 0 to 2.*got 3"),
    ({"y": ["cat"] * 6}, TypeError, "y must hold numbers"),
    ({"y": None}, TypeError, "y must hold numbers"),
    ({"sample_weight": np.ones(5)}, ValueError, r"sample_weight must have the shape \(6,\)"),
    ({"sample_weight": -np.ones(6)}, ValueError, "sample_weight must be >= 0"),
    ({"sample_weight": np.full(6, np.nan)}, ValueError, r"nan at sample_weight\[0\]"),
    ({"epochs": -1}, ValueError, "epochs must be an integer >= 0; got -1"),
    ({"epochs": 1.5}, TypeError, "epochs must be an integer"),
    ({"validation_data": GOOD_X}, TypeError, r"validation_data must be a tuple \(X, y\)"),
    ({"validation_data": (GOOD_X,)}, TypeError, "validation_data must be a tuple"),
    ({"validation_data": (GOOD_X[:, :3], GOOD_Y)}, ValueError, "validation X must have the shape"),
    ({"validation_data": (GOOD_X, GOOD_Y + 9)}, ValueError, "validation y must hold integers"),
    (
        {"validation_data": (GOOD_X, GOOD_Y, np.ones(3))},
        ValueError,
        "validation sample_weight must have the shape",
    ),
    ({"callbacks": [3]}, TypeError, "callbacks must be"),
]


@pytest.mark.parametrize(("arguments", "error", "text"), BAD_CALLS)
def test_bad_input_changes_nothing(
    arguments: dict[str, Any],
    error: type[Exception],
    text: str,
    make_trainer: Any,
    make_problem: Any,
    state_of: Any,
) -> None:
    trainer = make_trainer(optimizer="adam")
    trainer.fit(*make_problem())
    before = state_of(trainer)
    call = {"X": GOOD_X, "y": GOOD_Y, **arguments}
    with pytest.raises(error, match=text):
        trainer.fit(**call)
    for method in (trainer.evaluate, trainer.gradients):
        if set(arguments) <= {"X", "y", "sample_weight"}:
            with pytest.raises(error, match=text):
                method(**call)
    if "X" in arguments:
        with pytest.raises(error, match=text):
            trainer.predict(arguments["X"])
    assert state_of(trainer) == before


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"backend": "nunpy"}, ValueError, "backend must be one of.*Did you mean 'numpy'"),
        ({"backend": None}, TypeError, "backend must be one of.*got NoneType"),
        ({"optimizer": "adm"}, ValueError, "Did you mean 'adam'"),
        ({"loss": "squared_eror"}, ValueError, "Did you mean 'squared_error'"),
        ({"precision": "flaot32"}, ValueError, "Did you mean 'float32'"),
        ({"seed": -1}, ValueError, "seed must be an integer >= 0"),
        ({"seed": "a"}, TypeError, "seed must be an integer"),
        ({"batch_size": 0}, ValueError, "batch_size must be"),
    ],
)
def test_bad_arguments_leave_the_network_alone(
    arguments: dict[str, Any], error: type[Exception], text: str
) -> None:
    network = Network([4, 3], seed=0, dtype="float64")
    before = network.parameters
    copy = before.copy()
    with pytest.raises(error, match=text):
        Trainer(network, **arguments)
    assert network.parameters is before and np.array_equal(before, copy)


# ---------------------------------------------------------------------------------------------
# What users do to a Trainer besides calling it


def test_the_learning_rate_can_be_changed(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem()
    trainer = make_trainer(backend_name, optimizer=SGD(0.1))
    trainer.optimizer = SGD(0.0)
    before = trainer.network.parameters.copy()
    trainer.fit(x, y)
    np.testing.assert_array_equal(trainer.network.parameters, before)


@pytest.mark.parametrize("other", ["adam", SGD(0.1, momentum=0.9)])
def test_the_kind_of_optimizer_cannot(make_trainer: Any, other: Any) -> None:
    trainer = make_trainer(optimizer=SGD(0.1))
    with pytest.raises(ValueError, match=r"same kind \(sgd\).*Make a new Trainer"):
        trainer.optimizer = other
    assert trainer.optimizer == SGD(0.1)


@pytest.mark.parametrize("size", [1e-40, 1e-300, 1e30])
def test_only_the_ratios_of_weights_count(
    backend_name: str, make_trainer: Any, make_problem: Any, size: float
) -> None:
    x, y = make_problem()
    weights = np.linspace(0.5, 1, len(x))
    plain = make_trainer(backend_name, precision="float64")
    scaled = make_trainer(backend_name, precision="float64")
    plain.fit(x, y, sample_weight=weights)
    scaled.fit(x, y, sample_weight=weights * size)
    np.testing.assert_allclose(scaled.network.parameters, plain.network.parameters, rtol=1e-9)


def test_training_does_not_begin_with_parameters_that_are_not_finite(
    make_trainer: Any, make_problem: Any
) -> None:
    trainer = make_trainer()
    trainer.network.parameters[3] = np.nan
    with pytest.raises(ValueError, match=r"network.parameters must be finite before training"):
        trainer.fit(*make_problem())


def test_validation_results_stand_at_their_epochs(make_trainer: Any, make_problem: Any) -> None:
    x, y = make_problem()
    trainer = make_trainer()
    trainer.fit(x, y, epochs=2)
    history = trainer.fit(x, y, validation_data=(x, y))
    assert len(history.validation_loss) == len(history.validation_score) == history.n_epochs == 3
    assert np.isnan(history.validation_loss[:2]).all()
    assert history.validation_loss[2] == trainer.evaluate(x, y).loss


# ---------------------------------------------------------------------------------------------
# Copies


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("how", ["pickle", "deepcopy"])
def test_a_copy_goes_on_by_itself(
    backend_name: str, make_trainer: Any, make_problem: Any, how: str, fitted: bool
) -> None:
    x, y = make_problem()
    trainer = make_trainer(backend_name, optimizer="adam")
    if fitted:
        trainer.fit(x, y, epochs=2)
    other = pickle.loads(pickle.dumps(trainer)) if how == "pickle" else deepcopy(trainer)
    before = trainer.network.parameters.copy()
    other.fit(x, y, epochs=2)
    np.testing.assert_array_equal(trainer.network.parameters, before)
    trainer.fit(x, y, epochs=2)
    np.testing.assert_array_equal(trainer.network.parameters, other.network.parameters)
    assert other.history.loss == trainer.history.loss


def test_a_pickle_from_before_the_engine_was_an_object_loads(
    make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    trainer = make_trainer(optimizer="adam")
    trainer.fit(*make_problem())
    more = {"_engine": None, "_input_limit": 1.0, "_rows_per_call": 2048, "_batches_per_call": 8}
    earlier = deepcopy(trainer.__getstate__()) | more
    other = Trainer.__new__(Trainer)
    other.__setstate__(earlier)
    for each in (trainer, other):
        each.fit(*make_problem())
    assert state_of(other) == state_of(trainer)


# ---------------------------------------------------------------------------------------------
# Normalisation


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_weights_that_are_far_too_large_learn_all_the_same(
    normalization: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=200)
    losses = []
    for chosen in (None, normalization):
        trainer = make_trainer(
            backend_name,
            sizes=(4, *[16] * 6, 3),
            activation="tanh",
            normalization=chosen,
            optimizer=SGD(0.2),
            batch_size=20,
            seed=1,
        )
        for weights in trainer.network.weights[:-1]:
            weights *= 20.0
        losses.append(trainer.fit(x, y, epochs=10).loss[-1])
    assert losses[1] < 0.75 * losses[0]


def test_the_running_statistics_come_to_those_of_the_data(
    backend_name: str, make_trainer: Any
) -> None:
    random = np.random.default_rng(0)
    x = random.normal(3.0, 2.0, (400, 4))
    trainer = make_trainer(backend_name, normalization="batch", optimizer=SGD(0.0), batch_size=40)
    trainer.fit(x, np.arange(400) % 3, epochs=10)  # the weights stay
    z = x @ trainer.network.weights[0]
    np.testing.assert_allclose(trainer.network.running_means[0], z.mean(axis=0), atol=0.3)
    np.testing.assert_allclose(trainer.network.running_variances[0], z.var(axis=0), rtol=0.15)


def test_statistics_that_are_not_finite_are_not_trained_with(
    make_trainer: Any, make_problem: Any
) -> None:
    trainer = make_trainer(normalization="batch")
    trainer.network.statistics[0] = np.nan
    with pytest.raises(ValueError, match=r"network\.statistics must be finite"):
        trainer.fit(*make_problem())


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_a_pickled_and_a_copied_trainer_go_on(
    normalization: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    x, y = make_problem()
    trainer = make_trainer(normalization=normalization)
    trainer.fit(x, y)
    copies = [deepcopy(trainer), pickle.loads(pickle.dumps(trainer))]
    trainer.fit(x, y)
    for each in copies:
        each.fit(x, y)
        assert state_of(each) == state_of(trainer)


def test_a_validation_score_of_ones_own(make_trainer: Any, make_problem: Any) -> None:
    x, y = make_problem(30)
    trainer = make_trainer()

    def least_sure(trainer: Any) -> float:
        assert math.isfinite(trainer.history.validation_loss[-1])
        return float(trainer.predict_proba(x).max(axis=1).min())

    history = trainer.fit(x, y, epochs=2, validation_data=(x, y), score=least_sure)
    assert history.validation_score[-1] == least_sure(trainer)
    assert len(history.validation_score) == 2 and trainer.score_name == "least_sure"
    with pytest.raises(ValueError, match="score is of the validation data: pass validation_data"):
        trainer.fit(x, y, score=least_sure)
    trainer.fit(x, y, validation_data=(x, y))
    assert trainer.score_name == "accuracy"
    assert history.validation_score[-1] == trainer.evaluate(x, y).accuracy
