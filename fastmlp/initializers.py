"""How a layer's weights start: random, scaled so that signals keep their size from layer to layer.

Biases start at zero. The scales are those of Glorot and Bengio (2010), He et al. (2015) and
LeCun et al. (1998).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Initializer = Callable[[np.random.Generator, int, int], NDArray[np.float64]]


def _normal(variance: Callable[[int, int], float]) -> Initializer:
    def draw(random: np.random.Generator, fan_in: int, fan_out: int) -> NDArray[np.float64]:
        deviation = variance(fan_in, fan_out) ** 0.5
        return random.normal(0.0, deviation, (fan_in, fan_out))

    return draw


def _uniform(variance: Callable[[int, int], float]) -> Initializer:
    def draw(random: np.random.Generator, fan_in: int, fan_out: int) -> NDArray[np.float64]:
        limit = (3.0 * variance(fan_in, fan_out)) ** 0.5
        return random.uniform(-limit, limit, (fan_in, fan_out))

    return draw


def _he(fan_in: int, fan_out: int) -> float:
    return 2.0 / fan_in


def _glorot(fan_in: int, fan_out: int) -> float:
    return 2.0 / (fan_in + fan_out)


def _lecun(fan_in: int, fan_out: int) -> float:
    return 1.0 / fan_in


def _zeros(random: np.random.Generator, fan_in: int, fan_out: int) -> NDArray[np.float64]:
    return np.zeros((fan_in, fan_out))


INITIALIZERS: dict[str, Initializer] = {
    "he": _normal(_he),
    "he_uniform": _uniform(_he),
    "glorot": _uniform(_glorot),
    "glorot_normal": _normal(_glorot),
    "lecun": _normal(_lecun),
    "lecun_uniform": _uniform(_lecun),
    "zeros": _zeros,
}
