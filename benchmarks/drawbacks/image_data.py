"""The images of the experiments: centred digits, digits in any place, photographs or a stand-in."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastmlp.benchmarks.machine import without_paths
from fastmlp.datasets import load_cifar10, synthetic_digits
from fastmlp.datasets.locations import DATA_VARIABLE
from fastmlp.errors import FormatError

SIDE = 28
CENTRED_SIDE, MARGIN = 20, 4
"""Centred digits are drawn smaller, with a margin: moved by 8 pixels they lose 3% of their ink."""
CIFAR_EPOCHS, DIGIT_EPOCHS = 10, 100
"""With more the MLP learns CIFAR's images by heart, with fewer it knows no coloured digit."""

Images = NDArray[np.float32]
Labels = NDArray[np.int64]
Split = tuple[Images, Labels, Images, Labels]
"""Images (rows, height, width[, channels]) from 0 to 1 and labels (rows,), to train and to test."""


def one_hot(labels: Labels, n_classes: int) -> NDArray[np.float32]:
    """Return (rows, n_classes), 1 at each row's class."""
    return np.eye(n_classes, dtype=np.float32)[labels]


def centred_digits(n: int, seed: int) -> tuple[Images, Labels]:
    """Draw digits in the middle of 28 x 28 pixels, upright, about 14 pixels high."""
    x, y = synthetic_digits(n, CENTRED_SIDE, seed, distortion=0.0)
    images = _unit(x).reshape(-1, CENTRED_SIDE, CENTRED_SIDE)
    return np.pad(images, ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))), y


def varied_digits(n: int, seed: int) -> tuple[Images, Labels]:
    """Draw digits of 28 x 28 pixels that vary in place, angle and size."""
    x, y = synthetic_digits(n, SIDE, seed)
    return _unit(x).reshape(-1, SIDE, SIDE), y


@dataclass(frozen=True)
class Photographs:
    """Colour images (rows, 32, 32, 3), what they are, and how long the MLP does best to train."""

    title: str
    note: str
    perceptron_epochs: int
    x_train: Images
    y_train: Labels
    x_test: Images
    y_test: Labels


def photographs(
    n_train: int, n_test: int, data_dir: str | os.PathLike[str] | None
) -> tuple[Photographs, str]:
    """Return CIFAR-10 if its files are there, else coloured digits; and why there is no CIFAR-10.

    CIFAR-10's pixels are centred about 0.
    """
    try:
        cifar = load_cifar10(data_dir)
    except FileNotFoundError:
        reason = f"CIFAR-10 was not found; set {DATA_VARIABLE} to the folder that holds its files"
    except FormatError as error:
        reason = without_paths(str(error))
    else:
        reason = ""
    if reason:
        x, y = coloured_digits(n_train + n_test, 0)
        title, note = "coloured digits", "drawn by a program, as CIFAR-10 is not there"
        train, test = slice(0, n_train), slice(n_train, None)
        found = Photographs(title, note, DIGIT_EPOCHS, x[train], y[train], x[test], y[test])
        return found, reason
    x_train, x_test = (
        _unit(x[:n]).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1) - np.float32(0.5)
        for x, n in ((cifar.x_train, n_train), (cifar.x_test, n_test))
    )
    y_train, y_test = cifar.y_train[:n_train], cifar.y_test[:n_test]
    found = Photographs("CIFAR-10", "photographs", CIFAR_EPOCHS, x_train, y_train, x_test, y_test)
    return found, ""


def coloured_digits(n: int, seed: int) -> tuple[Images, Labels]:
    """Draw digits of a random colour on a ground that runs from one random colour to another.

    Returns images (n, 32, 32, 3) and labels (n,).
    """
    x, y = synthetic_digits(n, 32, seed)
    ink = _unit(x).reshape(n, 32, 32, 1)
    random = np.random.default_rng([seed, n])
    color, left, right = random.random((3, n, 1, 1, 3), dtype=np.float32)
    across = np.linspace(0, 1, 32, dtype=np.float32)[None, None, :, None]
    ground = left + (right - left) * across  # (n, 1, 32, 3)
    return np.asarray(ground + (color - ground) * ink - np.float32(0.5), np.float32), y


def _unit(x: NDArray[np.uint8]) -> Images:
    return x.astype(np.float32) / np.float32(255)
