"""`ClassLabels`: a user's class labels to targets for the network, and its outputs back."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from ..custom import CustomLoss
from ..losses import CategoricalCrossEntropy, Hinge, Loss


class ClassLabels:
    """The classes that were seen, and what they are to the network.

    ===========  ======================================  ==========================
    kind         targets                                 output of the network
    ===========  ======================================  ==========================
    binary       0 or 1, (rows,); all 0 for one class    one sigmoid
    multiclass   class numbers (rows,)                   softmax, one per class
    multilabel   0 or 1, (rows, labels)                  sigmoid, one per label
    ===========  ======================================  ==========================

    Some losses want it otherwise: `Hinge` has margins for output (class against the rest, for
    several classes), and `CategoricalCrossEntropy` a softmax for two classes too, as has a
    `CustomLoss` that is written for it.

    Parameters
    ----------
    y : array of shape (rows,), or array or sparse matrix of shape (rows, labels)
        Labels of any type that can be sorted.
    loss : Loss or None
        None takes cross-entropy.

    Raises
    ------
    ValueError
        If they are not labels.
    """

    def __init__(self, y: Any, loss: Loss | None = None) -> None:
        target_type = type_of_target(y, input_name="y")
        if "multioutput" in target_type:
            raise ValueError(
                "y with several columns must be multilabel (0 or 1 in each). Multioutput target "
                f"data is not supported with label binarization; got y of the type {target_type!r}"
            )
        check_classification_targets(y)
        self.classes: NDArray[Any] = unique_labels(y)
        self.is_sparse = sparse.issparse(y)
        self.has_margins = isinstance(loss, Hinge)
        self.kind: Literal["binary", "multiclass", "multilabel"] = "multiclass"
        wants_softmax = isinstance(loss, CategoricalCrossEntropy) or (
            isinstance(loss, CustomLoss) and loss.output == "softmax"
        )
        n_binary = 1 if wants_softmax else 2
        if target_type.startswith("multilabel"):
            self.kind = "multilabel"
        elif len(self.classes) <= n_binary:
            self.kind = "binary"

    @property
    def n_outputs(self) -> int:
        """How wide the network's output is."""
        return 1 if self.kind == "binary" else len(self.classes)

    @property
    def output(self) -> str:
        """The network's output activation."""
        if self.has_margins:
            return "identity"
        return "softmax" if self.kind == "multiclass" else "sigmoid"

    def encode(self, y: Any) -> NDArray[Any]:
        """Return targets for the network."""
        if self.kind == "multilabel":
            dense = y.toarray() if sparse.issparse(y) else np.asarray(y)
            if dense.ndim != 2 or dense.shape[1] != len(self.classes):
                raise ValueError(
                    f"y must be multilabel with {len(self.classes)} columns, as in the first call; "
                    f"got the shape {dense.shape}"
                )
            return np.asarray(dense, bool)
        if self.kind == "multiclass":
            numbers = np.asarray(np.searchsorted(self.classes, y))
            return np.eye(len(self.classes), dtype=bool)[numbers] if self.has_margins else numbers
        if len(self.classes) == 1:
            return np.zeros(len(y), bool)
        return np.asarray(y == self.classes[1], bool)

    def numbers(self, targets: NDArray[Any]) -> NDArray[np.intp]:
        """Return class numbers (rows,), or 0 and 1 (rows, labels), for what `encode` returned."""
        if self.kind == "multiclass" and self.has_margins:
            return np.asarray(targets.argmax(axis=1))
        return targets.astype(np.intp)

    def decode(self, outputs: NDArray[Any]) -> Any:
        """Return the labels for outputs (rows, n_outputs); sparse if the first `y` was."""
        if self.kind == "multiclass":
            return self.classes[outputs.argmax(axis=1)]
        chosen = outputs > (0.0 if self.has_margins else 0.5)
        if self.kind == "binary":
            return self.classes[np.minimum(chosen[:, 0], len(self.classes) - 1).astype(np.intp)]
        return sparse.csr_matrix(chosen.astype(int)) if self.is_sparse else chosen.astype(int)
