"""Sequences: length and place in time, for a perceptron on a window, an RNN and an LSTM."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from fastmlp.kernels.contract import Array
from fastmlp.optimizers import Adam

from . import paragraphs
from .budgets import hidden_units, recurrent_parameters, width_for
from .findings import Progress, part_of
from .image_data import one_hot
from .image_experiments import Setup
from .model import Model
from .perceptron import train_perceptron
from .recurrent import recurrent_model
from .sequences import (
    N_SYMBOLS,
    adding_problem,
    last_window,
    recall_task,
)

LSTM_UNITS = 16
RATES = {"RNN": 0.005, "LSTM": 0.02}
BATCH = 50
LARGEST_NORM = 1.0
PERCEPTRON_EPOCHS = 30
TEST_SEQUENCES = 1000
SHIFT_STEPS = 12
MARKED_STEPS = (1, 4, 6)
"""Irregular distances: no rhythm could be learned in place of the mark."""

Sequences = tuple[Array, Array]
"""x (rows, steps, features) and targets."""


class _Contest:
    """The three models of a task, of equal budgets, trained on the same sequences."""

    def __init__(
        self, groups: list[Sequences], n_outputs: int, *, is_recall: bool, seed: int, epochs: int,
        done: Callable[[float], None],
    ) -> None:  # fmt: skip
        self.is_recall = is_recall
        self.window = max(x.shape[1] for x, _ in groups)
        n_features = groups[0][0].shape[2]
        loss = "categorical_cross_entropy" if is_recall else "squared_error"
        self.models: dict[str, Model] = {}
        units, budget = LSTM_UNITS, 0
        for index, kind in enumerate(("LSTM", "RNN")):
            if budget:
                units = width_for(budget, lambda u: recurrent_parameters(n_features, u, n_outputs))
            model = recurrent_model(kind, n_features, units, n_outputs, loss=loss, seed=seed)
            budget = budget or model.n_parameters
            # The LSTM takes about three times as long.
            start, stop = ((0.0, 0.7), (0.7, 0.95))[index]
            model.fit(
                [(x, one_hot(y, n_outputs) if is_recall else y) for x, y in groups],
                epochs=epochs,
                batch_size=BATCH,
                optimizer=Adam(RATES[kind]),
                largest_norm=LARGEST_NORM,
                batch_done=lambda share, a=start, b=stop: done(a + (b - a) * share),  # type: ignore[misc]
            )
            self.models[kind] = model
        self.trainer = train_perceptron(
            np.concatenate([last_window(x, self.window) for x, _ in groups]),
            np.concatenate([y for _, y in groups]),
            hidden=hidden_units(budget, self.window * n_features, n_outputs),
            n_outputs=n_outputs,
            output="softmax" if is_recall else "identity",
            epochs=PERCEPTRON_EPOCHS,
            seed=seed,
        )

    def scores(self, sequences: list[Sequences]) -> dict[str, list[float]]:
        """Return each model's score for each set of sequences."""
        result: dict[str, list[float]] = {"MLP": [], "RNN": [], "LSTM": []}
        for x, y in sequences:
            result["MLP"].append(self._score(self.trainer.predict(last_window(x, self.window)), y))
            for kind, model in self.models.items():
                outputs = model.outputs(x)
                decided = outputs.argmax(axis=1) if self.is_recall else outputs[:, 0]
                result[kind].append(self._score(decided, y))
        return result

    def _score(self, decided: Array, y: Array) -> float:
        """Return the accuracy, or the root of the mean square error."""
        if self.is_recall:
            return float((decided == y).mean())
        return float(np.sqrt(np.mean((decided - y[:, 0]) ** 2)))

    def record_budgets(self, setup: Setup, experiment: str, rows: int, epochs: int) -> None:
        """Write the rows of the table of budgets."""
        budget = setup.findings.budget
        said = f"{rows:,} sequences, {PERCEPTRON_EPOCHS} epochs"
        name = f"MLP on the last {self.window} steps"
        budget(experiment, name, self.trainer.network.n_parameters, said)
        for kind in ("RNN", "LSTM"):
            said = f"{rows:,} sequences, {epochs} epochs"
            budget(experiment, kind, self.models[kind].n_parameters, said)


