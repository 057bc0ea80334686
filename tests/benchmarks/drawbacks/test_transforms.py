"""Moved, turned and resized images."""

from __future__ import annotations

import numpy as np
import pytest

from fastmlp.benchmarks.drawbacks.transforms import (
    rotate,
    rotate_both_ways,
    scale,
    translate,
    translate_all_ways,
)

IMAGES = np.random.default_rng(0).random((5, 9, 8), dtype=np.float32)


@pytest.mark.parametrize(("down", "right"), [(0, 0), (2, 0), (0, 3), (-1, 2), (-4, -4)])
def test_translation_by_whole_pixels_is_exact(down: int, right: int) -> None:
    moved = translate(IMAGES, down, right)
    expected = np.roll(IMAGES, (down, right), axis=(1, 2))
    if down:
        expected[:, slice(None, down) if down > 0 else slice(down, None)] = 0
    if right:
        expected[:, :, slice(None, right) if right > 0 else slice(right, None)] = 0
    np.testing.assert_array_equal(moved, expected)
    assert moved.dtype == np.float32


def test_translation_out_of_the_image_leaves_nothing() -> None:
    assert not translate(IMAGES, 9, 0).any()


def test_half_a_pixel_is_the_mean_of_neighbours() -> None:
    moved = translate(IMAGES, 0, 0.5)
    np.testing.assert_allclose(moved[:, :, 1:], (IMAGES[:, :, 1:] + IMAGES[:, :, :-1]) / 2, 1e-6)


def test_rotation_by_nothing_is_identity() -> None:
    np.testing.assert_array_equal(rotate(IMAGES, 0.0), IMAGES)


@pytest.mark.parametrize("quarters", [1, 2, 3, 4])
def test_rotation_by_quarters_is_exact(quarters: int) -> None:
    square = IMAGES[:, :8]
    expected = np.rot90(square, -quarters, axes=(1, 2))  # clockwise
    np.testing.assert_array_equal(rotate(square, 90.0 * quarters), expected)


def test_scale() -> None:
    np.testing.assert_array_equal(scale(IMAGES, 1.0), IMAGES)
    disc = np.zeros((1, 21, 21), np.float32)
    disc[0, 8:13, 8:13] = 1.0  # 25 pixels about the centre
    assert scale(disc, 2.0).sum() == pytest.approx(100.0, rel=0.05)
    small = scale(disc, 0.5)
    assert 4.0 <= small.sum() <= 9.0
    np.testing.assert_array_equal(small, small[:, ::-1, ::-1])


def test_all_ways() -> None:
    moved = translate_all_ways(IMAGES, 2)
    for row, (down, right) in enumerate([(0, 2), (2, 0), (0, -2), (-2, 0), (0, 2)]):
        np.testing.assert_array_equal(moved[row], translate(IMAGES[row : row + 1], down, right)[0])


def test_both_ways() -> None:
    turned = rotate_both_ways(IMAGES, 30)
    np.testing.assert_array_equal(turned[::2], rotate(IMAGES[::2], 30))
    np.testing.assert_array_equal(turned[1::2], rotate(IMAGES[1::2], -30))
