"""Options: an epoch with dropout, penalties, weights and so on, beside plain gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np

from fastmlp.datasets import Dataset
from fastmlp.network import Network
from fastmlp.optimizers import SGD, Adam, AdamW
from fastmlp.regularization import Clipping, Dropout, Regularization
from fastmlp.trainer import Trainer

from .case import Case, Prepared, Setting
from .cases_training import WARM_UP_ROWS
from .problem import PIXEL_MEAN, PIXEL_SPREAD, SEED, Problem, Rows

PROBLEM = Problem((784, 128, 10), 128)
ROWS = 12_800
PLAIN = "option_plain"


@dataclass(frozen=True)
class Option:
    """What is different from plain gradient descent.

    Attributes
    ----------
    title : str
    trainer : dict
        Arguments of the Trainer.
    fit : function of y, returns dict
        Arguments of its `fit`.
    network : dict
        Arguments of the Network.
    """

    title: str
    trainer: Mapping[str, Any] = field(default_factory=dict)
    fit: Callable[[Any], Mapping[str, Any]] = lambda y: {}
    network: Mapping[str, Any] = field(default_factory=dict)


def _row_weights(y: Any) -> Mapping[str, Any]:
    return {"sample_weight": np.random.default_rng(SEED).uniform(0.5, 1.5, len(y))}


OPTIONS = {
    "plain": Option("gradient descent alone"),
    "momentum": Option("momentum", {"optimizer": SGD(0.1, momentum=0.9)}),
    "adam": Option("Adam", {"optimizer": Adam()}),
    "adamw": Option("AdamW", {"optimizer": AdamW()}),
    "l2": Option("L2 penalty", {"regularization": Regularization(l2=1e-4)}),
    "clipping": Option("clipping by value", {"clipping": Clipping(value=0.1)}),
    "dropout": Option("dropout of hidden units", {"dropout": Dropout(0.2)}),
    "sample_weight": Option("weights of rows", fit=_row_weights),
    "class_weight": Option("weights of classes", fit=lambda y: {"class_weight": {0: 2.0, 9: 0.5}}),
    "scaled_inputs": Option(
        "a center and a scale per input",
        network={
            "input_center": np.full(784, PIXEL_MEAN),
            "input_scale": np.full(784, 1 / PIXEL_SPREAD),
        },
    ),
}


def _prepare(setting: Setting, data: Dataset, *, option: Option) -> Prepared:
    rows = PROBLEM.rows(data).first(setting.rows)

    def make_trainer() -> Trainer:
        of_network = {"input_scale": rows.input_scale, **option.network}
        network = Network(PROBLEM.sizes, PROBLEM.activation, seed=SEED, **of_network)
        return Trainer(
            network,
            batch_size=PROBLEM.batch_size,
            backend=setting.contender,
            precision=setting.precision,
            n_threads=setting.n_threads,
            seed=SEED,
            **{"optimizer": SGD(PROBLEM.learning_rate), **option.trainer},
        )

    def train_epoch(trainer: Trainer, part: Rows) -> None:
        history = trainer.fit(part.x_train, part.y_train, **option.fit(part.y_train))
        if history.stop_reason == "interrupted":
            raise KeyboardInterrupt  # the Trainer keeps it to itself; here it ends the whole run

    trainer = make_trainer()
    return Prepared(
        call=partial(train_epoch, trainer, rows),
        warm_up=lambda: train_epoch(make_trainer(), rows.first(WARM_UP_ROWS)),
    )


def _case(name: str, option: Option) -> Case:
    return Case(
        f"option_{name}",
        "options",
        option.title,
        f"One epoch of {ROWS:,} images, {PROBLEM.name}, batch {PROBLEM.batch_size}: "
        f"{option.title}.",
        rows=ROWS,
        prepare=partial(_prepare, option=option),
        level="full",
        parameters=PROBLEM.parameters | {"rows": ROWS, "option": name},
        loops=False,
    )


CASES_OF_OPTIONS = tuple(_case(name, option) for name, option in OPTIONS.items())
