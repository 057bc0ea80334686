"""`HiddenLayers`: what the hidden layers hand on, as scikit-learn's `transform`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._set_output import _wrap_data_with_container
from sklearn.utils.validation import check_is_fitted

if TYPE_CHECKING:
    from ..trainer import Trainer


class HiddenLayers:
    """A base of `BaseMLP`, and not of its transformers.

    scikit-learn wraps the `transform` of those, to make tables for `set_output`, and names as many
    columns as the last hidden layer has; but `transform` is of any layer.
    """

    _trainer: Trainer

    def _check_features(self, X: Any) -> Any:  # noqa: N803 (the field's own name)
        """Check features to predict with."""
        raise NotImplementedError

    def transform(self, X: Any, layer: int = -1) -> Any:  # noqa: N803
        """Return what a hidden layer hands on, (rows, its width).

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        layer : int, default -1
            0 is the first hidden layer, -1 the last.

        Returns
        -------
        ndarray, or the table that ``set_output`` asks for
        """
        check_is_fitted(self)
        handed_on: NDArray[Any] = self._trainer.hidden(self._check_features(X), layer)
        prefix, width = type(self).__name__.lower(), handed_on.shape[1]
        names = np.array([f"{prefix}{index}" for index in range(width)], object)
        told = ("_sklearn_output_config", "_sklearn_auto_wrap_output_keys")
        named = SimpleNamespace(
            get_feature_names_out=lambda: names,
            **{name: getattr(self, name) for name in told if hasattr(self, name)},
        )
        return _wrap_data_with_container("transform", handed_on, X, named)

    @property
    def _n_features_out(self) -> int:
        """How wide the last hidden layer is, for ``get_feature_names_out``."""
        return self._trainer.network.sizes[-2]
