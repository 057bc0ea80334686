"""synthetic_digits: the same for a seed whatever else is asked, and hard in the right way."""

from __future__ import annotations

import hashlib
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastmlp import Network, Trainer
from fastmlp.datasets import load_digits, synthetic_digits
from fastmlp.datasets.digits import CHUNK

# SHA-256 of 300 images and labels with seed 7.
GOLDEN = "65fe2750992b89f6cec44dd3eecfa66f0c391aae7919e03e1a4eda4fa2a7703e"


def test_shapes_and_dtypes() -> None:
    x, y = synthetic_digits(30, size=9)
    assert (x.shape, x.dtype) == ((30, 81), np.uint8)
    assert (y.shape, y.dtype) == ((30,), np.int64)
    x, y = synthetic_digits(0)
    assert x.shape == (0, 784)
    assert y.shape == (0,)


@pytest.mark.parametrize("n", [1, 255, CHUNK, CHUNK + 1, 2 * CHUNK - 1])
@pytest.mark.parametrize("size", [8, 28])
def test_first_images_do_not_depend_on_n(n: int, size: int) -> None:
    many_x, many_y = synthetic_digits(2 * CHUNK + 10, size, seed=3)
    x, y = synthetic_digits(n, size, seed=3)
    np.testing.assert_array_equal(x, many_x[:n])
    np.testing.assert_array_equal(y, many_y[:n])


def test_large_images_are_prefix_stable_too() -> None:
    # More pixels than one block: images are drawn one at a time.
    many_x, _ = synthetic_digits(3, size=300)
    x, _ = synthetic_digits(2, size=300)
    np.testing.assert_array_equal(x, many_x[:2])


def test_seed_decides() -> None:
    x, y = synthetic_digits(100, seed=1)
    again_x, again_y = synthetic_digits(100, seed=1)
    other_x, other_y = synthetic_digits(100, seed=2)
    np.testing.assert_array_equal(x, again_x)
    np.testing.assert_array_equal(y, again_y)
    assert (x != other_x).any()
    assert (y != other_y).any()
    assert len(np.unique(x, axis=0)) == 100


def test_same_bits_everywhere() -> None:
    # Written down on Linux x86-64 with NumPy 2.4; the docstring promises it for every platform.
    x, y = synthetic_digits(300, seed=7)
    assert hashlib.sha256(x.tobytes() + y.astype("<i8").tobytes()).hexdigest() == GOLDEN


def test_all_digits_with_ink_inside() -> None:
    x, y = synthetic_digits(2000)
    counts = np.bincount(y, minlength=10)
    assert counts.min() > 140
    assert counts.max() < 260
    images = x.reshape(-1, 28, 28)
    assert (images.max(axis=(1, 2)) > 120).all()  # every image shows something
    border = np.concatenate([images[:, 0], images[:, -1], images[:, :, 0], images[:, :, -1]])
    assert border.mean() < 12  # and hardly any of it is cut off
    assert 20 < x.mean() < 60


def nearest_mean_accuracy(
    x: NDArray[np.float32], y: NDArray[np.int64], x_new: NDArray[np.float32], y_new: Any
) -> float:
    means = np.stack([x[y == digit].mean(axis=0) for digit in range(10)])
    scores = x_new @ means.T - 0.5 * (means * means).sum(axis=1)
    return float((scores.argmax(axis=1) == y_new).mean())


def test_a_hidden_layer_beats_a_linear_model() -> None:
    digits = load_digits()
    accuracies = []
    for sizes, optimizer in (([784, 10], "sgd"), ([784, 128, 10], "adam")):
        network = Network(sizes, seed=0, input_scale=1 / 255)
        trainer = Trainer(network, optimizer=optimizer, batch_size=64, seed=0)
        trainer.fit(digits.x_train, digits.y_train, epochs=8)
        accuracies.append(trainer.evaluate(digits.x_test, digits.y_test).score)
    linear, hidden = accuracies
    assert 0.95 < hidden < 0.99
    assert linear < hidden - 0.05


def test_classes_look_different() -> None:
    x, y = synthetic_digits(2000, size=14)
    pixels = x.astype(np.float32) / 255
    accuracy = nearest_mean_accuracy(pixels[:1500], y[:1500], pixels[1500:], y[1500:])
    assert 0.4 < accuracy < 0.9


