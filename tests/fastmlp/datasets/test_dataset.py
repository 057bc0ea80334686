"""Dataset: cannot be changed, and shows shapes."""

from __future__ import annotations

import dataclasses

import pytest

from fastmlp.datasets import Dataset, load_digits


@pytest.fixture
def digits() -> Dataset:
    return load_digits(n_train=3, n_test=2, size=8)


def test_repr_shows_shapes(digits: Dataset) -> None:
    text = repr(digits)
    assert "x_train=uint8[3, 64]" in text
    assert "x_test=uint8[2, 64]" in text
    assert len(text) < 200


def test_frozen(digits: Dataset) -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        digits.name = "other"  # type: ignore[misc]


def test_equal_only_to_itself(digits: Dataset) -> None:
    # Comparing arrays field by field would raise.
    assert digits == digits
    assert digits != dataclasses.replace(digits)
