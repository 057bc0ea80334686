"""FASTMLP_FLOAT32_PRODUCTS: what it may be, and what the cython backend makes of it."""

from __future__ import annotations

import pickle
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp import Clipping, Dropout, Network, Regularization, Trainer, plan
from fastmlp.bound_engine import BoundEngine
from fastmlp.kernels.float32_products import (
    FLOAT32_PRODUCTS_VARIABLE,
    layers_for_tiles,
    requested_float32_products,
    tiles_may_be_for_bytes,
)
from fastmlp.rows import Rows

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
        ([784, 256, 256, 10], 128, "float32", [0, 1]),
        ([784, 256, 256, 10], 127, "float32", []),
        ([784, 512, 512, 10], 64, "float32", [0, 1]),
        ([784, 2048, 2048, 10], 63, "float32", []),
        ([784, 512, 512, 10], 128, "bfloat16", []),
        ([784, 512, 512, 10], 128, "float64", []),
        ([784, 512, 255, 10], 512, "float32", [0]),
        ([8, 600, 700, 256, 600, 1], 200, "float32", [1, 2, 3]),
    ],
)
def test_which_layers_tiles_are_for(
    sizes: list[int], batch_size: int, precision: str, wanted: list[int]
) -> None:
    network = Network(
        sizes, output="identity", dtype="float64" if precision == "float64" else "float32"
    )
    trainer = Trainer(network, batch_size=batch_size, precision=precision, backend="numpy")
    assert layers_for_tiles(trainer._plan) == wanted


@pytest.mark.parametrize(
    ("wanted", "batch_size", "of_network", "dropout"),
    [
        (True, 32, {}, 0.0),
        (False, 31, {}, 0.0),
        (False, 32, {"sizes": [784, 31, 10]}, 0.0),
        (True, 32, {"input_scale": 1 / 255}, 0.0),
        (True, 32, {}, Dropout(hidden=0.5)),
        (False, 32, {}, Dropout(hidden=0.0, input=0.1)),  # what is dropped are panels
        (False, 32, {"input_center": 0.5}, 0.0),
        (False, 32, {"input_scale": [1.0] * 783 + [2.0]}, 0.0),
        (False, 32, {"input_scale": 1e37}, 0.0),
        (False, 32, {"input_scale": 1e-30}, 0.0),
    ],
)
def test_whether_bytes_may_be_whole_numbers(
    wanted: bool, batch_size: int, of_network: dict[str, Any], dropout: Any
) -> None:
    network = Network(**{"sizes": [784, 32, 10], "seed": 0, **of_network})
    trainer = Trainer(network, batch_size=batch_size, dropout=dropout, backend="numpy")
    assert tiles_may_be_for_bytes(trainer._plan) == wanted


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
    "inputs without zeros": {"sizes": [300, 260, 3]},
    "bytes": {"bytes_lit": 0.5, "sizes": [300, 70, 3]},
    "bytes, adam": {"bytes_lit": 0.5, "sizes": [300, 70, 3], "optimizer": "adam"},
    "bytes, clipped by norm": {
        "bytes_lit": 0.5, "sizes": [300, 70, 3], "clipping": Clipping(norm=0.1),
    },
    "bytes, all layers": {"bytes_lit": 1.0, "sizes": [300, 260, 270, 3], "normalization": "batch"},
}  # fmt: skip