def test_load_digits_splits() -> None:
    digits = load_digits(n_train=50, n_test=40, size=10, seed=4)
    assert digits.name == "digits"
    assert digits.n_classes == 10
    assert digits.image_shape == (10, 10)
    assert digits.x_train.shape == (50, 100)
    assert digits.x_test.shape == (40, 100)
    np.testing.assert_array_equal(digits.x_train, synthetic_digits(50, 10, 4)[0])
    more = load_digits(n_train=60, n_test=40, size=10, seed=4)
    np.testing.assert_array_equal(digits.x_test, more.x_test)
    assert not (digits.x_train[:40] == digits.x_test).all(axis=1).any()


def ink_boxes(x: NDArray[np.uint8], size: int) -> NDArray[np.float64]:
    """Return (top + bottom, left + right, height) of each image's ink, in pixels."""
    ink = x.reshape(-1, size, size) > 80
    rows, columns = ink.any(axis=2), ink.any(axis=1)
    top, left = rows.argmax(axis=1), columns.argmax(axis=1)
    bottom = size - rows[:, ::-1].argmax(axis=1)
    right = size - columns[:, ::-1].argmax(axis=1)
    return np.stack([top + bottom, left + right, bottom - top], axis=1).astype(np.float64)


def test_without_distortion_digits_are_centred_and_of_one_height() -> None:
    centred = ink_boxes(synthetic_digits(600, 40, distortion=0.0)[0], 40)
    usual = ink_boxes(synthetic_digits(600, 40)[0], 40)
    assert np.abs(centred.mean(axis=0)[:2] - 40).max() < 1.5
    # What is left comes from the hand and the pen.
    assert (centred.std(axis=0) < 0.75 * usual.std(axis=0)).all()
    half = ink_boxes(synthetic_digits(600, 40, distortion=0.5)[0], 40)
    assert (centred.std(axis=0) < half.std(axis=0)).all()
    assert (half.std(axis=0) < usual.std(axis=0)).all()


def test_full_distortion_is_the_default() -> None:
    x, _ = synthetic_digits(50, seed=2)
    np.testing.assert_array_equal(synthetic_digits(50, seed=2, distortion=1.0)[0], x)
    assert (synthetic_digits(50, seed=2, distortion=0.0)[0] != x).any()


@pytest.mark.parametrize(
    ("distortion", "error"), [(-0.1, ValueError), (1.1, ValueError), ("0", TypeError)]
)
def test_refuses_a_distortion_outside_its_range(distortion: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="distortion must be a finite number in"):
        synthetic_digits(3, distortion=distortion)


def test_drawing_is_fast() -> None:
    synthetic_digits(1)
    start = time.process_time()
    synthetic_digits(2000)
    assert time.process_time() - start < 2.0  # 0.1 s is usual


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"n": -1}, ValueError, "n must be an integer >= 0; got -1"),
        ({"n": 2.0}, TypeError, "n must be an integer >= 0; got float: 2.0"),
        ({"n": True}, TypeError, "n must be .* got bool: True"),
        ({"n": 1, "size": 7}, ValueError, "size must be an integer >= 8; got 7"),
        ({"n": 1, "size": "28"}, TypeError, "size must be .* got str: '28'"),
        ({"n": 1, "seed": None}, TypeError, "seed must be .* got NoneType"),
        ({"n": 1, "seed": -1}, ValueError, "seed must be .* got -1"),
    ],
)
def test_bad_arguments(arguments: dict[str, Any], error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        synthetic_digits(**arguments)


def test_numpy_integers_will_do() -> None:
    x, _ = synthetic_digits(np.int64(2), size=np.uint8(8), seed=np.int32(0))  # type: ignore[arg-type]
    np.testing.assert_array_equal(x, synthetic_digits(2, 8, 0)[0])


@pytest.mark.parametrize("name", ["n_train", "n_test", "size", "seed"])
def test_load_digits_names_the_bad_argument(name: str) -> None:
    bad: dict[str, Any] = {name: -1}
    with pytest.raises(ValueError, match=f"{name} must be"):
        load_digits(**bad)
