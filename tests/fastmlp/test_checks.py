"""The checks of single arguments."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from fastmlp.checks import LARGEST_COUNT, check_integer, check_number, check_seed


@pytest.mark.parametrize("value", [3, np.int8(3), np.uint64(3), np.array(3)])
def test_integers(value: Any) -> None:
    checked = check_integer("n", value, 3)
    assert checked == 3 and type(checked) is int


@pytest.mark.parametrize("value", [3.0, "3", None, True, np.bool_(True), [3], math.nan])
def test_what_is_no_integer(value: Any) -> None:
    with pytest.raises(TypeError, match="n must be an integer >= 3; got"):
        check_integer("n", value, 3)


def test_too_small_an_integer() -> None:
    with pytest.raises(ValueError, match="n must be an integer >= 3; got 2"):
        check_integer("n", 2, 3)


@pytest.mark.parametrize("value", [0.5, np.float32(0.5), 1, np.int64(1), 0])
def test_numbers(value: Any) -> None:
    checked = check_number("x", value, 0.0, 1.0)
    assert checked == value and type(checked) is float


@pytest.mark.parametrize("value", ["0.5", None, True, 1j, [0.5], b"1"])
def test_what_is_no_number(value: Any) -> None:
    with pytest.raises(TypeError, match=r"x must be a finite number in \[0, 1\]; got"):
        check_number("x", value, 0.0, 1.0)


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf, -math.inf, 10**400])
def test_numbers_out_of_bounds(value: Any) -> None:
    with pytest.raises(ValueError, match=r"x must be a finite number in \[0, 1\]; got"):
        check_number("x", value, 0.0, 1.0)


def test_a_bound_that_is_left_out() -> None:
    assert check_number("x", 0.0, 0.0, 1.0, below_maximum=True) == 0.0
    with pytest.raises(ValueError, match=r"x must be a finite number in \[0, 1\); got 1.0"):
        check_number("x", 1.0, 0.0, 1.0, below_maximum=True)


def test_no_number_reaches_an_infinite_bound() -> None:
    with pytest.raises(ValueError, match=r"in \(-inf, inf\); got nan"):
        check_number("x", math.nan)


def test_too_large_an_integer() -> None:
    assert check_integer("n", LARGEST_COUNT, 1) == 2**31 - 1
    with pytest.raises(ValueError, match=r"n must be an integer from 1 to 2,147,483,647; got 9,22"):
        check_integer("n", 2**63, 1)
    with pytest.raises(ValueError, match="n must be an integer from 1 to 7; got 8"):
        check_integer("n", 8, 1, 7)


def test_seeds_have_any_size() -> None:
    assert check_seed(2**70) == 2**70
    with pytest.raises(ValueError, match="seed must be an integer >= 0; got -1"):
        check_seed(-1)