def leave_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the trainers that are made from now on do without tiles."""
    from fastmlp.kernels import cython_backend

    monkeypatch.setattr(cython_backend, "layers_for_tiles", lambda plan: [])
    monkeypatch.setattr(cython_backend, "tiles_may_be_for_bytes", lambda plan: False)


def bytes_of(shape: tuple[int, ...], lit: float) -> np.ndarray:
    """Return uint8 of which so many are not zero."""
    random = np.random.default_rng(0)
    values = random.integers(1, 256, shape, np.uint8)
    return np.where(random.random(shape) < lit, values, np.uint8(0))


def trained(settings: dict[str, Any], n_threads: int = 2) -> tuple[Trainer, np.ndarray]:
    """Return a trainer after some batches, the last of them smaller, and what it predicts."""
    random = np.random.default_rng(0)
    of_network = {"sizes": [40, 530, 520, 3], "normalization": None, "input_center": 0.0}
    settings = {**of_network, **settings}
    of_network = {name: settings.pop(name) for name in of_network}
    lit = settings.pop("bytes_lit", None)
    scale = 1.0 if lit is None else 1 / 255
    network = Network(seed=0, input_scale=scale, **of_network)
    x = random.normal(size=(300, network.sizes[0])).astype(np.float32)
    if lit is not None:
        x = bytes_of(x.shape, lit)
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
    assert " in training by amx, each number as three bfloat16" in by_tiles.backend_reason
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
@pytest.mark.parametrize(
    "name", ["sgd", "dropout", "clipped by norm", "bytes", "bytes, all layers"]
)
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


def parameters_after(network: dict[str, Any], *inputs: Any, reloads: bool = False) -> np.ndarray:
    """Return the parameters after an epoch on each of these inputs."""
    trainer = Trainer(
        Network(seed=0, **network), backend="cython", batch_size=128, n_threads=2, seed=1
    )
    for x in inputs:
        trainer.fit(x, np.arange(len(x)) % 3, epochs=1)
        if reloads:
            trainer = pickle.loads(pickle.dumps(trainer))
    return trainer.network.parameters


@needs_tiles
def test_the_first_layer_is_by_multiply_add_where_many_inputs_are_zero(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whether they are is seen in the array."""
    wide, narrow = {"sizes": [300, 260, 3]}, {"sizes": [300, 64, 3], "input_scale": 1 / 255}
    floats = bytes_of((400, 300), 1.0).astype(np.float32) / 255
    some = np.where(bytes_of(floats.shape, 0.3), floats, np.float32(0.0))
    cases = [
        (wide, floats, True),
        (wide, some, False),
        (narrow, bytes_of((400, 300), 0.2), True),
        (narrow, bytes_of((400, 300), 0.03), False),
        (narrow, floats, False),
    ]
    found = [parameters_after(network, x) for network, x, _ in cases]
    leave_tiles(monkeypatch)
    for parameters, (network, x, by_tiles) in zip(found, cases, strict=True):
        assert np.array_equal(parameters, parameters_after(network, x)) != by_tiles


@needs_tiles
def test_inputs_of_all_kinds_one_after_the_other() -> None:
    """What an epoch does depends on its inputs, not on those of the epoch before."""
    network = {"sizes": [300, 260, 260, 3], "input_scale": 1 / 255}
    dense = bytes_of((400, 300), 1.0)
    kinds = (dense, bytes_of((400, 300), 0.02), dense.astype(np.float32), dense, dense[:, ::-1])
    expected = parameters_after(network, *kinds, reloads=True)
    np.testing.assert_array_equal(parameters_after(network, *kinds), expected)


@needs_tiles
def test_where_bytes_lie_does_not_change_a_bit() -> None:
    network, x = {"sizes": [300, 64, 3], "input_scale": 1 / 255}, bytes_of((400, 300), 1.0)
    apart = np.repeat(x, 2, axis=1)[:, ::2]
    expected = parameters_after(network, x)
    for same in (apart, np.asfortranarray(x), x[:, ::-1].copy()[:, ::-1]):
        np.testing.assert_array_equal(parameters_after(network, same), expected)


@needs_tiles
@pytest.mark.parametrize("kind", ["floats", "bytes"])
def test_rows_made_dense_part_by_part_do_without_tiles(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How many batches an engine is called with depends on time, the bits must not."""
    x = bytes_of((700, 300), 0.45)
    network = {"sizes": [300, 260, 3], "input_scale": 1 / 255}
    if kind == "floats":
        x = x.astype(np.float32)

    class Stored(Rows):
        shape = x.shape

        def take(self, rows: Any) -> np.ndarray:
            return x[rows]

    found = []
    for batches in (1, 2, 5):
        monkeypatch.setattr(
            BoundEngine,
            "plan_next_call",
            lambda self, *_, n=batches: setattr(self, "batches_per_call", n),
        )
        found.append(parameters_after(network, Stored()))
    leave_tiles(monkeypatch)
    found.append(parameters_after(network, Stored()))
    for parameters in found[1:]:
        np.testing.assert_array_equal(parameters, found[0])
