"""A 784-128-10 network on the real MNIST: every fast backend learns it, and equally well."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

import fastmlp
from fastmlp.datasets import load_mnist

BACKENDS = ("cython", "numba", "numpy")

TRAIN = """
import json, sys
from fastmlp import SGD, Network, Trainer
from fastmlp.datasets import load_mnist
mnist = load_mnist({folder!r}, download=False)
network = Network([784, 128, 10], init="he", seed=0, input_scale=1 / 255)
trainer = Trainer(network, optimizer=SGD(0.1), batch_size=128, backend={backend!r}, seed=0)
test = (mnist.x_test, mnist.y_test)
trainer.fit(mnist.x_train, mnist.y_train, epochs=10, validation_data=test)
print(json.dumps(trainer.history.validation_score))
"""


@pytest.fixture(scope="module")
def accuracies(
    real_data: Path, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> dict[str, list[float]]:
    """The test accuracy after each of 10 epochs, per backend that is available."""
    try:
        load_mnist(real_data, download=False)
    except OSError:
        pytest.skip(f"no MNIST in {real_data}; set FASTMLP_DATA to the folder that has it")
    found = {}
    for info in fastmlp.backends():
        if info.name in BACKENDS and info.available:
            result = run_python(TRAIN.format(folder=str(real_data), backend=info.name))
            assert result.returncode == 0, result.stderr
            found[info.name] = json.loads(result.stdout)
    return found


@pytest.mark.parametrize("name", BACKENDS)
def test_accuracy(name: str, accuracies: dict[str, list[float]]) -> None:
    if name not in accuracies:
        pytest.skip(f"backend {name} is not available")
    assert accuracies[name][0] >= 0.915
    assert 0.967 <= accuracies[name][-1] < 0.99  # more would mean that test rows were trained on


def test_backends_agree(accuracies: dict[str, list[float]]) -> None:
    last = [scores[-1] for scores in accuracies.values()]
    assert max(last) - min(last) <= 0.003
