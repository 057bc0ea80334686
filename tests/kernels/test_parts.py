"""First layers that are summed in parts of their inputs: threads share them, and change no bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastmlp import SGD, Adam, Clipping, Dropout, Network, Trainer, plan

N_INPUTS = 300
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "one layer": {"sizes": (N_INPUTS, 70)},
    "three layers": {"sizes": (N_INPUTS, 40, 20, 3)},
    "batch normalization": {"normalization": "batch"},
    "layer normalization": {"normalization": "layer"},
    "a number per input": {
        "input_scale": np.linspace(0.5, 2.0, N_INPUTS),
        "input_center": np.linspace(-1.0, 1.0, N_INPUTS),
    },
    "dropout": {"dropout": Dropout(hidden=0.2, input=0.3)},
    "whole gradient": {"clipping": Clipping(norm=0.1)},
    "states": {"optimizer": Adam(learning_rate=0.01)},
}
OF_NETWORK = ("normalization", "input_scale", "input_center")


def train(
    backend: str, variant: str, x: np.ndarray, n_threads: int, precision: str = "float64"
) -> np.ndarray:
    """Return the parameters after an epoch whose last batch is a partial one."""
    settings = {"optimizer": SGD(learning_rate=0.05), **VARIANTS[variant]}
    sizes = settings.pop("sizes", (N_INPUTS, 40, 3))
    of_network = {name: settings.pop(name) for name in OF_NETWORK if name in settings}
    network = Network(
        sizes, activation="tanh", output="identity", dtype=precision, seed=0, **of_network
    )
    trainer = Trainer(
        network, backend=backend, precision=precision, n_threads=n_threads, loss="squared_error",
        batch_size=128, seed=0, **settings,
    )  # fmt: skip
    trainer.fit(x, np.random.default_rng(1).normal(size=(len(x), sizes[-1])), epochs=1)
    return network.parameters.copy()


def some_rows(kind: str) -> np.ndarray:
    random = np.random.default_rng(0)
    x = random.normal(size=(330, 2 * N_INPUTS))
    if kind == "uint8":
        return (2 * np.abs(x[:, :N_INPUTS])).astype(np.uint8)
    if kind == "every other column":
        return x[:, ::2]
    return x[:, :N_INPUTS].astype(kind)


@pytest.mark.parametrize("variant", VARIANTS)
def test_threads_change_no_bit(
    compiled_name: str, variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "available_cpus", lambda: 8)  # else no more threads than CPUs
    x = some_rows("float64")
    alone = train(compiled_name, variant, x, 1)
    for n_threads in (2, 3, 4, 6):  # six share the gathered rows, two and four do not
        assert np.array_equal(train(compiled_name, variant, x, n_threads), alone)
    wanted = train("numpy", variant, x, 1)
    assert np.abs(alone - wanted).max() < 1e-11 * np.abs(wanted).max()


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("kind", ["uint8", "float32", "float64", "every other column"])
def test_each_part_reads_its_own_columns(
    compiled_name: str, kind: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "available_cpus", lambda: 8)
    x, variant = some_rows(kind), "a number per input"
    alone = train(compiled_name, variant, x, 1, precision)
    assert np.array_equal(train(compiled_name, variant, x, 2, precision), alone)
    wanted = train("numpy", variant, x, 1, precision)
    limit = {"float32": 1e-4, "float64": 1e-11}[precision]
    assert np.abs(alone - wanted).max() < limit * np.abs(wanted).max()
