"""FASTMLP_FLOAT32_PRODUCTS: what it may be, and what the cython backend makes of it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp import Clipping, Network, Regularization, Trainer, plan
from fastmlp.kernels.float32_products import (
    FLOAT32_PRODUCTS_VARIABLE,
    layers_for_tiles,
    requested_float32_products,
)

RunPython = Callable[..., subprocess.CompletedProcess[str]]
INFO = {info.name: info for info in fastmlp.backends()}["cython"]
REASON = (
    "import fastmlp; fastmlp.backends(); "
    "print(fastmlp.Trainer(fastmlp.Network([2, 2]), backend='cython').backend_reason)"
)
asks_a_process = pytest.mark.skipif(not INFO.available, reason=INFO.reason)


def test_what_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(FLOAT32_PRODUCTS_VARIABLE, raising=False)
    assert requested_float32_products() == "auto"
    for value, wanted in (("  ", "auto"), (" FMA ", "fma"), ("Amx", "amx")):
        monkeypatch.setenv(FLOAT32_PRODUCTS_VARIABLE, value)
        assert requested_float32_products() == wanted


def test_what_it_may_not_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FLOAT32_PRODUCTS_VARIABLE, "tf32")
    with pytest.raises(
        ValueError, match=r"FLOAT32_PRODUCTS must be one of auto, fma, amx; got 'tf32'"
    ):
        requested_float32_products()


@asks_a_process
def test_the_reason_says_what_multiplies(run_python: RunPython) -> None:
    """Below the cap of AMX there are no tiles; without a cap there may be."""

    def reason(asked_for: str, cap: str) -> str:
        return run_python(REASON, isa_cap=cap, FASTMLP_FLOAT32_PRODUCTS=asked_for).stdout

    assert reason("fma", "avx2") == reason("", "avx2") == "cython: asked for by name\n"
    assert reason("", "") == "cython: asked for by name\n"  # a small network has no use for them
    capped = reason("amx", "avx2")
    assert "; products of float32 by " in capped
    assert ", not AMX: this CPU has none, FASTMLP_MAX_ISA leaves it out" in capped
    used = "; products of float32 by amx, each number as three bfloat16\n"
    best = reason("amx", "")
    assert best.endswith(used) or ", not AMX: " in best


@asks_a_process
def test_an_unknown_value_is_why_the_backend_is_missing(run_python: RunPython) -> None:
    result = run_python(REASON, FASTMLP_FLOAT32_PRODUCTS="tf32")
    assert result.returncode != 0
    assert "FASTMLP_FLOAT32_PRODUCTS must be one of auto, fma, amx; got 'tf32'" in result.stderr


@pytest.mark.filterwarnings("ignore:the numpy backend emulates bfloat16")
@pytest.mark.parametrize(
    ("sizes", "batch_size", "precision", "wanted"),
    [
        ([784, 512, 512, 10], 128, "float32", [1]),
        ([784, 512, 512, 10], 127, "float32", []),
        ([784, 512, 512, 10], 128, "bfloat16", []),
        ([784, 512, 512, 10], 128, "float64", []),
        ([784, 512, 511, 10], 128, "float32", []),
        ([784, 1024], 512, "float32", []),  # of the inputs there may be many zeros
        ([8, 600, 700, 512, 600, 1], 200, "float32", [1, 2, 3]),
        ([8, 2048, 2048, 2048, 512], 512, "float32", [1]),  # of more the copies are too large
        ([8, 4096, 4096, 1024, 1024], 512, "float32", [2]),
    ],
)
def test_which_layers_tiles_are_for(
    sizes: list[int], batch_size: int, precision: str, wanted: list[int]
) -> None:
    network = Network(
        sizes, output="identity", dtype="float64" if precision == "float64" else "float32"
    )
    trainer = Trainer(network, batch_size=batch_size, precision=precision, backend="numpy")
    found = layers_for_tiles(trainer._plan)
    assert found == wanted
    assert sum(sizes[i] * sizes[i + 1] for i in found) <= 2048 * 2048


def test_where_a_center_is_taken_off_the_inputs_no_zeros_are_left() -> None:
    for center, wanted in ((0.0, [1]), (0.5, [0, 1]), ([0.0] * 599 + [1.0], [0, 1])):
        network = Network([600, 700, 512, 10], input_center=center, seed=0)
        trainer = Trainer(network, batch_size=128, backend="numpy")
        assert layers_for_tiles(trainer._plan) == wanted


needs_tiles = pytest.mark.skipif(
    "amx" not in INFO.float32_products, reason="float32 has no tiles of AMX here"
)
SETTINGS: dict[str, dict[str, Any]] = {
    "sgd": {},
    "adam": {"optimizer": "adam"},
    "muon": {"optimizer": "muon"},
    "dropout": {"dropout": 0.3},
    "clipped by norm": {"clipping": Clipping(norm=0.1)},
    "max norm": {"regularization": Regularization(max_norm=1.0)},
    "l2": {"regularization": Regularization(l2=0.01)},
    "batches normalised": {"normalization": "batch"},
    "rows normalised": {"normalization": "layer"},
    "inputs with a center": {"input_center": 0.25, "sizes": [530, 520, 3]},
}


def leave_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the trainers that are made from now on do without tiles."""
    from fastmlp.kernels import cython_backend

    monkeypatch.setattr(cython_backend, "layers_for_tiles", lambda plan: [])


