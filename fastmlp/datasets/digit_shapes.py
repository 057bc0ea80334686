"""The shapes of the digits 0 to 9: strokes in a unit square, x to the right and y down.

Each digit has two styles. A stroke is a line through points, straight or curved; all styles are
resampled to the same number of points, evenly spaced, so that images of different digits can be
drawn in one array operation.
"""

# Strokes are put together with "+": arcs and points alike.
# ruff: noqa: RUF005

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["N_POINTS", "N_STYLES", "digit_points"]

N_STYLES = 2
N_POINTS = 88

Stroke = list[tuple[float, float]]


def _arc(
    center: tuple[float, float], radii: tuple[float, float], start: float, end: float
) -> Stroke:
    """Part of an ellipse between two angles in degrees: 0 is right, 90 is down, 180 is left."""
    angles = [math.radians(start + (end - start) * step / 24) for step in range(25)]
    return [
        (center[0] + radii[0] * math.cos(angle), center[1] + radii[1] * math.sin(angle))
        for angle in angles
    ]


# SHAPES[digit][style] is a list of strokes.
SHAPES: list[list[list[Stroke]]] = [
    [  # 0: upright oval; round
        [_arc((0.5, 0.5), (0.27, 0.42), -90, 270)],
        [_arc((0.5, 0.5), (0.38, 0.40), -120, 240)],
    ],
    [  # 1: a line; with a flag and a foot
        [[(0.5, 0.08), (0.5, 0.92)]],
        [[(0.33, 0.26), (0.52, 0.08), (0.52, 0.92)], [(0.34, 0.92), (0.70, 0.92)]],
    ],
    [  # 2: with a straight foot; with a loop at the foot
        [_arc((0.5, 0.32), (0.26, 0.24), -170, 35) + [(0.22, 0.92), (0.80, 0.92)]],
        [
            _arc((0.5, 0.31), (0.27, 0.23), -160, 40)
            + [(0.42, 0.78)]
            + _arc((0.32, 0.80), (0.11, 0.10), 0, -270)
            + [(0.52, 0.90), (0.80, 0.86)]
        ],
    ],
    [  # 3: two bows; with a flat top
        [_arc((0.46, 0.29), (0.26, 0.21), -150, 90) + _arc((0.46, 0.71), (0.29, 0.21), -90, 150)],
        [[(0.24, 0.09), (0.74, 0.09), (0.47, 0.42)] + _arc((0.47, 0.67), (0.27, 0.25), -80, 150)],
    ],
    [  # 4: open; closed
        [
            [(0.30, 0.10), (0.22, 0.55), (0.80, 0.55)],
            [(0.66, 0.16), (0.64, 0.92)],
        ],
        [[(0.66, 0.92), (0.66, 0.08), (0.18, 0.64), (0.84, 0.64)]],
    ],
    [  # 5: angular; flowing
        [[(0.76, 0.09), (0.32, 0.09), (0.28, 0.45)] + _arc((0.46, 0.66), (0.29, 0.25), -110, 145)],
        [
            [(0.78, 0.12), (0.40, 0.12), (0.30, 0.42), (0.52, 0.46)]
            + _arc((0.46, 0.69), (0.26, 0.23), -60, 120)
        ],
    ],
    [  # 6: curved stem; straight stem
        [
            _arc((0.72, 0.62), (0.46, 0.54), -100, -180)
            + _arc((0.50, 0.68), (0.24, 0.23), -180, 180)
        ],
        [[(0.60, 0.08), (0.30, 0.58)] + _arc((0.50, 0.69), (0.23, 0.21), -160, 200)],
    ],
    [  # 7: plain; with a bar
        [[(0.20, 0.11), (0.78, 0.11), (0.42, 0.92)]],
        [
            [(0.22, 0.16), (0.24, 0.10), (0.76, 0.10), (0.56, 0.48), (0.46, 0.92)],
            [(0.36, 0.50), (0.76, 0.50)],
        ],
    ],
    [  # 8: two ovals; one crossing line
        [
            _arc((0.5, 0.29), (0.21, 0.20), 90, 450) + _arc((0.5, 0.71), (0.27, 0.22), -90, 270),
        ],
        [
            _arc((0.5, 0.28), (0.22, 0.20), -20, -215)
            + _arc((0.5, 0.73), (0.25, 0.20), -40, 220)
            + [(0.71, 0.22)]
        ],
    ],
    [  # 9: straight stem; curved stem
        [_arc((0.48, 0.31), (0.24, 0.22), 0, -360) + [(0.70, 0.50), (0.66, 0.92)]],
        [_arc((0.50, 0.32), (0.24, 0.23), 0, -360) + _arc((0.30, 0.42), (0.44, 0.50), -12, 80)],
    ],
]


@cache
def digit_points() -> NDArray[np.float32]:
    """Return the points of every digit and style: float32 (10, N_STYLES, N_POINTS, 2).

    The square's centre is the origin. Values are rounded, so that a platform's cosine does not
    show in them. The array is shared: do not write to it.
    """
    points = np.array([[_resample(style) for style in styles] for styles in SHAPES])
    rounded = np.round(points - 0.5, 5).astype(np.float32)
    rounded.flags.writeable = False
    return rounded


def _resample(strokes: list[Stroke]) -> NDArray[np.float64]:
    """Spread N_POINTS points evenly over all strokes: (N_POINTS, 2)."""
    corners = [np.array(stroke) for stroke in strokes]
    distances = [
        np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(stroke, axis=0).T))])
        for stroke in corners
    ]
    lengths = [distance[-1] for distance in distances]
    # Every stroke gets its share of the points, the longest what is left by rounding.
    counts = [max(2, round(N_POINTS * length / sum(lengths))) for length in lengths]
    counts[int(np.argmax(lengths))] += N_POINTS - sum(counts)
    sampled = []
    for stroke, distance, count in zip(corners, distances, counts, strict=True):
        at = np.linspace(0.0, distance[-1], count)
        sampled.append(
            np.stack([np.interp(at, distance, stroke[:, axis]) for axis in (0, 1)], axis=1)
        )
    return np.concatenate(sampled)
