"""Inputs that are mostly zero: the compiled engines leave products out, to the same bits."""

from __future__ import annotations

import platform
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastmlp import SGD, Adam, Clipping, Dropout, Network, Regularization, Trainer, plan
from fastmlp.backend import get_backend
from fastmlp.kernels.bfloat16 import rounded_array

PATTERNS = (
    "none",
    "all",
    "scattered",
    "image",
    "one_hot",
    "columns",
    "one_value",
    "negative_zeros",
)


def with_zeros(pattern: str, rows: int, columns: int, precision: str) -> np.ndarray:
    """Return numbers (rows, columns), most of them zero in some way."""
    random = np.random.default_rng(rows * 1000 + columns)
    x = random.normal(size=(rows, columns)).astype(precision)
    places = np.arange(columns)
    if pattern == "all":
        x[:] = 0.0
    elif pattern == "scattered":
        x[random.random(x.shape) < 0.95] = 0.0
    elif pattern == "negative_zeros":
        x[random.random(x.shape) < 0.95] = -0.0
    elif pattern == "image":  # a blob that moves from row to row
        middle = random.integers(columns // 4, columns - columns // 4, size=(rows, 1))
        x[np.abs(places - middle) > columns / 40] = 0.0
    elif pattern == "one_hot":
        x[places != random.integers(columns, size=(rows, 1))] = 0.0
    elif pattern == "columns":
        x[:, places % 17 != 3] = 0.0
    elif pattern == "one_value":
        x[:] = 0.0
        x[rows // 2, columns // 2] = 1.5
    return x


def make(backend: str, sizes: Any, precision: str, **settings: Any) -> Trainer:
    network = Network(
        sizes, activation="tanh", output="identity", input_scale=1.0, seed=0,
        dtype="float32" if precision == "bfloat16" else precision,
    )  # fmt: skip
    of_trainer = {"loss": "squared_error", "batch_size": 64, "seed": 0, **settings}
    return Trainer(network, backend=backend, precision=precision, **of_trainer)


def check_bits(
    backend: str, pattern: str, rows: int, fan_in: int, fan_out: int, precision: str
) -> None:
    """Compare a layer's products with those of `matmul`, which knows nothing of zeros."""
    x = with_zeros(pattern, rows, fan_in, precision)
    trainer = make(backend, (fan_in, fan_out), precision)
    matmul = get_backend(backend).matmul
    wanted = matmul(x, trainer.network.weights[0])
    assert np.array_equal(trainer.predict(x).reshape(rows, -1), wanted)
    found = trainer.gradients(x, np.ones((rows, fan_out)))
    assert np.array_equal(found.z[0], wanted)
    assert np.array_equal(found.dw[0], matmul(x.T.copy(), found.dz[0]))


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    "shape",  # a row; weights that are copied; panels with a row of padding; blocks of the depth
    [(1, 784, 130), (9, 100, 40), (64, 784, 33), (256, 784, 40), (3, 6160, 70), (129, 300, 70)],
    ids=str,
)
def test_the_bits_are_those_of_all_products(
    compiled_name: str, shape: tuple[int, int, int], pattern: str, precision: str
) -> None:
    check_bits(compiled_name, pattern, *shape, precision)


@given(
    pattern=st.sampled_from(PATTERNS),
    rows=st.integers(1, 280),
    fan_in=st.integers(1, 300),
    fan_out=st.integers(1, 90),
    precision=st.sampled_from(["float32", "float64"]),
)
@settings(max_examples=40)
def test_the_bits_are_those_of_all_products_for_any_shape(
    compiled_name: str, pattern: str, rows: int, fan_in: int, fan_out: int, precision: str
) -> None:
    check_bits(compiled_name, pattern, rows, fan_in, fan_out, precision)


@pytest.mark.filterwarnings("ignore:the .* backend emulates bfloat16")
@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    "shape",  # blocks of the depth; odd numbers of panels; more rows than are rounded together
    [(1, 784, 130), (9, 101, 40), (64, 784, 33), (256, 784, 70), (129, 300, 20), (1100, 50, 90)],
    ids=str,
)
def test_the_bits_of_rounded_products_are_those_of_all(
    compiled_name: str, shape: tuple[int, int, int], pattern: str
) -> None:
    rows, fan_in, fan_out = shape
    x, y = with_zeros(pattern, rows, fan_in, "float32"), np.ones((rows, fan_out))
    plain = make(compiled_name, (fan_in, fan_out), "bfloat16")
    # Nothing is known of zeros in a second layer, whose inputs the first one hands on as they are.
    sizes = (fan_in, fan_in, fan_out)
    network = Network(sizes, activation="identity", output="identity", init="zeros")
    deep = Trainer(network, backend=compiled_name, precision="bfloat16", loss="squared_error")
    network.weights[0][...] = np.eye(fan_in)
    network.weights[1][...], network.biases[1][...] = plain.network.weights[0], 0.5
    plain.network.biases[0][...] = 0.5
    assert np.array_equal(plain.predict(x), deep.predict(x))
    found, wanted = plain.gradients(x, y), deep.gradients(x, y)
    assert np.array_equal(wanted.a[0], rounded_array(x))
    assert np.array_equal(found.z[0], wanted.z[1])
    assert np.array_equal(found.dw[0], wanted.dw[1])


