"""What the experiments on images rest on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastmlp import Network, Trainer
from fastmlp.benchmarks.drawbacks.image_data import (
    centred_digits,
    coloured_digits,
    photographs,
    varied_digits,
)
from fastmlp.benchmarks.drawbacks.image_experiments import flat, moved_copies, partial_permutation
from fastmlp.benchmarks.drawbacks.perceptron import accuracy, train_perceptron
from fastmlp.benchmarks.drawbacks.transforms import translate


def test_permuted_pixels_and_weights_permuted_alike_train_alike() -> None:
    # The claim behind the experiment, exactly: only the order of a sum differs, and of whole
    # numbers a sum is exact in any order.
    random = np.random.default_rng(0)
    x = random.integers(0, 4, (64, 30)).astype(np.float64)
    y = random.integers(0, 3, 64)
    order = random.permutation(30)
    plain, permuted = (
        Network([30, 3], output="identity", dtype="float64", init="zeros") for _ in range(2)
    )
    start = random.integers(-3, 4, (30, 3))
    plain.weights[0][...] = start
    permuted.weights[0][...] = start[order]
    targets = np.eye(3)[y]
    for network, rows in ((plain, x), (permuted, x[:, order])):
        trainer = Trainer(
            network, optimizer="sgd", batch_size=16, backend="numpy", precision="float64", seed=0
        )
        # A step that is a power of two keeps whole numbers whole (in units of 2**-k).
        trainer.optimizer = type(trainer.optimizer)(2.0**-8)
        trainer.fit(rows, targets, epochs=1)
    np.testing.assert_array_equal(plain.weights[0][order], permuted.weights[0])
    np.testing.assert_array_equal(plain.biases[0], permuted.biases[0])
    assert (plain.weights[0] != start).any()


def test_a_hidden_layer_does_not_mind_a_permutation_either(compiled_or_numpy_name: str) -> None:
    x, y = varied_digits(200, 0)
    rows = x.reshape(200, -1).astype(np.float64)
    order = partial_permutation(784, 1.0, seed=3)
    plain, permuted = (Network([784, 12, 10], seed=1, dtype="float64") for _ in range(2))
    permuted.weights[0][...] = plain.weights[0][order]
    for network, each in ((plain, rows), (permuted, rows[:, order])):
        Trainer(
            network, batch_size=20, backend=compiled_or_numpy_name, precision="float64", seed=0
        ).fit(each, y, epochs=2)
    np.testing.assert_allclose(plain.weights[0][order], permuted.weights[0], atol=1e-9)
    np.testing.assert_allclose(plain.weights[1], permuted.weights[1], atol=1e-9)


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_partial_permutation(share: float) -> None:
    order = partial_permutation(784, share, seed=0)
    np.testing.assert_array_equal(np.sort(order), np.arange(784))
    assert (order != np.arange(784)).sum() == round(784 * share)


def test_centred_digits_stay_almost_inside_when_moved_by_8() -> None:
    x, _ = centred_digits(200, 0)
    assert x.shape == (200, 28, 28)
    ink = np.where(x > 0.35, x, 0)
    for down, right in ((8, 0), (-8, 0), (0, 8), (0, -8)):
        assert translate(ink, down, right).sum() > 0.96 * ink.sum()


def test_moved_copies() -> None:
    x, y = centred_digits(40, 0)
    moved, labels = moved_copies(x, y, seed=0)
    np.testing.assert_array_equal(labels[:40], y)
    assert len(moved) == len(labels) > 40
    # Moved, not changed: every copy's brightness is the original's (but what left the image).
    assert (moved != np.tile(x, (len(moved) // 40, 1, 1))).any()
    assert np.median(moved.sum(axis=(1, 2)) / np.tile(x.sum(axis=(1, 2)), len(moved) // 40)) > 0.97


def test_photographs_fall_back_to_coloured_digits(tmp_path: Path) -> None:
    data, reason = photographs(30, 20, tmp_path)
    assert data.title == "coloured digits"
    assert "drawn by a program" in data.note
    assert reason.startswith("CIFAR-10 was not found; set FASTMLP_DATA")
    assert data.x_train.shape == (30, 32, 32, 3)
    assert data.x_test.shape == (20, 32, 32, 3)


def test_damaged_photographs_are_said_to_be_damaged(tmp_path: Path) -> None:
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(b"no images")
    data, reason = photographs(30, 20, tmp_path)
    assert data.title == "coloured digits"
    assert "9 bytes; expected one or more whole rows" in reason


def test_photographs_are_cifar10_if_there(tmp_path: Path) -> None:
    rows = np.zeros((3, 3073), np.uint8)
    rows[:, 0] = [7, 1, 2]
    rows[:, 1:1025] = 255  # the red plane
    for name in ("data_batch_1.bin", "test_batch.bin"):
        (tmp_path / name).write_bytes(rows.tobytes())
    data, reason = photographs(2, 3, tmp_path)
    assert (data.title, reason) == ("CIFAR-10", "")
    assert data.x_train.shape == (2, 32, 32, 3)
    np.testing.assert_array_equal(data.y_test, [7, 1, 2])
    np.testing.assert_array_equal(data.x_train[0, 5, 6], [0.5, -0.5, -0.5])


def test_coloured_digits() -> None:
    x, y = coloured_digits(50, 0)
    assert (x.shape, x.dtype, y.shape) == ((50, 32, 32, 3), np.float32, (50,))
    assert -0.5 <= x.min() < x.max() <= 0.5


def test_the_perceptron_is_trained_for_long_enough_to_know_coloured_digits(tmp_path: Path) -> None:
    data, _ = photographs(1000, 600, tmp_path)
    trainer = train_perceptron(
        flat(data.x_train), data.y_train, hidden=20, n_outputs=10, output="softmax",
        epochs=data.perceptron_epochs, seed=0,
    )  # fmt: skip
    assert accuracy(trainer, flat(data.x_train), data.y_train) > 0.8
    assert accuracy(trainer, flat(data.x_test), data.y_test) > 0.2
