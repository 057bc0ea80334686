"""The network's parameters as scikit-learn shows and draws them: `coefs_` and `intercepts_`."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from ..network import Network


class ParameterViews(list[NDArray[Any]]):
    """A list of views of a network's parameters; assigning to an item copies into the network."""

    def __setitem__(self, index: SupportsIndex | slice, value: Any) -> None:
        if isinstance(index, slice):
            copy_into(self[index], value)
        else:
            copy_into([self[index]], [value])


def copy_into(views: list[NDArray[Any]], values: Iterable[Any]) -> None:
    """Copy arrays into views of the same shapes.

    Raises
    ------
    ValueError
        If there are more or fewer of them, or a shape differs; nothing is copied then.
    """
    arrays = [np.asarray(value) for value in values]
    shapes = [array.shape for array in arrays], [view.shape for view in views]
    if shapes[0] != shapes[1]:
        raise ValueError(f"expected arrays of the shapes {shapes[1]}; got {shapes[0]}")
    for view, array in zip(views, arrays, strict=True):
        view[...] = array


def draw_parameters(network: Network, random_state: Any, activations: list[Any]) -> None:
    """Draw weights and biases as scikit-learn does: uniform, within Glorot and Bengio's limit.

    The same `random_state` gives the same numbers as there. `activations` has one per layer: for
    "sigmoid" the limit is smaller.
    """
    for (fan_in, fan_out), weights, biases, activation in zip(
        network.shapes, network.weights, network.biases, activations, strict=True
    ):
        limit = np.sqrt((2.0 if activation == "sigmoid" else 6.0) / (fan_in + fan_out))
        weights[...] = random_state.uniform(-limit, limit, (fan_in, fan_out))
        biases[...] = random_state.uniform(-limit, limit, fan_out)
