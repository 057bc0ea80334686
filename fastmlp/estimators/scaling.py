"""Scaling inside the estimator: as scikit-learn's scalers do, of rows as they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
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


@dataclass(frozen=True)
class Scaling:
    """What a scaler does to dense rows: ``(x - center) * factor``, in one type from end to end.

    Attributes
    ----------
    center, factor : ndarray, shape (n_features,)
    """

    center: NDArray[Any]
    factor: NDArray[Any]

    @classmethod
    def of(cls, scaler: Any, precision: str) -> Scaling:
        """Return that of a scikit-learn scaler, computed in `precision`."""
        if isinstance(scaler, MinMaxScaler):
            center, factor = scaler.data_min_, scaler.scale_
        else:
            factor = 1.0 / scaler.scale_
            is_robust = isinstance(scaler, RobustScaler)
            is_centred = scaler.with_centering if is_robust else scaler.with_mean
            # One that has seen sparse rows leaves zeros where they are.
            center = np.zeros_like(factor)
            if is_centred:
                center = scaler.center_ if is_robust else scaler.mean_
        return cls(np.asarray(center, precision), np.asarray(factor, precision))

    def __call__(self, rows: NDArray[Any]) -> NDArray[Any]:
        """Return rows (some rows, n_features), scaled; float64 ones stay float64."""
        kind = np.result_type(rows.dtype, self.center.dtype)
        scaled: NDArray[Any] = np.subtract(rows, self.center, dtype=kind)
        scaled *= self.factor
        return scaled
