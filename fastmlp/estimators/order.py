"""`EpochOrder`: which rows an epoch goes through, drawn as scikit-learn draws them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class EpochOrder:
    """Called with the number of rows, gives the order of one epoch; ``Trainer(shuffle=...)``.

    With the same seed it is the order of scikit-learn's estimators: each epoch shuffles the order
    of the one before.

    Parameters
    ----------
    random_state : numpy.random.RandomState

    Attributes
    ----------
    shuffle : bool
        Whether to shuffle at all.
    rows : ndarray of int64 or None
        The only rows to go through; None takes all.
    """

    def __init__(self, random_state: Any) -> None:
        self.random_state = random_state
        self.shuffle = True
        self.rows: NDArray[np.int64] | None = None
        self._last: NDArray[np.int64] | None = None

    def __call__(self, n_rows: int) -> NDArray[np.int64]:
        """Return the row numbers of the next epoch."""
        n_taken = n_rows if self.rows is None else len(self.rows)
        order = np.arange(n_taken)
        if self.shuffle:
            permutation = self.random_state.permutation(n_taken)
            if self._last is not None and len(self._last) == n_taken:
                order = self._last
            self._last = order = order[permutation]
        return order if self.rows is None else self.rows[order]
