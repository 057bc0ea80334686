"""The colours of the page: any two are apart, for the colour-blind too, and from the card."""

from __future__ import annotations

import re
from itertools import combinations

import numpy as np
import pytest
from numpy.typing import NDArray

from fastmlp.benchmarks.report.page import asset
from fastmlp.benchmarks.report.svg import PALETTE

Color = NDArray[np.float64]

# Machado, Oliveira and Fernandes, 2009: linear RGB as the colour-blind see it.
EYES = {
    "usual": np.eye(3),
    "deuteranopia": np.array(
        [[0.367, 0.861, -0.228], [0.280, 0.673, 0.047], [-0.012, 0.043, 0.969]]
    ),
    "protanopia": np.array(
        [[0.152, 1.053, -0.205], [0.115, 0.786, 0.099], [-0.004, -0.048, 1.052]]
    ),
}
# Oklab, Ottosson 2020.
TO_CONES = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])
TO_LAB = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])
LEAST_DISTANCE = 0.08
"""About four times the smallest difference that is seen."""


def themes() -> list[dict[str, str]]:
    """Return the variables of each theme: light, dark twice, print."""
    blocks = re.findall(r"\{([^{}]*--series-1:[^{}]*)\}", asset("report.css"))
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def linear(color: str) -> Color:
    encoded = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    found: Color = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return found


def contrast(one: str, other: str) -> float:
    dark, light = sorted(linear(each) @ [0.2126, 0.7152, 0.0722] for each in (one, other))
    return float((light + 0.05) / (dark + 0.05))


def distance(one: str, other: str, eyes: str) -> float:
    seen = [np.clip(EYES[eyes] @ linear(each), 0, 1) for each in (one, other)]
    labs = [TO_LAB @ np.cbrt(TO_CONES @ each) for each in seen]
    return float(np.linalg.norm(labs[0] - labs[1]))


@pytest.mark.parametrize("theme", range(4))
def test_series_stand_out_and_are_apart(theme: int) -> None:
    names = themes()[theme]
    colors = [names["ink"], *(names[f"series-{i}"] for i in range(1, len(PALETTE)))]
    assert min(contrast(color, names["card"]) for color in colors) >= 3.0
    for eyes in EYES:
        nearest = min(combinations(colors, 2), key=lambda pair: distance(*pair, eyes))
        assert distance(*nearest, eyes) >= LEAST_DISTANCE, (eyes, nearest)


def test_both_ways_to_be_dark_are_one_and_paper_is_light() -> None:
    light, dark, chosen_dark, paper = themes()
    assert dark == chosen_dark
    series = [f"series-{i}" for i in range(1, len(PALETTE))]
    assert [light[name] for name in series] == [paper[name] for name in series]
