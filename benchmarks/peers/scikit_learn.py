"""scikit-learn's MLPClassifier, an epoch per `partial_fit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem, Rows
from .peer import Model, Peer, flat

ACTIVATIONS = {"relu": "relu", "sigmoid": "logistic", "tanh": "tanh", "identity": "identity"}


class GivenOrder(np.random.RandomState):
    """A source of random numbers whose shuffle is an order that was drawn before.

    scikit-learn shuffles the row numbers of each epoch by ``random_state.shuffle``.
    """

    order: NDArray[np.int64] | None = None

    def shuffle(self, x: Any) -> None:
        """Put `x` (rows,) into the given order."""
        if self.order is None:
            super().shuffle(x)
        else:
            x[:] = self.order


class ScikitLearnModel(Model):
    """An MLPClassifier in float32 that starts from the given weights."""

    def __init__(self, problem: Problem, rows: Rows) -> None:
        super().__init__(problem, rows)
        from sklearn.neural_network import MLPClassifier

        self.random = GivenOrder(0)
        self.classes = np.arange(max(2, problem.sizes[-1]))
        self.estimator = MLPClassifier(
            problem.sizes[1:-1],
            activation=ACTIVATIONS[problem.activation],
            solver="sgd",
            alpha=0.0,
            batch_size=1,  # of the first step; `train` sets that of the problem
            learning_rate_init=problem.learning_rate,
            momentum=0.0,
            nesterovs_momentum=False,
            random_state=self.random,
        )
        # It makes its arrays in the first step.
        self.random.order = np.arange(1)
        self.estimator.partial_fit(self.x[:1], self.y[:1], classes=self.classes)
        self.reset()

    def load(self, weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> None:
        # In place: its optimizer holds the same arrays.
        for kept, w in zip(self.estimator.coefs_, weights, strict=True):
            kept[...] = w
        for kept, b in zip(self.estimator.intercepts_, biases, strict=True):
            kept[...] = b

    def train(self, order: NDArray[np.int64]) -> None:
        x, y = self.x, self.y
        if len(order) != len(x):  # only to warm up
            x, y, order = x[order], y[order], np.arange(len(order))
        self.random.order = order
        self.estimator.batch_size = min(self.problem.batch_size, len(x))
        self.estimator.partial_fit(x, y)

    def predict(self, x: NDArray[np.float32]) -> NDArray[Any]:
        found: NDArray[Any] = self.estimator.predict_proba(x)
        return found[:, 1:] if self.is_binary else found

    def parameters(self) -> NDArray[Any]:
        return flat(self.estimator.coefs_, self.estimator.intercepts_)


class ScikitLearn(Peer):
    """The estimator that most people start with."""

    name = "scikit_learn"
    option = "sklearn"
    title = "scikit-learn"
    packages = ("sklearn",)
    distributions = ("scikit-learn",)

    def refuses_training(self, problem: Problem) -> str:
        known = problem.activation in ACTIVATIONS
        return "" if known else f"MLPClassifier has no {problem.activation}"

    def model(self, problem: Problem, rows: Rows, n_threads: int) -> Model:
        return ScikitLearnModel(problem, rows)
