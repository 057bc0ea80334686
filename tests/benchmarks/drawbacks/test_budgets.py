"""Equal parameter budgets."""

from __future__ import annotations

import pytest

from fastmlp import Network
from fastmlp.benchmarks.drawbacks.budgets import (
    dense_parameters,
    hidden_units,
    recurrent_parameters,
    width_for,
)
from fastmlp.benchmarks.drawbacks.recurrent import recurrent_model


def test_counts_are_those_of_the_networks() -> None:
    assert dense_parameters([784, 9, 10]) == Network([784, 9, 10]).n_parameters
    model = recurrent_model("RNN", 5, 7, 3, loss="squared_error", seed=0)
    assert recurrent_parameters(5, 7, 3) == model.n_parameters


@pytest.mark.parametrize("budget", [1, 795 + 10, 806, 7165, 7166, 69_970])
def test_smallest_width_that_is_not_below_the_budget(budget: int) -> None:
    width = hidden_units(budget, 784, 10)
    assert dense_parameters([784, width, 10]) >= budget
    assert width == 1 or dense_parameters([784, width - 1, 10]) < budget


def test_refuses_no_budget() -> None:
    with pytest.raises(ValueError, match="budget must be an integer >= 1"):
        width_for(0, lambda width: width)
