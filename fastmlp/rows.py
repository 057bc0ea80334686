"""`Rows`: features that become a dense array a few rows at a time, never whole."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .kernels.contract import SparseMatrix

DENSE_BYTES = 2**24
"""How large the dense array of one call may become, if one batch is not larger already."""

DENSEST = 0.15
"""Sparse rows with a larger share stored are quicker dense: measured, for 300 to 5,000 inputs."""


class Rows(ABC):
    """Features that a `Trainer` asks for chunk by chunk: sparse, or read from elsewhere.

    A subclass says its `shape` and gives `take`. What `take` returns is checked as an array
    passed to the Trainer would be; it may be changed by nobody until the next call.
    """

    @property
    @abstractmethod
    def shape(self) -> tuple[int, int]:
        """(rows, n_inputs)."""

    @abstractmethod
    def take(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows, by a slice or by their numbers, as an array (rows, n_inputs)."""

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        return self.take(rows)

    def most_rows(self) -> int:
        """Return how many rows at once stay within `DENSE_BYTES` in float64, at least one."""
        return max(1, DENSE_BYTES // (8 * self.shape[1]))


class SparseRows(Rows):
    """A sparse matrix or array of SciPy.

    Parameters
    ----------
    matrix : sparse matrix or array, shape (rows, n_inputs)
        Rows are taken of its CSR form; another form is converted to it, still sparse.

    Raises
    ------
    ValueError
        If its arrays do not fit one another: SciPy does not look, and neither do the engines.
    """

    def __init__(self, matrix: Any) -> None:
        self.matrix = matrix.tocsr()
        _check_compressed(self.matrix)
        self._compressed: dict[str, SparseMatrix] = {}  # by precision, as engines read it

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, n_inputs)."""
        shape: tuple[int, int] = self.matrix.shape  # SciPy has arrays of one dimension too
        return shape

    @property
    def is_thin(self) -> bool:
        """Whether work on what is stored alone is quicker than on the dense rows."""
        n_rows, n_inputs = self.shape
        return bool(self.matrix.nnz <= DENSEST * n_rows * n_inputs)

    def take(self, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows as a dense array."""
        return np.asarray(self.matrix[rows].toarray())

    def compressed(self, precision: str, rows: slice = slice(None)) -> SparseMatrix:
        """Return consecutive rows as they are, for engines that read sparse rows.

        Nothing is copied that has the right type already.
        """
        if precision not in self._compressed:
            self._compressed[precision] = SparseMatrix(
                np.ascontiguousarray(self.matrix.indptr, np.int64),
                np.ascontiguousarray(self.matrix.indices, np.int32),
                np.ascontiguousarray(self.matrix.data, precision),
            )
        whole = self._compressed[precision]
        first, last, _ = rows.indices(len(self))
        return replace(whole, starts=whole.starts[first : last + 1])


def _check_compressed(matrix: Any) -> None:
    """Refuse a CSR matrix that points outside of itself."""
    starts, columns, width = matrix.indptr, matrix.indices, matrix.shape[-1]
    n_stored = min(len(columns), len(matrix.data))
    if starts[0] != 0 or (starts[1:] < starts[:-1]).any() or starts[-1] > n_stored:
        raise ValueError(
            f"X must be a sparse matrix whose indptr rises from 0 to at most {n_stored}, what is "
            "stored; got another: make it of (values, (rows, columns)), which SciPy puts in order"
        )
    columns = columns[: starts[-1]]
    if len(columns) and not 0 <= columns.min() <= columns.max() < width:
        raise ValueError(
            f"X must be a sparse matrix whose indices are column numbers from 0 to {width - 1}; "
            f"got {columns.min()} to {columns.max()}"
        )