# Whoever links -ffast-math lets the CPU take numbers below the normal ones for zero (DAZ and FTZ,
# bits 6 and 15 of MXCSR, here by way of the C library): a pair of bfloat16 may look like one.
DENORMALS_ARE_ZERO = """
import ctypes, numpy as np, warnings
from fastmlp import Network, Trainer
warnings.simplefilter("ignore")
x = np.random.default_rng(0).random((64, 784), np.float32)
x[:, 1::2], x[:, 200:600] = 0.0, 0.0
def products():
    network = Network((784, 40), output="identity", seed=0)
    trainer = Trainer(network, backend=BACKEND, precision="bfloat16", loss="squared_error")
    return trainer.predict(x), trainer.gradients(x, np.ones((64, 40))).dw[0]
before = products()
library, environment = ctypes.CDLL("libm.so.6"), (ctypes.c_uint32 * 8)()
assert library.fegetenv(environment) == 0
environment[7] |= 0x8040
assert library.fesetenv(environment) == 0
assert np.float32(1e-40) * np.float32(1.0) == 0.0
for found, wanted in zip(products(), before):
    assert np.array_equal(found, wanted)
print("the same")
"""


@pytest.mark.skipif(
    not (sys.platform == "linux" and platform.machine() == "x86_64"), reason="glibc's on x86-64"
)
def test_pairs_are_no_denormals(
    compiled_name: str, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = run_python(DENORMALS_ARE_ZERO.replace("BACKEND", repr(compiled_name)))
    assert result.stdout == "the same\n", result.stderr


@pytest.mark.filterwarnings("ignore:the .* backend emulates bfloat16")
@pytest.mark.parametrize("bias", [0.5, 1e-40])
def test_rows_that_are_equal_have_equal_outputs(
    compiled_name: str, bias: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whether a step is left out depends on the rows beside it, and they on the threads.
    monkeypatch.setattr(plan, "available_cpus", lambda: 8)
    x = np.abs(with_zeros("image", 160, 784, "float32"))
    x[3], x[80:] = 0.0, 0.0
    found = []
    for n_threads in (1, 2, 3):
        trainer = make(compiled_name, (784, 256), "bfloat16", n_threads=n_threads)
        trainer.network.biases[0][...] = bias
        found.append(trainer.predict(x))
        assert (found[-1][80:] == found[-1][3]).all()
    assert np.array_equal(found[0], found[1]) and np.array_equal(found[0], found[2])


def test_many_rows_at_once(compiled_name: str) -> None:
    # More than a list of rows has room for; only the first of them are mostly zero.
    x = np.concatenate([with_zeros("image", 6000, 40, "float32"), np.ones((500, 40), "float32")])
    trainer, matmul = make(compiled_name, (40, 33), "float32"), get_backend(compiled_name).matmul
    found = trainer.gradients(x, np.ones((len(x), 33)))
    assert np.array_equal(found.z[0], matmul(x, trainer.network.weights[0]))
    exact = x.T.astype(np.float64) @ found.dz[0].astype(np.float64)
    assert np.abs(found.dw[0] - exact).max() < 1e-5 * np.abs(exact).max()


STEPS: dict[str, dict[str, Any]] = {
    "sgd": {"optimizer": SGD(learning_rate=0.05)},
    "momentum": {"optimizer": SGD(learning_rate=0.05, momentum=0.9)},
    "adam": {"optimizer": Adam(learning_rate=0.01)},
    "l2": {"optimizer": SGD(learning_rate=0.05), "regularization": Regularization(l2=0.01)},
    "clipped": {"optimizer": SGD(learning_rate=0.05), "clipping": Clipping(norm=0.1)},
    "dropout": {"optimizer": SGD(learning_rate=0.05), "dropout": Dropout(hidden=0.0, input=0.3)},
}


@pytest.mark.filterwarnings("ignore:the .* backend emulates bfloat16")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("hidden", [24, 200])  # its rows, or its outputs, are split
def test_threads_change_no_bit(
    compiled_name: str, hidden: int, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "available_cpus", lambda: 8)  # else no more threads than CPUs
    # Beyond four threads the gathered rows and what is known of their zeros are shared.
    x = np.abs(2 * with_zeros("image", 256, 784, "float32")).astype(np.uint8)
    y = np.random.default_rng(1).normal(size=(256, 10))
    found = []
    for n_threads in (1, 2, 3, 4, 5, 6, 7, 8):
        trainer = make(
            compiled_name, (784, hidden, 10), precision, batch_size=128, n_threads=n_threads,
            optimizer=SGD(learning_rate=0.01),
        )  # fmt: skip
        before = trainer.network.parameters.copy()
        trainer.fit(x, y, epochs=1)
        found.append(trainer.network.parameters.copy())
    assert (found[0] != before).mean() > 0.5
    for other in found[1:]:
        assert np.array_equal(other, found[0])


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("name", STEPS)
def test_training_is_that_of_the_reference(compiled_name: str, name: str, n_threads: int) -> None:
    # Weights of inputs that are always zero stay as they are, or not, by the optimizer.
    x, y = with_zeros("image", 100, 120, "float64"), np.random.default_rng(1).normal(size=(100, 3))
    trainers = [
        make(backend, (120, 37, 3), "float64", batch_size=32, n_threads=n, **STEPS[name])
        for backend, n in (("numpy", 1), (compiled_name, n_threads))
    ]
    for trainer in trainers:
        trainer.fit(x, y, epochs=2)
    wanted, found = (trainer.network.parameters for trainer in trainers)
    assert np.abs(found - wanted).max() < 1e-11 * np.abs(wanted).max()
