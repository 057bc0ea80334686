"""How rows of any kind reach the engine, and what it is bound to."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmlp import Callback, Network, Trainer

# ---------------------------------------------------------------------------------------------
# Learning


def test_two_trainers_of_one_network_need_one_precision(
    make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem()
    first = make_trainer(precision="float32")
    same = Trainer(first.network, backend="numpy", seed=0)
    first.fit(x, y)
    assert np.array_equal(first.predict(x), same.predict(x))
    Trainer(first.network, precision="float64", backend="numpy", seed=0)
    with pytest.raises(ValueError, match=r"must be float32 for this Trainer; .* made them float64"):
        first.fit(x, y)


def test_inputs_are_not_changed_and_may_be_read_only(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem()
    weights = np.linspace(0.5, 2.0, len(x))
    copies = x.copy(), y.copy(), weights.copy()
    for array in (x, y, weights):
        array.flags.writeable = False
    trainer = make_trainer(backend_name, input_scale=0.5)
    trainer.fit(x, y, sample_weight=weights)
    trainer.predict(x)
    trainer.evaluate(x, y, weights)
    trainer.gradients(x, y, weights)
    for array, copy in zip((x, y, weights), copies, strict=True):
        assert np.array_equal(array, copy)


def test_inputs_count_as_they_are_once_scaled(backend_name: str) -> None:
    network = Network([2, 2], input_center=[0.0, 1e300], input_scale=[1e-308, 1.0], dtype="float64")
    trainer = Trainer(network, backend=backend_name, precision="float64")
    wide = np.array([[1e308, 1e300], [-1e308, 1e300]])
    trainer.fit(wide, [0, 1])
    assert np.isfinite(trainer.predict_proba(wide)).all()
    # The same in float32, which none of the numbers but the scaled ones fits.
    network = Network([2, 2], input_scale=1e-60)
    trainer = Trainer(network, backend=backend_name)
    trainer.fit([[1e60, 1.0]], [0])
    assert np.isfinite(trainer.predict_proba([[1e60, 1.0]])).all()
    for use in (lambda x: trainer.fit(x, [0]), trainer.predict_proba):
        with pytest.raises(
            ValueError, match=r"X must hold numbers up to .*got 1e\+99 at X\[0, 1\]"
        ):
            use([[1e60, 1e99]])


def test_numbers_to_scale_by_must_fit_the_precision() -> None:
    network = Network([2, 2], input_center=[0.0, 1e300])
    with pytest.raises(ValueError, match=r"input_center must hold numbers that fit.*float64"):
        Trainer(network)


@pytest.mark.parametrize("dtype", ["uint8", "float32", "float64"])
def test_inputs_are_not_copied_whole(
    dtype: str, compiled_or_numpy_name: str, tmp_path: Path
) -> None:
    rows, width = 20_000, 400
    x = np.memmap(tmp_path / "x.bin", dtype, "w+", shape=(rows, width))
    x[::7] = 1
    y = np.arange(rows) % 2
    network = Network([width, 4, 2], seed=0)
    trainer = Trainer(network, batch_size=256, backend=compiled_or_numpy_name, seed=0)
    trainer.fit(x[:512], y[:512])  # compiled, buffers made
    tracemalloc.start()
    try:
        trainer.fit(x, y, validation_data=(x, y))
        trainer.predict(x)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < rows * width / 2  # bytes: half of the smallest, as uint8


def test_one_trainer_in_many_python_threads(backend_name: str, make_trainer: Any) -> None:
    from concurrent.futures import ThreadPoolExecutor

    trainer = make_trainer(backend_name, (16, 32, 5))
    x = np.random.default_rng(0).random((40 if backend_name == "python" else 700, 16))
    sizes = [len(x) // part for part in (1, 2, 3, 5)] * 4
    expected = {size: trainer.predict_proba(x[:size]) for size in sizes}
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(lambda size: trainer.predict_proba(x[:size]), sizes))
    for size, each in zip(sizes, found, strict=True):
        np.testing.assert_array_equal(each, expected[size])


@pytest.mark.parametrize("name", ["network", "plan", "optimizer_state"])
def test_what_the_engine_is_bound_to_cannot_be_replaced(make_trainer: Any, name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(make_trainer(), name, None)


def test_parameters_set_between_and_within_calls_count(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem()
    trainer = make_trainer(backend_name)
    trainer.fit(x, y)
    start = np.linspace(-1, 1, trainer.network.n_parameters)

    class Reset(Callback):
        def on_epoch_end(self, trainer: Trainer) -> None:
            trainer.network.parameters = start

    trainer.fit(x, y, callbacks=[Reset()])
    np.testing.assert_allclose(trainer.network.parameters, start, rtol=1e-6)
    trainer.network.weights[0][...] = 0.0
    assert not np.array_equal(trainer.predict_proba(x), np.zeros(0))
    assert np.ptp(trainer.predict_proba(x), axis=0).max() == 0.0  # the input no longer matters


def test_values_beyond_the_precision_are_refused(make_trainer: Any) -> None:
    x = np.full((5, 4), 1e300)
    with pytest.raises(ValueError, match=r"numbers up to 3.4e\+38 only; got 1e\+300 at X\[0, 0\]"):
        make_trainer(precision="float32").predict_proba(x)
    assert np.isfinite(make_trainer(precision="float64").predict_proba(x / 1e290)).all()


def test_masked_values_are_refused(make_trainer: Any) -> None:
    x = np.ma.masked_array(np.ones((5, 4)), mask=np.eye(5, 4, dtype=bool))
    with pytest.raises(TypeError, match=r"X must not have masked values.*X.filled"):
        make_trainer().predict(x)


def test_prediction_in_parts_is_prediction_at_once(
    compiled_or_numpy_name: str, make_trainer: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(0).random((500, 4))
    y = np.arange(500) % 3
    whole = make_trainer(compiled_or_numpy_name)
    parts = make_trainer(compiled_or_numpy_name)
    monkeypatch.setattr(parts._bound, "_rows_per_call", 128)
    np.testing.assert_allclose(parts.predict_proba(x), whole.predict_proba(x), rtol=1e-6)
    assert parts.evaluate(x, y).loss == pytest.approx(whole.evaluate(x, y).loss, rel=1e-6)


def test_calls_last_a_tenth_of_a_second_or_a_few_batches(make_trainer: Any) -> None:
    bound = make_trainer("numpy")._bound
    for n_batches, seconds, wanted in (
        (100, 0.1, 100),
        (100, 0.2, 50),
        (100, 0.001, 800),  # no more than eight times as many
        (1, 0.05, 4),
        (1, 0.06, 3),  # packing the weights is less of it then
        (1, 0.15, 1),  # but Ctrl-C waits no longer than 0.2 s
        (2, 3.0, 1),
        (3, 0.0, 24),
    ):
        bound.plan_next_call(n_batches, seconds)
        assert bound.batches_per_call == wanted