def trained(settings: dict[str, Any], n_threads: int = 2) -> tuple[Trainer, np.ndarray]:
    """Return a trainer after some batches, the last of them smaller, and what it predicts."""
    random = np.random.default_rng(0)
    of_network = {"sizes": [40, 530, 520, 3], "normalization": None, "input_center": 0.0}
    settings = {**of_network, **settings}
    of_network = {name: settings.pop(name) for name in of_network}
    network = Network(seed=0, **of_network)
    x = random.normal(size=(300, network.sizes[0])).astype(np.float32)
    trainer = Trainer(
        network, backend="cython", batch_size=128, n_threads=n_threads, seed=1, **settings
    )
    trainer.fit(x, random.integers(0, 3, 300), epochs=2)
    return trainer, trainer.predict_proba(x)


@needs_tiles
@pytest.mark.parametrize("name", SETTINGS)
def test_training_by_tiles_is_as_by_multiply_add(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    by_tiles, predicted = trained(SETTINGS[name])
    layer = 1 if "sizes" in SETTINGS[name] else 2
    assert f"those of layer {layer} in training by amx" in by_tiles.backend_reason
    leave_tiles(monkeypatch)
    by_multiply_add, wanted = trained(SETTINGS[name])
    assert "amx" not in by_multiply_add.backend_reason
    ours, theirs = by_tiles.network.parameters, by_multiply_add.network.parameters
    assert not np.array_equal(ours, theirs)  # else no tiles were used
    # In adam and muon small gradients make steps as large as others.
    bound = 1e-3 if name in ("adam", "muon") else 2e-5
    np.testing.assert_allclose(ours, theirs, rtol=0.0, atol=bound)
    np.testing.assert_allclose(predicted, wanted, rtol=0.0, atol=1e-4)


@needs_tiles
def test_gradients_by_tiles_are_as_exact_as_those_by_multiply_add(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=(200, 40)).astype(np.float32), random.integers(0, 3, 200)
    network, wide = (Network([40, 530, 520, 3], seed=0, dtype=f"float{n}") for n in (32, 64))
    wide.parameters[...] = network.parameters
    exact = Trainer(wide, precision="float64", backend="numpy").gradients(x, y)
    found = [Trainer(network, backend="cython", batch_size=200).gradients(x, y)]
    leave_tiles(monkeypatch)
    found.append(Trainer(network, backend="cython", batch_size=200).gradients(x, y))
    errors = [
        [np.abs(each.dw[layer] - exact.dw[layer]).mean() for each in found] for layer in range(3)
    ]
    by_tiles, by_multiply_add = errors[1]
    assert by_tiles != by_multiply_add and by_tiles < 1e-9
    assert all(ours <= 1.2 * theirs for ours, theirs in errors)


@asks_a_process
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_thread_may_have_a_small_stack(precision: str, run_python: RunPython) -> None:
    code = f"""
import threading, warnings, numpy as np, fastmlp
warnings.simplefilter("ignore")
def train():
    x = np.random.default_rng(0).normal(size=(300, 40)).astype(np.float32)
    network = fastmlp.Network([40, 530, 520, 3], seed=0)
    trainer = fastmlp.Trainer(
        network, backend="cython", precision={precision!r}, batch_size=150, n_threads=1)
    print(trainer.fit(x, np.arange(300) % 3).stop_reason)
threading.stack_size(512 << 10)
thread = threading.Thread(target=train)
thread.start()
thread.join()
"""
    assert run_python(code).stdout == "epochs done\n"


@needs_tiles
@pytest.mark.parametrize("name", ["sgd", "dropout", "clipped by norm"])
def test_bits_of_tiles_do_not_depend_on_the_number_of_threads(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "available_cpus", lambda: 8)
    alone, predicted = trained(SETTINGS[name], 1)
    for n_threads in (2, 3, 7):
        found, others = trained(SETTINGS[name], n_threads)
        np.testing.assert_array_equal(found.network.parameters, alone.network.parameters)
        np.testing.assert_array_equal(others, predicted)


@needs_tiles
def test_predictions_do_without_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a single row or of many they are the same, in the time of multiply-add."""
    trainer, _ = trained({})
    x = np.random.default_rng(1).normal(size=(300, 40)).astype(np.float32)
    many = trainer.predict_proba(x)
    few = np.concatenate([trainer.predict_proba(x[i : i + 1]) for i in range(300)])
    np.testing.assert_array_equal(few, many)
    leave_tiles(monkeypatch)
    plain = Trainer(trainer.network, backend="cython", batch_size=128, n_threads=2)
    np.testing.assert_array_equal(plain.predict_proba(x), many)
