"""What every loader returns."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Dataset"]


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """A classification problem, split into training and test rows.

    Two data sets are equal only if they are the same object: comparing arrays is left to NumPy.

    Attributes
    ----------
    name : str
        The name that `fastmlp.datasets.load` knows it by.
    x_train, x_test : ndarray of uint8, shape (rows, features)
        Pixels from 0 to 255, one image per row. They are not scaled: training scales rows batch by
        batch, so that the data are never copied whole.
    y_train, y_test : ndarray of int64, shape (rows,)
        Class numbers from 0 to ``n_classes - 1``.
    n_classes : int
        How many classes there are.
    image_shape : tuple of int, or None
        What a row reshapes to for a picture: (height, width), or (channels, height, width).
        None if the rows are no images.
    """

    name: str
    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]
    n_classes: int
    image_shape: tuple[int, ...] | None = None

    def __repr__(self) -> str:
        """Shapes and dtypes instead of pixels."""
        return (
            f"Dataset(name={self.name!r}, "
            f"x_train={self.x_train.dtype}{list(self.x_train.shape)}, "
            f"x_test={self.x_test.dtype}{list(self.x_test.shape)}, "
            f"n_classes={self.n_classes}, image_shape={self.image_shape})"
        )
