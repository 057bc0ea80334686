"""What a peer must offer: a model that trains epoch by epoch, or a prediction, or both."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem, Rows

Predict = Callable[[NDArray[np.float32]], NDArray[Any]]
"""Takes float32 features (rows, n_inputs), returns probabilities (rows, n_outputs)."""


class Model(ABC):
    """A network of a peer with its training data, from the initial weights on.

    Parameters
    ----------
    problem : Problem
    rows : Rows
        The training rows.

    Attributes
    ----------
    x : ndarray of float32, shape (rows, n_inputs)
        Scaled: in the form that the peer reads fastest.
    y : ndarray of int64, shape (rows,)
    """

    def __init__(self, problem: Problem, rows: Rows) -> None:
        self.problem = problem
        self.x = rows.scaled(rows.x_train)
        self.y = rows.y_train

    @property
    def is_binary(self) -> bool:
        """Whether there is one sigmoid output instead of a softmax."""
        return self.problem.output == "sigmoid"

    @abstractmethod
    def load(self, weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> None:
        """Take the weights (fan_in, fan_out) and biases (fan_out,) of each layer."""

    @abstractmethod
    def train(self, order: NDArray[np.int64]) -> None:
        """Train on the rows in this order, batch by batch; the last batch may be smaller."""

    @abstractmethod
    def predict(self, x: NDArray[np.float32]) -> NDArray[Any]:
        """Return the probabilities (rows, n_outputs)."""

    @abstractmethod
    def parameters(self) -> NDArray[Any]:
        """Return all weights and biases in the order of `Network.parameters`."""

    def reset(self) -> None:
        """Take the initial weights."""
        network = self.problem.network()
        self.load(network.weights, network.biases)

    def warm_up(self, n_rows: int) -> None:
        """Compile all that an epoch of `n_rows` needs, and take the initial weights again."""
        batch = min(self.problem.batch_size, n_rows)
        self.train(np.arange(2 * batch) % n_rows)
        if n_rows % batch:
            self.train(np.arange(n_rows % batch))
        self.reset()


class Peer(ABC):
    """A library to compare with.

    Attributes
    ----------
    name, option, title : str
        In the results, on the command line, and for people.
    packages : tuple of str
        What it imports; the first one's version is told.
    distributions : tuple of str
        The names to install them by.
    precision : str
    compiles_slowly : bool
        Whether every new shape takes many seconds: then it is left out where there are many.
    """

    name: ClassVar[str]
    option: ClassVar[str]
    title: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    distributions: ClassVar[tuple[str, ...]]
    precision: ClassVar[str] = "float32"
    compiles_slowly: ClassVar[bool] = False

    def missing_reason(self) -> str:
        """Return why it cannot run here and what to do; empty if it can. Imports nothing."""
        missing = [
            distribution
            for package, distribution in zip(self.packages, self.distributions, strict=True)
            if importlib.util.find_spec(package) is None
        ]
        if not missing:
            return ""
        return (
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed; "
            f"install with: pip install {' '.join(missing)} (or 'fastmlp[peers]')"
        )

    def version(self) -> str:
        """Return the version of the library; empty if it is not installed."""
        for distribution in self.distributions[:1]:
            try:
                return importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                return ""
        return ""

    def environment(self, n_threads: int) -> dict[str, str]:
        """Return environment variables that its process is started with, for `n_threads`."""
        return {}

    def refuses_training(self, problem: Problem) -> str:
        """Return why it cannot train a problem; empty if it can."""
        return ""

    def refuses_inference(self) -> str:
        """Return why it is not asked to predict; empty if it is."""
        return ""

    def model(self, problem: Problem, rows: Rows, n_threads: int) -> Model:
        """Return a model with the initial weights."""
        raise NotImplementedError(f"{self.title} does not train")

    def predictor(self, problem: Problem, n_rows: int, n_threads: int) -> tuple[Predict, str]:
        """Return a prediction with the initial weights, for `n_rows` rows, and its precision."""
        return self.model(problem, no_rows(problem), n_threads).predict, self.precision


def flat(weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return weights (fan_in, fan_out) and biases (fan_out,) as one vector, layer by layer."""
    pairs = zip(weights, biases, strict=True)
    return np.concatenate([np.ravel(part) for pair in pairs for part in pair])


def no_rows(problem: Problem) -> Rows:
    """Return rows for a model that only predicts: one that is all zeros, and no test rows."""
    x = np.zeros((1, problem.sizes[0]), np.float32)
    y = np.zeros(1, np.int64)
    return Rows(x, y, x[:0], y[:0], 1.0)
