from __future__ import annotations

import io

import numpy as np
import pytest

from fastmlp.benchmarks.report.model import Picture
from fastmlp.benchmarks.report.picture import data_uri, mosaic, png


def test_images_stand_side_by_side_with_a_gap() -> None:
    images = [[[1, 2]], [[3, 4]], [[5, 6]], [[7, 8]]]
    assert mosaic(Picture("n", "t", 2, 1, images, [])) == [
        [1, 2, 255, 3, 4],
        [255, 255, 255, 255, 255],
        [5, 6, 255, 7, 8],
    ]


def test_png_can_be_read_again() -> None:
    image = pytest.importorskip("PIL.Image")
    pixels = np.arange(12).reshape(3, 4) * 20
    found = image.open(io.BytesIO(png(pixels.tolist())))
    assert found.mode == "L"
    assert np.array_equal(np.asarray(found), pixels)


def test_data_uri_holds_the_file() -> None:
    assert data_uri([[0]]).startswith("data:image/png;base64,iVBOR")


@pytest.mark.parametrize(("count", "across"), [(1, 1), (8, 4), (12, 4), (16, 4), (7, 3), (13, 4)])
def test_rows_are_full_where_they_can_be(count: int, across: int) -> None:
    pixels = mosaic(Picture("n", "t", 1, 1, [[[0]]] * count, []))
    assert len(pixels[0]) == 2 * across - 1
