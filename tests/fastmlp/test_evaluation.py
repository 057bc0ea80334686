"""What `evaluate` finds: the loss, and which rows are right."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastmlp.evaluation import Evaluation

# ---------------------------------------------------------------------------------------------
# Learning


def test_evaluate_by_hand(backend_name: str, make_trainer: Any) -> None:
    trainer = make_trainer(backend_name, sizes=(1, 1), output="identity")
    trainer.network.parameters[...] = [2.0, 1.0]  # 2 x + 1
    x, y, weights = [[0.0], [1.0], [2.0]], [1.0, 2.0, 7.0], [1.0, 2.0, 1.0]
    # Residuals 0, 1, -2: losses 0, 1/2, 2.
    assert trainer.evaluate(x, y).loss == pytest.approx(2.5 / 3)
    assert trainer.evaluate(x, y).r2 == pytest.approx(1 - 5 / (62 / 3))
    weighted = trainer.evaluate(x, y, weights)
    assert weighted.loss == pytest.approx(3 / 4)
    assert weighted.r2 == pytest.approx(1 - 6 / 22)  # the weighted mean of y is 3
    assert weighted == Evaluation(weighted.loss, r2=weighted.r2)


def test_accuracy_counts_rows_with_all_outputs_right(make_trainer: Any) -> None:
    trainer = make_trainer(sizes=(1, 2), output="sigmoid")
    trainer.network.parameters[...] = [1.0, -1.0, 0.0, 0.0]
    x = [[3.0], [3.0], [-3.0]]
    assert trainer.predict(x).tolist() == [[1, 0], [1, 0], [0, 1]]
    assert trainer.evaluate(x, [[1, 0], [1, 1], [0, 1]]).accuracy == pytest.approx(2 / 3)


def test_soft_targets_count_as_the_nearer_class(make_trainer: Any) -> None:
    trainer = make_trainer(sizes=(4, 6, 1), output="sigmoid")
    x = np.random.default_rng(0).random((20, 4))
    soft = np.where(trainer.predict(x) == 1, 0.7, 0.2)
    assert trainer.evaluate(x, soft).accuracy == 1.0
