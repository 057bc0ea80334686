"""Training: seconds per epoch of networks from small to large, on images and on tables."""

from __future__ import annotations

from functools import partial

import numpy as np

from fastmlp.datasets import Dataset
from fastmlp.trainer import Trainer

from .case import REFERENCE, Case, Level, Prepared, Setting
from .peers import PEERS
from .problem import SEED, TABLE_ROWS, Problem, Rows, draw_order

EPOCH_ROWS = 60_000
"""An epoch as reported, whatever the number of rows at hand: that of MNIST."""
WARM_UP_ROWS = 8


def _train_epoch(trainer: Trainer, rows: Rows) -> None:
    if trainer.fit(rows.x_train, rows.y_train, epochs=1).stop_reason == "interrupted":
        raise KeyboardInterrupt  # the Trainer keeps it to itself; here it ends the whole run


def prepare_training(setting: Setting, data: Dataset, *, problem: Problem) -> Prepared:
    """Return an epoch on the first rows of the data, for a backend or a peer."""
    rows = problem.rows(data).first(setting.rows)
    # On a few rows, such as the reference gets, an accuracy would say nothing.
    scored = len(rows.x_test) > 0 and setting.rows >= 4 * problem.batch_size
    scored = scored and setting.contender != REFERENCE
    if setting.kind == "peer":
        return _prepare_peer(setting, rows, problem, scored)

    def make_trainer() -> Trainer:
        precision, n_threads = setting.precision, setting.n_threads
        return problem.trainer(
            setting.contender, precision, n_threads, rows.input_scale, rows.input_center
        )

    trainer = make_trainer()
    return Prepared(
        call=partial(_train_epoch, trainer, rows),
        warm_up=lambda: _train_epoch(make_trainer(), rows.first(WARM_UP_ROWS)),
        score=(lambda: trainer.evaluate(rows.x_test, rows.y_test).score) if scored else None,
    )


def _prepare_peer(setting: Setting, rows: Rows, problem: Problem, scored: bool) -> Prepared:
    model = PEERS[setting.contender].model(problem, rows, setting.n_threads)
    random = np.random.default_rng(SEED)

    def train_epoch() -> None:
        model.train(draw_order(random, setting.rows))

    def score() -> float:
        outputs = model.predict(rows.scaled(rows.x_test))
        decided = outputs[:, 0] >= 0.5 if outputs.shape[1] == 1 else outputs.argmax(axis=1)
        return float(np.mean(decided == rows.y_test))

    return Prepared(
        call=train_epoch,
        warm_up=lambda: model.warm_up(setting.rows),
        score=score if scored else None,
        precision=PEERS[setting.contender].precision,
    )


def refuses_training(setting: Setting, *, problem: Problem) -> str:
    """Return why a peer cannot train the problem."""
    if setting.kind == "backend":
        return ""
    return PEERS[setting.contender].refuses_training(problem)


def training_case(
    name: str,
    problem: Problem,
    rows: int,
    *,
    level: Level = "default",
    reference_rows: int = 0,
    rows_at: dict[Level, int] | None = None,
    dimensions: Level | None = "full",
) -> Case:
    """Return the case of an epoch of a problem."""
    kind = "rows of a table" if problem.data == "table" else problem.data
    return Case(
        name,
        "training",
        f"{name}: {problem.name}, batch {problem.batch_size}",
        f"One epoch of {rows:,} {kind}: {problem.activation}, {problem.output}, cross-entropy, "
        f"gradient descent {problem.learning_rate:g}, batches of {problem.batch_size}.",
        rows=rows,
        prepare=partial(prepare_training, problem=problem),
        level=level,
        reference_rows=reference_rows,
        rows_at=rows_at or {},
        parameters=problem.parameters | {"rows": rows},
        flops=problem.training_flops(rows),
        dimensions=dimensions,
        with_peers=True,
        loops=False,
        refuses=partial(refuses_training, problem=problem),
    )


TRAINING = (
    training_case(
        "S",
        Problem((784, 30, 10), 10, activation="sigmoid", learning_rate=0.5),
        EPOCH_ROWS,
        reference_rows=50,
        rows_at={"default": 10_000},
    ),
    training_case(
        "M32",
        Problem((784, 128, 10), 32),
        EPOCH_ROWS,
        reference_rows=32,
        rows_at={"default": 9_600},
    ),
    training_case(
        "M128",
        Problem((784, 128, 10), 128),
        EPOCH_ROWS,
        level="quick",
        reference_rows=64,
        rows_at={"quick": 6_144, "default": 12_800},
        dimensions="default",
    ),
    training_case(
        "M128_standardized",
        Problem((784, 128, 10), 128, data="standardized images"),
        EPOCH_ROWS,
        rows_at={"default": 12_800},
    ),
    training_case(
        "L",
        Problem((784, 512, 512, 10), 128),
        EPOCH_ROWS,
        rows_at={"quick": 1_024, "default": 6_400},
    ),
    training_case(
        "XL",
        Problem((784, 2048, 2048, 10), 512),
        EPOCH_ROWS,
        rows_at={"quick": 1_024, "default": 2_048, "full": 20_480},
    ),
    training_case(
        "tabular",
        Problem((20, 64, 32, 1), 32, data="table", output="sigmoid"),
        TABLE_ROWS,
        reference_rows=320,
        rows_at={"default": 12_800},
    ),
    training_case(
        "tabular_wide",
        Problem((100, 256, 256, 1), 256, data="table", output="sigmoid"),
        TABLE_ROWS,
        rows_at={"quick": 2_560, "default": 12_800},
    ),
)
