"""The digits' shapes stay in their square, evenly sampled, and differ from each other."""

from __future__ import annotations

import numpy as np
import pytest

from fastmlp.datasets.digit_shapes import N_POINTS, N_STYLES, digit_points


def test_points_fill_the_square() -> None:
    points = digit_points()
    assert points.shape == (10, N_STYLES, N_POINTS, 2)
    assert points.dtype == np.float32
    assert np.abs(points).max() <= 0.5
    heights = points[..., 1].max(axis=2) - points[..., 1].min(axis=2)
    assert heights.min() > 0.7


def test_points_are_evenly_spaced() -> None:
    steps = np.linalg.norm(np.diff(digit_points(), axis=2), axis=3)  # (10, styles, points - 1)
    longest_steps = np.sort(steps, axis=2)
    # A style has at most two strokes: one step may be a jump from one to the next.
    assert longest_steps[..., -2].max() < 0.06


def test_shapes_differ() -> None:
    points = digit_points().reshape(10 * N_STYLES, N_POINTS, 2).astype(np.float64)
    for i in range(len(points)):
        for j in range(i):
            apart = np.linalg.norm(points[i][:, None] - points[j][None], axis=2)
            # Somewhere, one shape has ink that is far from all of the other's.
            assert max(apart.min(axis=0).max(), apart.min(axis=1).max()) > 0.06


def test_shared_array_is_read_only() -> None:
    with pytest.raises(ValueError, match="read-only"):
        digit_points()[0] = 0
