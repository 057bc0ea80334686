"""A training problem: a network, its data and how it learns; the same for backends and peers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastmlp.datasets import Dataset, synthetic_tabular
from fastmlp.network import Network
from fastmlp.optimizers import SGD
from fastmlp.trainer import Trainer

SEED = 0
IMAGE_FEATURES = 784
PIXEL_MEAN, PIXEL_SPREAD = 33.0, 79.0
"""Of MNIST, rounded."""

TABLE_ROWS, TABLE_TEST_ROWS = 100_000, 10_000


@dataclass(frozen=True)
class Rows:
    """The rows of a problem, as the backends read them.

    Attributes
    ----------
    x_train, x_test : ndarray, shape (rows, features)
        uint8 pixels or float32 features.
    y_train, y_test : ndarray of int64, shape (rows,)
        Classes; 0 and 1 for a single output.
    input_scale : float
        What the features are multiplied by.
    input_center : float, default 0.0
        What is taken off them first.
    """

    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]
    input_scale: float
    input_center: float = 0.0

    def first(self, n_rows: int) -> Rows:
        """Return the same with `n_rows` training rows."""
        return replace(self, x_train=self.x_train[:n_rows], y_train=self.y_train[:n_rows])

    def scaled(self, x: NDArray[Any]) -> NDArray[np.float32]:
        """Return rows as float32, scaled: what libraries without an input scale are given."""
        scaled: NDArray[np.float32] = np.subtract(x, self.input_center, dtype=np.float32)
        scaled *= np.float32(self.input_scale)
        return scaled


@dataclass(frozen=True)
class Problem:
    """A network and how it is trained: by gradient descent, on images or on a table.

    Attributes
    ----------
    sizes : tuple of int
        The widths, input first.
    batch_size : int
    data : {"images", "standardized images", "table"}
        The images of the run, 784 pixels each, most of them zero; the same with their mean taken
        off and divided by their spread, so that none is; or a synthetic table with two classes.
    activation : str
        Of the hidden layers.
    output : {"softmax", "sigmoid"}
        With cross-entropy.
    learning_rate : float
    """

    sizes: tuple[int, ...]
    batch_size: int
    data: Literal["images", "standardized images", "table"] = "images"
    activation: str = "relu"
    output: Literal["softmax", "sigmoid"] = "softmax"
    learning_rate: float = 0.1

    @property
    def name(self) -> str:
        """The widths as people write them: 784-128-10."""
        return "-".join(map(str, self.sizes))

    @property
    def parameters(self) -> dict[str, Any]:
        """What tells it apart, for results.json."""
        return {
            "sizes": list(self.sizes),
            "batch_size": self.batch_size,
            "activation": self.activation,
            "output": self.output,
            "optimizer": "sgd",
            "learning_rate": self.learning_rate,
            "data": self.data,
        }

    def rows(self, images: Dataset | None) -> Rows:
        """Return the rows: those of `images`, or a table that is drawn once."""
        if self.data == "table":
            return draw_table(self.sizes[0])
        assert images is not None
        center, scale = 0.0, 1 / 255
        if self.data == "standardized images":
            center, scale = PIXEL_MEAN, 1 / PIXEL_SPREAD
        return Rows(
            images.x_train, images.y_train, images.x_test, images.y_test, scale, input_center=center
        )

    def network(self, input_scale: float = 1.0, input_center: float = 0.0) -> Network:
        """Return the network with its initial weights: the same every time."""
        return Network(
            self.sizes,
            self.activation,
            self.output,
            seed=SEED,
            input_scale=input_scale,
            input_center=input_center,
        )

    def trainer(
        self,
        backend: str,
        precision: str,
        n_threads: int | None,
        scale: float,
        center: float = 0.0,
    ) -> Trainer:
        """Return a Trainer with the initial weights, about to draw the first order of the rows."""
        return Trainer(
            self.network(scale, center),
            optimizer=SGD(self.learning_rate),
            batch_size=self.batch_size,
            backend=backend,
            precision=precision,
            n_threads=n_threads,
            seed=SEED,
        )

    def training_flops(self, n_rows: int) -> int:
        """Return the multiplications and additions of the products of an epoch.

        Forward, weight gradient and input gradient take 2 per weight and row each; the first
        layer has no input gradient.
        """
        weights = [a * b for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True)]
        return 2 * n_rows * (3 * sum(weights) - weights[0])

    def inference_flops(self, n_rows: int) -> int:
        """Return the multiplications and additions of the products of a prediction."""
        pairs = zip(self.sizes[:-1], self.sizes[1:], strict=True)
        return 2 * n_rows * sum(a * b for a, b in pairs)


def draw_order(random: np.random.Generator, n_rows: int) -> NDArray[np.int64]:
    """Return the order of an epoch's rows, drawn as the Trainer draws it."""
    return random.permutation(n_rows)


@lru_cache(maxsize=2)
def draw_table(n_features: int) -> Rows:
    """Draw the synthetic table with two classes."""
    x, y = synthetic_tabular(TABLE_ROWS + TABLE_TEST_ROWS, n_features, seed=SEED)
    return Rows(x[:TABLE_ROWS], y[:TABLE_ROWS], x[TABLE_ROWS:], y[TABLE_ROWS:], 1.0)
