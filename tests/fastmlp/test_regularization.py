"""Dropout, penalties and limits: each backend against the equations written out with NumPy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmlp
from fastmlp import SGD, Clipping, Dropout, Regularization
from fastmlp.epoch import dropout_keys
from fastmlp.kernels import formulas

RATE = 0.1
"""The learning rate: a step of gradient descent shows the gradient."""

SETTINGS: dict[str, dict[str, Any]] = {
    "dropout": {"dropout": 0.5},
    "dropout of inputs": {"dropout": Dropout(hidden=(0.3, 0.0), input=0.2)},
    "l1, l2": {"regularization": Regularization(l1=0.01, l2=0.1)},
    "l2 by rows": {"regularization": Regularization(l2=0.5, divided_by_rows=True)},
    "value": {"clipping": Clipping(value=0.01)},
    "norm": {"clipping": Clipping(norm=0.1)},
    "max_norm": {"regularization": Regularization(max_norm=0.5)},
    "all": {
        "dropout": 0.2,
        "regularization": Regularization(l1=0.01, l2=0.1, max_norm=1.0, divided_by_rows=True),
        "clipping": Clipping(value=0.1, norm=0.2),
        "optimizer": "adam",
        "activation": "gelu",
    },
}


@pytest.fixture
def step(make_trainer: Any, make_problem: Any) -> Any:
    """Return a function: one step of gradient descent on one batch, with its settings."""

    def one_step(backend: str, **settings: Any) -> tuple[fastmlp.Trainer, np.ndarray, Any, Any]:
        trainer = make_trainer(
            backend, sizes=(4, 5, 6, 3), batch_size=20, optimizer=SGD(RATE), **settings
        )
        x, y = make_problem(n_rows=20)
        before = trainer.network.parameters.copy()
        # In the order that shuffling will give, so that row i of the batch is row i here.
        order = np.random.default_rng(5).permutation(20)
        trainer.fit(x, y)
        return trainer, before, x[order], y[order]

    return one_step


def gradient_of(trainer: fastmlp.Trainer, parameters: np.ndarray, x: Any, y: Any) -> np.ndarray:
    now = trainer.network.parameters.copy()
    trainer.network.parameters[...] = parameters
    found = trainer.gradients(x, y)
    trainer.network.parameters[...] = now
    pairs = zip(found.dw, found.db, strict=True)
    return np.concatenate([np.ravel(part) for pair in pairs for part in pair])


def weights_mask(trainer: fastmlp.Trainer) -> np.ndarray:
    mask = np.zeros(trainer.plan.n_parameters, bool)
    for layer in trainer.plan.layers:
        mask[layer.weights] = True
    return mask


# ---------------------------------------------------------------------------------------------
# The equations


def dropped_loss(
    trainer: fastmlp.Trainer, parameters: np.ndarray, x: np.ndarray, y: np.ndarray
) -> float:
    """Return the mean cross-entropy of the first step, its dropout included; by hand."""
    keys = dropout_keys(trainer.plan, trainer.dropout_seed, 0, 1)
    assert keys is not None
    a, plan = x, trainer.plan
    for layer in plan.layers:
        rate = plan.dropout[layer.index]
        kept = np.array(
            [
                [
                    formulas.dropout_bits(int(keys[0, layer.index]), row, unit) >= rate * 2.0**32
                    for unit in range(layer.fan_in)
                ]
                for row in range(len(x))
            ]
        )
        a = a * kept / (1.0 - rate)
        w = parameters[layer.weights].reshape(layer.fan_in, layer.fan_out)
        z = a @ w + parameters[layer.biases]
        a = np.tanh(z)
    log_p = z - np.log(np.exp(z).sum(axis=1, keepdims=True))
    return float(-log_p[np.arange(len(y)), y].mean())


@pytest.mark.parametrize("dropout", [0.4, Dropout(hidden=(0.0, 0.6), input=0.3)])
def test_a_step_with_dropout_follows_its_own_loss(
    dropout: Any, backend_name: str, step: Any
) -> None:
    trainer, before, x, y = step(backend_name, dropout=dropout)
    gradient = (before - trainer.network.parameters) / RATE
    trainer.n_steps = 0  # the keys of the step that was done
    assert trainer.history.loss[-1] == pytest.approx(dropped_loss(trainer, before, x, y), rel=1e-12)
    numeric = np.empty_like(before)
    for i in range(len(before)):
        moved = [before.copy(), before.copy()]
        moved[0][i] += 1e-5
        moved[1][i] -= 1e-5
        above, below = (dropped_loss(trainer, each, x, y) for each in moved)
        numeric[i] = (above - below) / 2e-5
    np.testing.assert_allclose(gradient, numeric, atol=1e-7 * np.abs(numeric).max() + 1e-9)


def test_penalties_are_of_the_weights_alone(backend_name: str, step: Any) -> None:
    trainer, before, x, y = step(backend_name, regularization=Regularization(l1=0.02, l2=0.3))
    gradient = gradient_of(trainer, before, x, y)
    penalty = np.where(weights_mask(trainer), 0.02 * np.sign(before) + 0.3 * before, 0.0)
    wanted = before - RATE * (gradient + penalty)
    np.testing.assert_allclose(trainer.network.parameters, wanted, rtol=1e-12, atol=1e-14)


def test_a_penalty_by_rows_is_scikit_learns_alpha(backend_name: str, step: Any) -> None:
    alpha = Regularization(l2=0.7, divided_by_rows=True)
    trainer, before, x, y = step(backend_name, regularization=alpha)
    gradient = gradient_of(trainer, before, x, y)
    penalty = np.where(weights_mask(trainer), 0.7 / 20 * before, 0.0)
    wanted = before - RATE * (gradient + penalty)
    np.testing.assert_allclose(trainer.network.parameters, wanted, rtol=1e-12, atol=1e-14)


def test_clipping_by_value(backend_name: str, step: Any) -> None:
    trainer, before, x, y = step(backend_name, clipping=Clipping(value=0.03))
    gradient = gradient_of(trainer, before, x, y)
    assert (np.abs(gradient) > 0.03).sum() > 5
    wanted = before - RATE * np.clip(gradient, -0.03, 0.03)
    np.testing.assert_allclose(trainer.network.parameters, wanted, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("norm", [0.05, 100.0])
def test_clipping_by_norm(norm: float, backend_name: str, step: Any) -> None:
    trainer, before, x, y = step(backend_name, clipping=Clipping(norm=norm))
    gradient = gradient_of(trainer, before, x, y)
    wanted = before - RATE * gradient * min(1.0, norm / np.linalg.norm(gradient))
    np.testing.assert_allclose(trainer.network.parameters, wanted, rtol=1e-12, atol=1e-14)


def test_max_norm_scales_what_leads_into_a_unit(backend_name: str, step: Any) -> None:
    limit = 0.9
    trainer, before, x, y = step(backend_name, regularization=Regularization(max_norm=limit))
    free = before - RATE * gradient_of(trainer, before, x, y)
    n_scaled = 0
    for layer in trainer.plan.layers:
        w = free[layer.weights].reshape(layer.fan_in, layer.fan_out)
        norms = np.linalg.norm(w, axis=0)
        n_scaled += int((norms > limit).sum())
        found = trainer.network.weights[layer.index]
        np.testing.assert_allclose(found, w * np.minimum(1.0, limit / norms), rtol=1e-12)
        np.testing.assert_allclose(trainer.network.biases[layer.index], free[layer.biases])
    assert 0 < n_scaled < 14


# ---------------------------------------------------------------------------------------------
# All backends do the same


@pytest.mark.parametrize("name", SETTINGS)
def test_an_epoch_is_the_references(
    name: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=50)
    parameters = []
    for backend in (backend_name, "python"):
        trainer = make_trainer(backend, sizes=(4, 37, 20, 3), batch_size=16, **SETTINGS[name])
        trainer.fit(x, y, epochs=2, sample_weight=np.linspace(0.5, 2.0, 50))
        parameters.append(trainer.network.parameters)
    np.testing.assert_allclose(*parameters, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_in_float32(
    name: str, backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=16)
    wanted = make_trainer("python", sizes=(4, 37, 20, 3), batch_size=16, **SETTINGS[name])
    wanted.network.parameters[...] = wanted.network.parameters.astype(np.float32)
    found = make_trainer(
        backend_name, sizes=(4, 37, 20, 3), batch_size=16, precision="float32", **SETTINGS[name]
    )
    found.network.parameters[...] = wanted.network.parameters
    for trainer in (found, wanted):
        trainer.fit(x.astype(np.float32), y)
    largest = np.abs(wanted.network.parameters).max()
    difference = np.abs(found.network.parameters - wanted.network.parameters).max()
    assert difference < 1e-5 * largest


@pytest.mark.parametrize("name", SETTINGS)
def test_the_number_of_threads_does_not_change_a_bit(
    name: str, compiled_or_numpy_name: str, make_trainer: Any, state_of: Any
) -> None:
    random = np.random.default_rng(6)
    x = random.normal(size=(300, 70)).astype(np.float32)
    y = random.integers(0, 10, 300)
    states = []
    for n_threads in (1, 2, 3):
        trainer = make_trainer(
            compiled_or_numpy_name,
            sizes=(70, 150, 130, 10),
            precision="float32",
            batch_size=100,
            n_threads=n_threads,
            **SETTINGS[name],
        )
        trainer.fit(x, y, epochs=2)
        states.append(state_of(trainer))
    assert states[0] == states[1] == states[2]


@pytest.mark.parametrize("name", ["dropout of inputs", "all"])
def test_training_goes_on_from_a_file(
    name: str,
    backend_name: str,
    make_trainer: Any,
    make_problem: Any,
    state_of: Any,
    tmp_path: Path,
) -> None:
    x, y = make_problem(n_rows=21)
    whole, first = (
        make_trainer(backend_name, sizes=(4, 7, 5, 3), **SETTINGS[name]) for _ in range(2)
    )
    whole.fit(x, y, epochs=4)
    first.fit(x, y, epochs=2)
    fastmlp.save(first, tmp_path / "trainer")
    second = fastmlp.load(tmp_path / "trainer", backend=backend_name)
    assert second.plan == first.plan
    assert (second.regularization, second.clipping) == (first.regularization, first.clipping)
    second.fit(x, y, epochs=2)
    assert state_of(second) == state_of(whole)


# ---------------------------------------------------------------------------------------------
# Dropout


def test_dropout_is_for_training_alone(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem()
    found, wanted = make_trainer(backend_name, dropout=0.5), make_trainer(backend_name)
    found.fit(x, y)
    wanted.network.parameters[...] = found.network.parameters
    assert np.array_equal(found.predict_proba(x), wanted.predict_proba(x))
    assert found.evaluate(x, y) == wanted.evaluate(x, y)
    assert found.gradients(x, y).loss == wanted.gradients(x, y).loss


def test_dropout_does_not_change_the_order_of_rows(make_trainer: Any, make_problem: Any) -> None:
    x, y = make_problem()
    with_dropout, without = make_trainer(dropout=0.5), make_trainer()
    for trainer in (with_dropout, without):
        trainer.fit(x, y)
    assert with_dropout.random.bit_generator.state == without.random.bit_generator.state


def test_seeds_draw_differently(make_trainer: Any, make_problem: Any) -> None:
    x, y = make_problem(n_rows=8)
    found = []
    for seed in (0, 0, 1):
        trainer = make_trainer(dropout=0.5, seed=3, batch_size=8)
        trainer.dropout_seed = seed
        trainer.fit(x, y)
        found.append(trainer.network.parameters.tobytes())
    assert found[0] == found[1] != found[2]


def test_draws_are_even_and_independent(make_trainer: Any) -> None:
    trainer = make_trainer(sizes=(64, 64, 3), dropout=Dropout(hidden=0.3, input=0.3))
    keys = dropout_keys(trainer.plan, trainer.dropout_seed, 0, 8).astype(
        np.uint64
    )  # (8 steps, 2 layers)
    rows, units = np.arange(64, dtype=np.uint64)[:, None], np.arange(64, dtype=np.uint64)
    bits = formulas.dropout_bits(keys[..., None, None], rows, units)
    kept = bits >= formulas.dropout_threshold(0.3)  # (8, 2, 64, 64)
    n = kept.size
    assert abs(kept.mean() - 0.7) < 4.0 * np.sqrt(0.21 / n)
    centred = kept - 0.7
    for axis in range(
        4
    ):  # neighbours along steps, layers, rows and units say nothing of each other
        pairs = centred * np.roll(centred, 1, axis=axis)
        assert abs(pairs.mean()) < 4.0 * 0.21 / np.sqrt(n)


@given(st.integers(0, 2**32 - 1))
def test_random_bits_of_numbers_and_arrays(counter: int) -> None:
    bits = formulas.random_bits(counter)
    assert 0 <= bits < 2**32
    array = formulas.random_bits(np.array([counter], np.uint64))
    assert array.tolist() == [bits]
    # Undone step by step, with the inverses of the two odd factors modulo 2**32.
    undone = bits ^ bits >> 16
    undone = undone * pow(0x846CA68B, -1, 2**32) % 2**32
    undone ^= undone >> 15 ^ undone >> 30
    undone = undone * pow(0x7FEB352D, -1, 2**32) % 2**32
    assert undone ^ undone >> 16 == counter


@pytest.mark.parametrize("rate", [0.0, 0.25, 0.999999999999])
def test_the_threshold_fits_32_bits(rate: float) -> None:
    threshold = formulas.dropout_threshold(rate)
    assert 0 <= threshold < 2**32 and threshold == pytest.approx(rate * 2**32, abs=1.0)


# ---------------------------------------------------------------------------------------------
# Arguments


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Dropout(hidden=1.0), ValueError, r"dropout.hidden must be .* \[0, 1\); got 1.0"),
        (lambda: Dropout(hidden=[0.1, -1]), ValueError, r"dropout.hidden\[1\] must be .*got -1"),
        (lambda: Dropout(input="a"), TypeError, "dropout.input must be .*got str"),
        (lambda: Regularization(l1=-1.0), ValueError, "regularization.l1 must be .*got -1"),
        (lambda: Regularization(l2=float("nan")), ValueError, "regularization.l2 must be .*nan"),
        (lambda: Regularization(max_norm=0), ValueError, "regularization.max_norm must be"),
        (lambda: Regularization(divided_by_rows=1), TypeError, "divided_by_rows must be True"),
        (lambda: Clipping(value=0.0), ValueError, "clipping.value must be"),
        (lambda: Clipping(norm="x"), TypeError, "clipping.norm must be"),
    ],
)
def test_bad_settings(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


@pytest.mark.parametrize(
    ("settings", "error", "text"),
    [
        ({"dropout": 1.5}, ValueError, r"dropout must be a finite number in \[0, 1\); got 1.5"),
        ({"dropout": "half"}, TypeError, "dropout must be"),
        ({"dropout": Dropout(hidden=(0.5, 0.5))}, ValueError, r"one per hidden layer \(1\); got 2"),
        ({"regularization": 0.1}, TypeError, "regularization must be a Regularization; got float"),
        ({"clipping": 1.0}, TypeError, "clipping must be a Clipping; got float"),
    ],
)
def test_bad_arguments_of_a_trainer(
    settings: dict[str, Any], error: type[Exception], text: str, make_trainer: Any
) -> None:
    with pytest.raises(error, match=text):
        make_trainer(**settings)


def test_a_network_without_hidden_layers(make_trainer: Any, make_problem: Any) -> None:
    trainer = make_trainer(sizes=(4, 3), dropout=Dropout(input=0.5))
    assert trainer.plan.dropout == (0.5,)
    trainer.fit(*make_problem())
