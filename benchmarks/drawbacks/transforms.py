"""Moved, turned and resized images, by bilinear interpolation; what comes from outside is 0."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.float32]

DIRECTIONS = ((0.0, 1.0), (1.0, 0.0), (0.0, -1.0), (-1.0, 0.0))  # right, down, left, up


def affine(images: Images, matrix: NDArray[np.float64], offset: tuple[float, float]) -> Images:
    """Return images whose pixel at p is the old one at ``matrix @ p + offset``.

    Parameters
    ----------
    images : ndarray of float32, shape (rows, height, width)
    matrix : ndarray, shape (2, 2)
        Of (row, column), both counted from the image's centre.
    offset : tuple of float
        (row, column), in pixels.

    Returns
    -------
    ndarray of float32, shape (rows, height, width)
    """
    n, height, width = images.shape
    center = np.array([(height - 1) / 2, (width - 1) / 2])
    grid = np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), axis=-1)
    # Rounded, so that a turn by 0 or 90 degrees falls on pixels and not beside them.
    source = np.round((grid - center) @ matrix.T + center + np.array(offset), 9)
    corner = np.floor(source).astype(np.int64)  # (height, width, 2): above and left of the source
    share = source - corner
    flat = images.reshape(n, height * width)
    result = np.zeros((n, height * width), np.float32)
    for down in (0, 1):
        for right in (0, 1):
            row, column = corner[..., 0] + down, corner[..., 1] + right
            weight = np.abs(1 - down - share[..., 0]) * np.abs(1 - right - share[..., 1])
            inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
            used = (inside & (weight > 0)).ravel()
            index = (row * width + column).ravel()[used]
            result[:, used] += flat[:, index] * weight.ravel()[used].astype(np.float32)
    return result.reshape(images.shape)


def translate(images: Images, down: float, right: float) -> Images:
    """Move images (rows, height, width) by pixels; part of a pixel is interpolated."""
    return affine(images, np.eye(2), (-down, -right))


def rotate(images: Images, degrees: float) -> Images:
    """Turn images (rows, height, width) about their centre, clockwise."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return affine(images, np.array([[cosine, -sine], [sine, cosine]]), (0.0, 0.0))


def scale(images: Images, factor: float) -> Images:
    """Enlarge images (rows, height, width) about their centre; a factor below 1 makes smaller."""
    return affine(images, np.eye(2) / factor, (0.0, 0.0))


def translate_all_ways(images: Images, pixels: float) -> Images:
    """Move the images by `pixels`, the first to the right, the next down, then left, then up."""
    moved = np.empty_like(images)
    for index, (down, right) in enumerate(DIRECTIONS):
        moved[index::4] = translate(images[index::4], down * pixels, right * pixels)
    return moved


def rotate_both_ways(images: Images, degrees: float) -> Images:
    """Turn every other image clockwise, the rest the other way."""
    turned = np.empty_like(images)
    turned[0::2] = rotate(images[0::2], degrees)
    turned[1::2] = rotate(images[1::2], -degrees)
    return turned
