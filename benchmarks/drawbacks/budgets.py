"""Equal parameter budgets: how wide a network must be to have as many parameters as another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

from fastmlp.checks import check_integer


def dense_parameters(sizes: Sequence[int]) -> int:
    """Return how many weights and biases a multilayer perceptron of these widths has."""
    return sum((fan_in + 1) * fan_out for fan_in, fan_out in itertools.pairwise(sizes))


def recurrent_parameters(n_features: int, units: int, n_outputs: int) -> int:
    """Return how many parameters a plain RNN with a dense output has."""
    return (n_features + units + 1) * units + (units + 1) * n_outputs


def width_for(budget: int, n_parameters: Callable[[int], int]) -> int:
    """Return the smallest width with at least `budget` parameters.

    So the network that is fitted never has less than the one it is compared with.

    Parameters
    ----------
    budget : int
    n_parameters : callable
        Returns the number of parameters for a width; grows with it.
    """
    budget = check_integer("budget", budget, 1)
    width = 1
    while n_parameters(width) < budget:
        width += 1
    return width


def hidden_units(budget: int, n_inputs: int, n_outputs: int) -> int:
    """Return the hidden width of a multilayer perceptron with at least `budget` parameters."""
    return width_for(budget, lambda width: dense_parameters([n_inputs, width, n_outputs]))
