"""Scaling inside the estimator: what scikit-learn's scalers do, as numbers for the network."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

ROWS_PER_STEP = 8192
VALUES_PER_STEP = 2**19
"""Of dense X, which a scaler converts to float64: so many fit a cache and take few MiB."""

Numbers = float | NDArray[np.float64]


def center_and_scale(kind: str | None, X: Any) -> tuple[Numbers, Numbers]:  # noqa: N803 (the field's own name)
    """Return the network's `input_center` and `input_scale` for X: one per feature, or 0 and 1.

    Sparse X keeps its zeros: its center is 0.

    Parameters
    ----------
    kind : {"standard", "minmax", "robust"} or None
    X : array or sparse matrix, shape (rows, n_features)

    Raises
    ------
    ValueError
        For "minmax" and sparse X, which would not stay sparse.
    """
    if kind is None:
        return 0.0, 1.0
    is_sparse = hasattr(X, "tocsr")
    if kind == "robust":  # quantiles need all rows
        if is_sparse:
            return 0.0, 1.0 / RobustScaler(with_centering=False).fit(X).scale_
        n_columns = max(1, VALUES_PER_STEP // X.shape[0])
        parts = [
            RobustScaler().fit(X[:, first : first + n_columns])
            for first in range(0, X.shape[1], n_columns)
        ]
        center, scale = (
            np.concatenate([getattr(part, name) for part in parts])
            for name in ("center_", "scale_")
        )
        return center, 1.0 / scale
    if kind == "minmax" and is_sparse:
        raise ValueError(
            "scale_inputs='minmax' needs a dense X, because zeros would not stay zeros; got a "
            "sparse one: take scale_inputs='standard', which then leaves the mean where it is"
        )
    scaler = MinMaxScaler() if kind == "minmax" else StandardScaler(with_mean=not is_sparse)
    rows = X.tocsr() if is_sparse else X
    step = ROWS_PER_STEP
    if not is_sparse:
        step = min(step, max(512, VALUES_PER_STEP // X.shape[1]))
    for start in range(0, rows.shape[0], step):
        scaler.partial_fit(rows[start : start + step])
    if kind == "minmax":
        return scaler.data_min_, scaler.scale_
    return 0.0 if is_sparse else scaler.mean_, 1.0 / scaler.scale_
