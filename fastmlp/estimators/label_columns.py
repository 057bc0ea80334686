"""Class labels in several columns, each with classes of its own (multiclass-multioutput)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets, type_of_target


def has_class_columns(y: Any) -> bool:
    """Tell whether y has several columns of class labels, not of 0 and 1 for yes and no.

    Parameters
    ----------
    y : array or sparse matrix, shape (rows,) or (rows, columns)
    """
    if sparse.issparse(y):
        return False
    try:
        table = np.asarray(y)
    except ValueError:  # not rectangular: whoever checks y says so
        return False
    if table.ndim != 2 or table.shape[1] < 2:
        return False
    if table.dtype == object:  # strings beside numbers, as tables have them
        return True
    target_type = type_of_target(table, input_name="y")
    return target_type == "multiclass-multioutput" or (
        target_type == "multilabel-indicator" and not np.isin(table, (0, 1)).all()
    )


def is_per_column(classes: Any) -> bool:
    """Tell whether `classes` are lists of classes, one list per column."""
    return isinstance(classes, Iterable) and all(
        isinstance(each, Iterable) and not isinstance(each, (str, bytes)) for each in classes
    )


def columns_of(y: Any) -> list[NDArray[Any]]:
    """Return the columns of y (rows, columns), each (rows,) of its own type.

    Raises
    ------
    ValueError
        If a column has no labels in it, or labels that cannot be compared.
    """
    columns = []
    for index, column in enumerate(np.asarray(y).T):
        labels = column
        if column.dtype == object:
            kinds = sorted({type(label).__name__ for label in column})
            n_strings = sum(isinstance(label, str) for label in column)
            n_nested = sum(map(np.ndim, column))  # a string has none
            labels = column if n_nested else np.asarray(column.tolist())
            if labels.dtype == object or 0 < n_strings < len(column):
                raise ValueError(
                    f"y[:, {index}] must have numbers or strings for labels, all of one type; got "
                    f"{' and '.join(kinds)}"
                )
        check_classification_targets(labels)
        columns.append(labels)
    return columns


def classes_of_columns(classes: Any, n_columns: int) -> list[NDArray[Any]]:
    """Return the classes of each column, sorted.

    Raises
    ------
    ValueError
        If they are not one list per column.
    """
    if not is_per_column(classes) or len(classes) != n_columns:
        raise ValueError(
            f"classes must be a list of arrays, one for each of the {n_columns} columns of y; got "
            f"{classes!r}"
        )
    return [np.unique(np.asarray(each)) for each in classes]


def table_of(columns: Sequence[NDArray[Any]]) -> NDArray[Any]:
    """Return columns (rows,) as one array (rows, columns), of objects if their types differ."""
    if len({column.dtype.kind for column in columns}) > 1:
        columns = [column.astype(object) for column in columns]
    return np.stack(columns, axis=1)
