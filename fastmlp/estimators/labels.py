"""`ClassLabels`: a user's class labels to targets for the network, and its outputs back."""

from __future__ import annotations

import copy
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.utils.multiclass import check_classification_targets, type_of_target, unique_labels

from ..custom import CustomLoss
from ..losses import BinaryCrossEntropy, CategoricalCrossEntropy, Hinge, Loss, goes_with
from .label_columns import (
    classes_of_columns,
    columns_of,
    has_class_columns,
    is_per_column,
    table_of,
)

DESCRIPTIONS = {
    "binary": "two classes",
    "multiclass": "several classes",
    "multilabel": "several columns of 0 and 1",
    "multioutput": "several columns of classes",
}
"""Of the kinds of labels, for errors."""


class ClassLabels:
    """The classes that were seen, and what they are to the network.

    ===========  ======================================  ==========================
    kind         targets                                 output of the network
    ===========  ======================================  ==========================
    binary       0 or 1, (rows,); all 0 for one class    one sigmoid
    multiclass   class numbers (rows,)                   softmax, one per class
    multilabel   0 or 1, (rows, labels)                  sigmoid, one per label
    multioutput  class numbers (rows, columns)           a softmax per column
    ===========  ======================================  ==========================

    Some losses want it otherwise: `Hinge` has margins for output (class against the rest, for
    several classes), and `CategoricalCrossEntropy` a softmax for two classes too, as has a
    `CustomLoss` that is written for it.

    Parameters
    ----------
    y : array of shape (rows,), or array or sparse matrix of shape (rows, columns)
        Labels of any type that can be sorted, in each column. Several columns of nothing but 0 and
        1 are multilabel.
    loss : Loss or None
        None takes cross-entropy.
    classes : array of shape (n_classes,), or list of such arrays, optional
        The classes, a list of one array per column for several; None: those in y. A list makes
        columns of 0 and 1 multioutput.

    Raises
    ------
    ValueError
        If they are not labels, or the loss or the classes do not go with several columns of them.
    """

    def __init__(self, y: Any, loss: Loss | None = None, classes: Any = None) -> None:
        self.is_sparse = sparse.issparse(y)
        self.kind: Literal["binary", "multiclass", "multilabel", "multioutput"] = "multiclass"
        self.classes: Any  # an array, or a list of arrays
        if has_class_columns(y) or (classes is not None and is_per_column(classes)):
            self.kind = "multioutput"
            self._set_columns(y, classes)
            self._take_loss(loss)
            return
        target_type = type_of_target(y, input_name="y")
        if "multioutput" in target_type:
            raise ValueError(
                "y with several columns must have classes in each. Multioutput target data of "
                f"other kinds is not supported; got y of the type {target_type!r}"
            )
        check_classification_targets(y)
        is_multilabel = target_type.startswith("multilabel")
        self.classes = unique_labels(y if classes is None or is_multilabel else classes)
        if is_multilabel:
            self.kind = "multilabel"
        self._take_loss(loss)

    def _set_columns(self, y: Any, classes: Any) -> None:
        """Take the classes of several columns, from y unless they are given."""
        shape = np.shape(y)
        if self.is_sparse or len(shape) != 2:
            found = "a sparse matrix" if self.is_sparse else f"the shape {shape}"
            raise ValueError(
                "classes, a list of arrays, are of a dense y with a column for each of them; got "
                f"{found}"
            )
        if classes is None:
            self.classes = [np.unique(column) for column in columns_of(y)]
        else:
            self.classes = classes_of_columns(classes, shape[1])

    def with_loss(self, loss: Loss | None) -> ClassLabels:
        """Return the same labels for another loss, which may want another output."""
        labels = copy.copy(self)
        labels._take_loss(loss)
        return labels

    def _take_loss(self, loss: Loss | None) -> None:
        """Decide on the output; refuse a loss that has no form for such labels, and name others."""
        self.has_margins = isinstance(loss, Hinge)
        if self.kind in ("binary", "multiclass"):
            wants_softmax = isinstance(loss, CategoricalCrossEntropy) or (
                isinstance(loss, CustomLoss) and loss.output == "softmax"
            )
            is_binary = len(self.classes) <= (1 if wants_softmax else 2)
            self.kind = "binary" if is_binary else "multiclass"
        if loss is None or goes_with(loss, self.output):
            return
        smoothed = CategoricalCrossEntropy if self.output == "softmax" else BinaryCrossEntropy
        hinge = "" if self.kind == "multioutput" else ", 'hinge'"
        found = "one class" if len(self.classes) == 1 else DESCRIPTIONS[self.kind]
        raise ValueError(
            f"loss={loss!r} does not go with y, which has {found} and so an "
            f"output activation {self.output!r}: take loss='log_loss', 'focal'{hinge}, "
            f"{smoothed.__name__}(label_smoothing=...) or CustomLoss(output={self.output!r})"
        )

    @property
    def group_sizes(self) -> list[int] | None:
        """How many outputs each softmax takes; None: all are of one kind."""
        return list(map(len, self.classes)) if self.kind == "multioutput" else None

    @property
    def n_outputs(self) -> int:
        """How wide the network's output is."""
        if self.kind == "multioutput":
            return sum(map(len, self.classes))
        return 1 if self.kind == "binary" else len(self.classes)

    @property
    def output(self) -> str:
        """The network's output activation."""
        if self.has_margins and self.kind != "multioutput":
            return "identity"
        return "softmax" if self.kind in ("multiclass", "multioutput") else "sigmoid"

    def by_column(self, y: Any) -> list[tuple[str, NDArray[Any], NDArray[Any]]]:
        """Return what to call it, the classes found and the classes known, of each column.

        Raises
        ------
        ValueError
            If y has not as many columns as the first one.
        """
        if self.kind in ("binary", "multiclass") and np.ndim(y) != 1:
            raise ValueError(
                f"y must be flat, with one label per row, as in the first call; got the shape "
                f"{np.shape(y)}"
            )
        if self.kind != "multioutput":
            return [("`y`", unique_labels(y), self.classes)]
        found = map(np.unique, self.columns(y))
        names = [f"`y[:, {index}]`" for index in range(len(self.classes))]
        return list(zip(names, found, self.classes, strict=True))

    def columns(self, y: Any) -> list[NDArray[Any]]:
        """Return the columns of a multioutput y, (rows,) each; refuse more or fewer of them."""
        shape, n_columns = np.shape(y), len(self.classes)
        if len(shape) != 2 or shape[1] != n_columns:
            raise ValueError(
                f"y must have {n_columns} columns of classes, as in the first call; got the shape "
                f"{shape}"
            )
        return columns_of(y)

    def encode(self, y: Any) -> NDArray[Any]:
        """Return targets for the network."""
        if self.kind == "multioutput":
            pairs = zip(self.classes, self.columns(y), strict=True)
            return np.stack([np.searchsorted(*pair) for pair in pairs], axis=1)
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
        """Return class numbers (rows,) or (rows, columns), or 0 and 1 (rows, labels).

        They are of what `encode` returned.
        """
        if self.kind == "multiclass" and self.has_margins:
            return np.asarray(targets.argmax(axis=1))
        return targets.astype(np.intp)

    def labels(self, numbers: NDArray[Any]) -> NDArray[Any]:
        """Return the labels of class numbers, (rows,) or (rows, columns)."""
        if self.kind == "multioutput":
            pairs = zip(self.classes, numbers.T, strict=True)
            return table_of([classes[column] for classes, column in pairs])
        return np.asarray(self.classes[numbers])

    def every_class(self) -> NDArray[Any]:
        """Return labels as `labels` does (0 and 1 of each label), in which every class occurs."""
        if self.kind == "multioutput":
            n_rows = max(map(len, self.classes))
            return table_of([np.resize(classes, n_rows) for classes in self.classes])
        if self.kind == "multilabel":
            return np.repeat([[0], [1]], len(self.classes), axis=1)
        return np.asarray(self.classes)

    def split(self, outputs: NDArray[Any]) -> list[NDArray[Any]]:
        """Return the outputs of each column, (rows, its classes)."""
        ends = np.cumsum([len(each) for each in self.classes])
        return [np.ascontiguousarray(part) for part in np.split(outputs, ends[:-1], axis=1)]

    def decode(self, outputs: NDArray[Any]) -> Any:
        """Return the labels for outputs (rows, n_outputs); sparse if the first `y` was."""
        if self.kind == "multioutput":
            return self.labels(np.stack([p.argmax(axis=1) for p in self.split(outputs)], axis=1))
        if self.kind == "multiclass":
            return self.classes[outputs.argmax(axis=1)]
        chosen = outputs > (0.0 if self.has_margins else 0.5)
        if self.kind == "binary":
            return self.classes[np.minimum(chosen[:, 0], len(self.classes) - 1).astype(np.intp)]
        return sparse.csr_matrix(chosen.astype(int)) if self.is_sparse else chosen.astype(int)
