from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from fastmlp.benchmarks.cases import (
    BATCH_SIZE,
    CASES,
    EPOCH_ROWS,
    GROUPS,
    REFERENCE,
    Setting,
    cases_of,
)
from fastmlp.datasets import Dataset, load_digits


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits(2 * BATCH_SIZE, 50)


def test_every_case_is_named_by_its_key_and_belongs_to_a_group() -> None:
    assert [case.name for case in CASES.values()] == list(CASES)
    assert {case.group for case in CASES.values()} == set(GROUPS)
    assert cases_of() == list(CASES.values())
    assert {case.group for case in cases_of(["training"])} == {"training"}


def test_the_reference_gets_a_slice() -> None:
    case = CASES["train_epoch"]
    assert case.rows == EPOCH_ROWS
    assert case.rows_timed(REFERENCE, 10_000) == BATCH_SIZE
    assert case.rows_timed("numpy", 10_000) == 10_000
    assert case.rows_timed("numpy", 70_000) == EPOCH_ROWS


@pytest.mark.parametrize("case", CASES.values(), ids=lambda case: case.name)
def test_every_case_runs_on_every_backend(case, backend_name: str, digits: Dataset) -> None:
    prepared = case.prepare(Setting(backend_name, digits, 16))
    prepared.warm_up()
    prepared.call()


def test_kernels_compute_what_they_say(digits: Dataset) -> None:
    call = CASES["matmul"].prepare(Setting("numpy", digits, 128)).call
    assert np.shape(call()) == (128, 128)
    call = CASES["sigmoid"].prepare(Setting("numpy", digits, 128)).call
    values = np.asarray(call())
    assert values.shape == (128, 128) and 0 < values.min() < values.max() < 1
    found = CASES["backpropagation"].prepare(Setting("numpy", digits, 128)).call()
    assert [dw.shape for dw in found.dw] == [(784, 128), (128, 10)]  # type: ignore[attr-defined]


def test_training_scores_only_what_was_trained_on_all_rows(digits: Dataset) -> None:
    case = CASES["train_epoch"]
    assert case.prepare(Setting("numpy", digits, BATCH_SIZE)).score is None
    whole = case.prepare(Setting("numpy", digits, 2 * BATCH_SIZE))
    assert whole.score is not None
    before = whole.score()
    whole.warm_up()
    assert whole.score() == before  # a warm-up trains another network
    for _ in range(10):
        whole.call()
    assert whole.score() > before


def test_training_is_the_same_on_every_backend(
    compiled_or_numpy_name: str, digits: Dataset
) -> None:
    small = dataclasses.replace(digits, x_test=digits.x_train, y_test=digits.y_train)
    scores = []
    for name in ("numpy", compiled_or_numpy_name):
        prepared = CASES["train_epoch"].prepare(Setting(name, small, 2 * BATCH_SIZE))
        for _ in range(5):
            prepared.call()
        assert prepared.score is not None
        scores.append(prepared.score())
    assert scores[0] == pytest.approx(scores[1], abs=0.02)
