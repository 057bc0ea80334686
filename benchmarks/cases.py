"""The table of cases: everything that is measured, by name.

A case is added to `CASES`; the runner, the pytest-benchmark suites and the report enumerate it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastmlp.backend import get_backend
from fastmlp.datasets import Dataset
from fastmlp.kernels.contract import Engine
from fastmlp.network import Network
from fastmlp.optimizers import SGD
from fastmlp.plan import make_plan
from fastmlp.trainer import Trainer

Group = Literal["kernels", "training"]
GROUPS: tuple[Group, ...] = ("kernels", "training")

REFERENCE = "python"
"""The backend that speedups are relative to, and that is timed on fewer rows."""

SEED = 0
BATCH_SIZE = 128
HIDDEN = 128
LEARNING_RATE = 0.1
EPOCH_ROWS = 60_000
"""An epoch as reported, whatever the number of rows at hand: that of MNIST."""
WARM_UP_ROWS = 8
"""Enough rows to make a backend compile everything, few enough for the reference."""


@dataclass(frozen=True)
class Setting:
    """What a case is measured with.

    Attributes
    ----------
    backend : str
    data : Dataset
        Images as uint8 (rows, features) and their classes.
    rows : int
        How many rows the call works on.
    precision : str, default "float32"
    n_threads : int or None, default None
        None leaves it to the library.
    """

    backend: str
    data: Dataset
    rows: int
    precision: str = "float32"
    n_threads: int | None = None


@dataclass(frozen=True)
class Prepared:
    """A case that is ready to be timed.

    Attributes
    ----------
    call : function
        What is timed.
    warm_up : function
        Makes the backend compile what `call` needs, and changes nothing that `call` works on.
    score : function or None
        The test accuracy, from 0 to 1, after the last call.
    """

    call: Callable[[], object]
    warm_up: Callable[[], object]
    score: Callable[[], float] | None = None


@dataclass(frozen=True)
class Case:
    """One thing that is measured, for every backend.

    Attributes
    ----------
    name : str
        Its key in the results.
    group : {"kernels", "training"}
    title, description : str
        For the tables, in a few words and in a sentence.
    rows : int
        How many rows the reported time is for.
    reference_rows : int
        How many rows the reference is timed on; its times are scaled.
    prepare : function of a Setting, returns Prepared
    """

    name: str
    group: Group
    title: str
    description: str
    rows: int
    reference_rows: int
    prepare: Callable[[Setting], Prepared]

    def rows_timed(self, backend: str, n_rows: int) -> int:
        """Return how many rows are timed if the data have `n_rows`."""
        return min(self.reference_rows if backend == REFERENCE else self.rows, n_rows)


def _random(shape: tuple[int, int], precision: str) -> NDArray[Any]:
    return np.random.default_rng(SEED).standard_normal(shape).astype(precision)


def _prepare_matmul(setting: Setting, *, inner: int, columns: int) -> Prepared:
    backend = get_backend(setting.backend)
    a = _random((setting.rows, inner), setting.precision)
    b = _random((inner, columns), setting.precision)
    return Prepared(
        call=lambda: backend.matmul(a, b),
        warm_up=lambda: backend.matmul(a[:WARM_UP_ROWS], b),
    )


def _prepare_activation(setting: Setting, *, activation: str, columns: int) -> Prepared:
    backend = get_backend(setting.backend)
    z = _random((setting.rows, columns), setting.precision)
    return Prepared(
        call=lambda: backend.activation(activation, z),
        warm_up=lambda: backend.activation(activation, z[:WARM_UP_ROWS]),
    )


def _network(data: Dataset) -> Network:
    """Return features-128-classes, ReLU, He initialisation; the same weights every time."""
    sizes = [data.x_train.shape[1], HIDDEN, data.n_classes]
    return Network(sizes, "relu", init="he", seed=SEED, input_scale=1 / 255)


def _engine(setting: Setting) -> Engine:
    network = _network(setting.data)
    network.convert(setting.precision)
    plan = make_plan(
        network,
        optimizer=SGD(LEARNING_RATE),
        batch_size=BATCH_SIZE,
        precision=setting.precision,
        n_threads=setting.n_threads,
    )
    state = np.zeros((plan.n_states, plan.n_parameters), setting.precision)
    return get_backend(setting.backend).compile(plan, network.parameters, state)


def _prepare_backpropagation(setting: Setting) -> Prepared:
    engine = _engine(setting)
    x = setting.data.x_train[: setting.rows]
    y = setting.data.y_train[: setting.rows].astype(np.int32)
    return Prepared(
        call=lambda: engine.gradients(x, y, None),
        warm_up=lambda: engine.gradients(x[:WARM_UP_ROWS], y[:WARM_UP_ROWS], None),
    )


def _train_epoch(trainer: Trainer, x: NDArray[Any], y: NDArray[Any]) -> None:
    if trainer.fit(x, y, epochs=1).stop_reason == "interrupted":
        raise KeyboardInterrupt  # the Trainer keeps it to itself; here it ends the whole run


def _prepare_training(setting: Setting) -> Prepared:
    data = setting.data
    x, y = data.x_train[: setting.rows], data.y_train[: setting.rows]

    def make_trainer() -> Trainer:
        return Trainer(
            _network(data),
            optimizer=SGD(LEARNING_RATE),
            batch_size=BATCH_SIZE,
            backend=setting.backend,
            precision=setting.precision,
            n_threads=setting.n_threads,
            seed=SEED,
        )

    trainer = make_trainer()
    # On a slice of the data an accuracy would say nothing.
    whole = setting.rows == min(EPOCH_ROWS, len(data.x_train)) and len(data.x_test) > 0
    return Prepared(
        call=partial(_train_epoch, trainer, x, y),
        warm_up=lambda: _train_epoch(make_trainer(), x[:WARM_UP_ROWS], y[:WARM_UP_ROWS]),
        score=(lambda: trainer.evaluate(data.x_test, data.y_test).score) if whole else None,
    )


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case(
            "matmul",
            "kernels",
            "matmul 128x784 @ 784x128",
            "Product of two matrices: the weighted sums of a hidden layer for a batch of images.",
            rows=BATCH_SIZE,
            reference_rows=32,
            prepare=partial(_prepare_matmul, inner=784, columns=HIDDEN),
        ),
        Case(
            "sigmoid",
            "kernels",
            "sigmoid 128x128",
            "An activation, element by element, of a hidden layer for a batch.",
            rows=BATCH_SIZE,
            reference_rows=BATCH_SIZE,
            prepare=partial(_prepare_activation, activation="sigmoid", columns=HIDDEN),
        ),
        Case(
            "backpropagation",
            "kernels",
            "backpropagation 784-128-10",
            "Loss and all gradients of a batch of 128 images, forward and back; no update.",
            rows=BATCH_SIZE,
            reference_rows=BATCH_SIZE,
            prepare=_prepare_backpropagation,
        ),
        Case(
            "train_epoch",
            "training",
            "epoch of 784-128-10",
            "One epoch of 60,000 images: ReLU, softmax, gradient descent 0.1, batches of 128.",
            rows=EPOCH_ROWS,
            reference_rows=BATCH_SIZE,
            prepare=_prepare_training,
        ),
    )
}


def cases_of(groups: Iterable[Group] = GROUPS) -> list[Case]:
    """Return the cases of some groups, in the table's order."""
    wanted = set(groups)
    return [case for case in CASES.values() if case.group in wanted]