def _run(
    setup: Setup, progress: Progress, text: str, n_outputs: int, *, is_recall: bool,
    train: Callable[[int], list[Sequences]], test: Callable[[int], list[Sequences]],
    guess: tuple[str, float], experiment: dict[str, Any],
) -> None:  # fmt: skip
    """Train the three models once per seed, and write the experiment after each."""
    level = setup.level
    runs: dict[str, list[list[float]]] = defaultdict(list)
    for index, seed in enumerate(setup.seeds_in_time()):
        start, stop = index / len(setup.seeds), (index + 1) / len(setup.seeds)
        done = part_of(progress, start, stop, f"{text}, seed {seed}")
        groups = train(2 * seed)
        contest = _Contest(
            groups, n_outputs, is_recall=is_recall, seed=seed, epochs=level.sequence_epochs,
            done=done,
        )  # fmt: skip
        sequences = test(2 * seed + 1)
        for label, values in contest.scores(sequences).items():
            runs[label].append(values)
        runs[guess[0]].append([guess[1]] * len(sequences))
        setup.findings.experiment(runs=runs, **experiment)
    rows = sum(len(x) for x, _ in groups)
    contest.record_budgets(setup, text, rows, level.sequence_epochs)


def adding(setup: Setup, progress: Progress) -> None:
    """Add the two marked numbers of a sequence; test on longer sequences than trained on."""
    level = setup.level
    rows = level.sequence_rows // len(level.train_steps)
    _run(
        setup,
        progress,
        "adding problem",
        1,
        is_recall=False,
        train=lambda seed: [adding_problem(rows, steps, seed) for steps in level.train_steps],
        test=lambda seed: [adding_problem(TEST_SEQUENCES, s, seed) for s in level.test_steps],
        guess=("always the mean", (1 / 6) ** 0.5),
        experiment={
            "name": "adding",
            "title": "The adding problem: sequences longer than in training",
            "question": "Does what was learned on short sequences hold for longer ones?",
            "x_label": f"steps of the sequence (trained on {level.train_steps[0]} to "
            f"{level.train_steps[-1]})",
            "x": list(level.test_steps),
            "y_label": "error (root of the mean square)",
            "paragraph": paragraphs.adding(level.train_steps[-1]),
        },
    )


def recall(setup: Setup, progress: Progress) -> None:
    """Say at the end which symbol was marked; test on longer sequences than trained on."""
    level = setup.level
    rows = level.sequence_rows // len(level.train_steps)
    _run(
        setup,
        progress,
        "recall task",
        N_SYMBOLS,
        is_recall=True,
        train=lambda seed: [recall_task(rows, steps, seed) for steps in level.train_steps],
        test=lambda seed: [recall_task(TEST_SEQUENCES, s, seed) for s in level.test_steps],
        guess=("guessing", 1 / N_SYMBOLS),
        experiment={
            "name": "recall",
            "title": "The recall task: sequences longer than in training",
            "question": "Is a symbol remembered over more steps than ever practised?",
            "x_label": f"steps of the sequence (trained on {level.train_steps[0]} to "
            f"{level.train_steps[-1]})",
            "x": list(level.test_steps),
            "y_label": "test accuracy",
            "paragraph": paragraphs.recall(level.train_steps[-1]),
        },
    )


def shift(setup: Setup, progress: Progress) -> None:
    """Train with the mark at three steps only; move it by a step or more in the test."""
    level = setup.level
    rows = level.sequence_rows // 2

    def moved(seed: int, by: int) -> Sequences:
        return recall_task(TEST_SEQUENCES, SHIFT_STEPS, seed, [step + by for step in MARKED_STEPS])

    _run(
        setup,
        progress,
        "signal shifted",
        N_SYMBOLS,
        is_recall=True,
        train=lambda seed: [recall_task(rows, SHIFT_STEPS, seed, MARKED_STEPS)],
        test=lambda seed: [moved(seed, by) for by in level.shift_steps],
        guess=("guessing", 1 / N_SYMBOLS),
        experiment={
            "name": "shift",
            "title": "The recall task: the signal comes later than in training",
            "question": "What if the signal shifts by one step?",
            "x_label": "later by (steps)",
            "x": list(level.shift_steps),
            "y_label": "test accuracy",
            "paragraph": paragraphs.shift,
        },
    )
