"""Scaling inside the estimator: scikit-learn's scalers, applied to rows as they are read."""

from __future__ import annotations

from typing import Any

from sklearn.preprocessing import MinMaxScaler, RobustScaler, StandardScaler

ROWS_PER_STEP = 8192


def make_scaler(kind: str, X: Any) -> Any:  # noqa: N803 (the field's own name)
    """Return a scaler that has seen X; sparse X keeps its zeros.

    Parameters
    ----------
    kind : {"standard", "minmax", "robust"}
    X : array or sparse matrix, shape (rows, n_features)

    Raises
    ------
    ValueError
        For "minmax" and sparse X, which would not stay sparse.
    """
    is_sparse = hasattr(X, "tocsr")
    if kind == "robust":  # quantiles need all rows
        return RobustScaler(with_centering=not is_sparse).fit(X)
    if kind == "minmax" and is_sparse:
        raise ValueError(
            "scale_inputs='minmax' needs a dense X, because zeros would not stay zeros; got a "
            "sparse one: take scale_inputs='standard', which then leaves the mean where it is"
        )
    scaler = MinMaxScaler() if kind == "minmax" else StandardScaler(with_mean=not is_sparse)
    rows = X.tocsr() if is_sparse else X
    for start in range(0, rows.shape[0], ROWS_PER_STEP):
        scaler.partial_fit(rows[start : start + ROWS_PER_STEP])
    return scaler
