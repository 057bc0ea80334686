"""`MLPClassifier`: scikit-learn's, trained by `fastmlp.Trainer`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.utils import check_consistent_length, column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call
from sklearn.utils.validation import check_is_fitted

from ..custom import CustomLoss
from ..losses import (
    NAMED_LOSSES,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Focal,
    Hinge,
    Loss,
)
from .base import READ_AS_THEY_ARE, BaseMLP, check_solver
from .constraints import SHARED
from .label_columns import classes_of_columns, has_class_columns, is_per_column, table_of
from .labels import ClassLabels
from .sklearn_versions import validate_data

LOSSES_OF_CLASSES = (BinaryCrossEntropy, CategoricalCrossEntropy, Focal, Hinge, CustomLoss)


def _has_margins(estimator: Any) -> bool:
    """Whether the outputs are margins: of the fitted network, else by the loss asked for."""
    if hasattr(estimator, "_labels"):
        return bool(estimator._labels.has_margins)
    return estimator.loss == "hinge" or isinstance(estimator.loss, Hinge)


def _has_probabilities(estimator: Any) -> bool:
    """Whether the outputs are probabilities; else raise, as `hasattr` does."""
    if _has_margins(estimator):
        raise AttributeError(
            "the hinge loss gives no probabilities: take decision_function, or loss='log_loss'"
        )
    return True


class MLPClassifier(ClassifierMixin, BaseMLP):  # type: ignore[misc]
    """Multilayer perceptron for classes, as in scikit-learn.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default (100,)
        The widths of the hidden layers.
    activation : str or sequence of str, default "relu"
        "identity", "logistic", "tanh", "relu", or any other of ``fastmlp.ACTIVATIONS``; or one per
        hidden layer. A `CustomActivation` is your own.
    solver : {"adam", "sgd", "lbfgs"}, default "adam"
        "lbfgs" works on all rows at once, with SciPy.
    alpha : float, default 0.0001
        L2 penalty of the weights, divided by the rows of the batch (or the sum of their weights).
    batch_size : int or "auto", default "auto"
        Rows per step; "auto" is 200, or all rows if there are fewer.
    learning_rate : {"constant", "invscaling", "adaptive"}, default "constant"
        For solver="sgd". "invscaling" divides by ``(rows seen + 1) ** power_t`` after each epoch,
        "adaptive" by 5 whenever nothing has improved for `n_iter_no_change` epochs.
    learning_rate_init : float, default 0.001
    power_t : float, default 0.5
    max_iter : int, default 200
        The most epochs; for solver="lbfgs", iterations.
    shuffle : bool, default True
        Whether each epoch goes through the rows in a new order.
    random_state : int, RandomState or None, default None
        Of the initial parameters, the split for early stopping and the orders. With the same seed
        they are those of scikit-learn.
    tol : float, default 1e-4
        How much the loss, or the validation score, must improve.
    verbose : bool or int, default False
        Print the loss of each epoch.
    warm_start : bool, default False
        Whether `fit` goes on from where the last one stopped, with the state of the optimizer.
    momentum : float in [0, 1], default 0.9
    nesterovs_momentum : bool, default True
        For solver="sgd".
    early_stopping : bool, default False
        Stop when the validation score no longer improves, and keep the best parameters. The rows
        are held out of X (stratified by class), unless `fit` is given X_val and y_val.
    validation_fraction : float in [0, 1), default 0.1
        The share of the rows that is held out.
    beta_1, beta_2 : float in [0, 1), default 0.9 and 0.999
    epsilon : float, default 1e-8
        For solver="adam".
    n_iter_no_change : int, default 10
        For so many epochs nothing may improve before training stops.
    max_fun : int, default 15000
        The most calls of the objective with solver="lbfgs".
    loss : str or Loss, default "log_loss"
        "log_loss" (cross-entropy), "focal" or "hinge"; or an object: ``Focal(gamma)``,
        ``CategoricalCrossEntropy(label_smoothing)``, ``BinaryCrossEntropy(label_smoothing)`` (two
        classes, multilabel), ``Hinge()``, or a `CustomLoss` for "sigmoid" (the same) or "softmax".
        With the hinge loss there are no probabilities, but a `decision_function`.
    class_weight : dict, list of dict, "balanced" or None, default None
        How much the rows of each class count; for several columns a list of one dict per column,
        whose weights are multiplied.
    optimizer : Optimizer or str, optional
        Takes the place of `solver` and its settings: ``fastmlp.AdamW(...)``, "rmsprop", ... Its
        learning rate may be a schedule: ``SGD(fastmlp.OneCycle(0.1, epochs=20))``.
    dropout : float or Dropout, default 0.0
        The rate at which hidden units are left out while training, or a `fastmlp.Dropout` with
        rates per layer and of the input.
    normalization : {"batch", "layer"} or None, default None
        Normalise what the activations of hidden layers take, as `Network` describes it.
    regularization : Regularization, optional
        Takes the place of `alpha`: ``Regularization(l1=..., l2=..., max_norm=...)``; with
        ``divided_by_rows=True`` l1 and l2 have the scale of `alpha`.
    clipping : Clipping, optional
        Limits on the gradient, by value or by norm.
    init : str, default "auto"
        How the parameters start: as in scikit-learn, or "he", "glorot", "lecun", ..., as for
        `Network`.
    scale_inputs : {"standard", "minmax", "robust"} or None, default None
        Scale the features as scikit-learn's scalers do. The rows are scaled as they are read: X is
        not copied whole.
    scoring : str, callable or None, default None
        The validation score: the name of a scikit-learn metric, a scorer, or "loss". None is the
        accuracy, or R^2.
    callbacks : Callback or iterable of Callback, optional
        `fastmlp.Callback` objects, called while it trains: `ReduceOnPlateau`, `WeightAveraging`,
        `EarlyStopping`, or your own.
    time_limit : float or None, default None
        End training after so many seconds, with what was learned so far.
    progress : bool, default False
        Show a progress bar with the time left.
    backend : str, default "auto"
        "cython", "numba", "numpy" or "python".
    precision : {"auto", "float32", "float64", "bfloat16"}, default "auto"
        "auto" follows X: float32 for float32 and uint8, else float64 (as always with
        solver="lbfgs").
    n_threads : int or None, default None
        None takes OMP_NUM_THREADS, else the CPUs that the process may use.

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray
        Sorted; of each column, if y has several columns of classes.
    loss_, best_loss_ : float
        Of the last epoch and the least so far; `best_loss_` is None with early stopping. Where a
        call ends within its first epoch, `loss_` is the mean of the batches it trained on.
    loss_curve_ : list of float
        Of each epoch; not with solver="lbfgs".
    validation_scores_, best_validation_score_
        Of each epoch, and the best, if there is validation data; else None.
    validation_loss_curve_ : list of float or None
        The loss of the validation data after each epoch.
    coefs_, intercepts_ : list of ndarray
        Weights (fan_in, fan_out) and biases (fan_out,) per layer: views that may be assigned to.
    n_iter_, t_ : int
        Epochs of the last call, and the rows seen in all.
    n_layers_, n_outputs_ : int
        The input and the output are layers too.
    out_activation_ : str
    trainer_ : Trainer
        What does the work.
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        If X had names.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastmlp import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier(max_iter=500, scale_inputs="standard", random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    """

    _parameter_constraints = {
        **SHARED,
        "class_weight": [StrOptions({"balanced"}), dict, list, None],
        "loss": [StrOptions({"log_loss", "focal", "hinge"}), *LOSSES_OF_CLASSES],
    }

    def __init__(
        self,
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: str = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: Any = "log_loss",
        class_weight: Any = None,
        optimizer: Any = None,
        dropout: Any = 0.0,
        normalization: str | None = None,
        regularization: Any = None,
        clipping: Any = None,
        init: str = "auto",
        scale_inputs: str | None = None,
        scoring: Any = None,
        callbacks: Any = None,
        time_limit: float | None = None,
        progress: bool = False,
        backend: str = "auto",
        precision: str = "auto",
        n_threads: int | None = None,
    ) -> None:
        self._store(locals())

    def fit(
        self,
        X: Any,  # noqa: N803 (the field's own name)
        y: Any,
        sample_weight: Any = None,
        X_val: Any = None,  # noqa: N803
        y_val: Any = None,
        sample_weight_val: Any = None,
    ) -> MLPClassifier:
        """Train until the loss, or the validation score, no longer improves.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
            float32, float64 and uint8 arrays are read in place; sparse ones are never made dense
            whole.
        y : array of shape (rows,) or (rows, columns)
            Labels of any type. Several columns of nothing but 0 and 1 are yes or no each
            (multilabel); any others have classes of their own (multioutput), which share the
            hidden layers.
        sample_weight : array of shape (rows,), optional
        X_val, y_val, sample_weight_val : optional
            Validation data: evaluated after each epoch, and what early stopping looks at.

        Returns
        -------
        self

        Raises
        ------
        ValueError, TypeError
            If something does not fit.
        FitDivergedError
            A ValueError: the loss or the parameters are no longer finite. The last finite ones
            are kept.
        """
        self._fit(X, y, sample_weight, self._pair(X_val, y_val, sample_weight_val))
        return self

    @available_if(check_solver)  # type: ignore[untyped-decorator]
    def partial_fit(
        self,
        X: Any,  # noqa: N803 (the field's own name)
        y: Any,
        sample_weight: Any = None,
        classes: Any = None,
    ) -> MLPClassifier:
        """Train for one epoch; the random stream and the optimizer go on from call to call.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        y : array of shape (rows,) or (rows, columns)
        sample_weight : array of shape (rows,), optional
        classes : array of shape (n_classes,), or list of such arrays
            All classes that will come, for several columns of classes a list of one array per
            column; needed in the first call.

        Returns
        -------
        self
        """
        if self.class_weight == "balanced":
            raise ValueError(
                "class_weight='balanced' is not supported for partial_fit, which does not see all "
                "rows; compute the weights with sklearn.utils.compute_class_weight('balanced', ...)"
                " and pass them as a dict"
            )
        with self._whole_or_not_at_all():
            if self._is_first_call(y, classes):
                self._labels = ClassLabels(y, self._asked_loss(), classes)
                if self._labels.kind == "multioutput":
                    self.classes_ = self._labels.classes
            self._fit(X, y, sample_weight, incremental=True)
        return self

    def _is_first_call(self, y: Any, classes: Any) -> bool:
        """Tell whether this is the first `partial_fit`, whose classes are then set."""
        known = getattr(self, "classes_", None)
        if known is None:
            is_by_column = classes is not None and is_per_column(classes)
            if not is_by_column and not (classes is not None and has_class_columns(y)):
                return bool(_check_partial_fit_first_call(self, classes))
            return True
        if not isinstance(known, list) or classes is None:
            return bool(_check_partial_fit_first_call(self, classes))
        given = classes_of_columns(classes, len(known))
        if not all(map(np.array_equal, given, known)):
            raise ValueError(
                f"`classes={classes!r}` is not the same as on last call to partial_fit, was: "
                f"{known!r}"
            )
        return False

    def predict(self, X: Any) -> Any:  # noqa: N803 (the field's own name)
        """Return the labels (rows,) or (rows, columns), or (rows, labels) of 0 and 1.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        """
        outputs = self._outputs(X)  # says so if nothing is fitted
        return self._labels.decode(outputs)

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: Any) -> Any:  # noqa: N803 (the field's own name)
        """Return probabilities, (rows, n_classes), in the order of `classes_`.

        For several columns of classes a list of them, one array per column.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        """
        outputs = self._outputs(X)
        if self._labels.kind == "multioutput":
            return self._labels.split(outputs)
        return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: Any) -> Any:  # noqa: N803 (the field's own name)
        """Return the logarithm of `predict_proba`.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        """
        probabilities = self.predict_proba(X)
        with np.errstate(divide="ignore"):
            if isinstance(probabilities, list):
                return list(map(np.log, probabilities))
            return np.asarray(np.log(probabilities, out=probabilities))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:  # noqa: N803
        """Return the share of rows predicted right, in all of their columns.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        y : array of shape (rows,) or (rows, columns)
        sample_weight : array of shape (rows,), optional

        Returns
        -------
        float
        """
        check_is_fitted(self)
        if self._labels.kind != "multioutput":  # of which scikit-learn's own metrics take none
            return float(super().score(X, y, sample_weight))
        expected = table_of(self._labels.columns(y))
        check_consistent_length(X, expected, sample_weight)
        right = self.predict(X) == expected
        return float(np.average(right.all(axis=1), weights=sample_weight))

    @available_if(_has_margins)  # type: ignore[untyped-decorator]
    def decision_function(self, X: Any) -> NDArray[Any]:  # noqa: N803 (the field's own name)
        """Return margins, (rows,) for two classes or else (rows, n_classes); for the hinge loss.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        """
        outputs = self._outputs(X)
        return outputs[:, 0] if self._labels.kind == "binary" else outputs

    def _check_data(
        self,
        X: Any,  # noqa: N803
        y: Any,
        *,
        first: bool,
        incremental: bool,
    ) -> tuple[Any, NDArray[Any]]:
        X, y = validate_data(  # noqa: N806
            self,
            X,
            y,
            accept_sparse=["csr", "csc"],
            multi_output=True,
            dtype=READ_AS_THEY_ARE,
            reset=first,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        if first and not incremental:
            self._labels = ClassLabels(y, self._asked_loss())
            self.classes_ = self._labels.classes
        else:
            self._check_classes(y)
        self.n_outputs_ = self._labels.n_outputs
        return X, self._labels.encode(y)

    def _check_classes(self, y: Any) -> None:
        """Refuse classes that the last call did not have."""
        for name, found, known in self._labels.by_column(y):
            if self.warm_start and set(found) != set(known):
                raise ValueError(
                    f"warm_start can only be used where {name} has the same classes as in the "
                    f"previous call to fit. Previously got {known}, {name} has {found}"
                )
            unseen = np.setdiff1d(found, known, assume_unique=True)
            if len(unseen):
                raise ValueError(
                    f"{name} has classes not in `self.classes_`: {unseen}. `self.classes_` has "
                    f"{known}. Name all classes in the first call of partial_fit: classes=[...]"
                )

    def _encode(self, y: Any) -> NDArray[Any]:
        for name, found, known in self._labels.by_column(y):
            unseen = np.setdiff1d(found, known)
            if len(unseen):
                of_column = name.strip("`").replace("y", "y_val", 1)
                raise ValueError(f"{of_column} has classes that y has not: {unseen}")
        return self._labels.encode(y if hasattr(y, "tocsr") else np.asarray(y))

    def _row_weights(
        self, targets: NDArray[Any], sample_weight: NDArray[Any] | None
    ) -> NDArray[Any] | None:
        if self.class_weight is None:
            return sample_weight
        numbers = self._labels.numbers(targets)
        y = numbers if self._labels.kind == "multilabel" else self._labels.labels(numbers)
        if self.class_weight == "balanced":
            weights = np.asarray(compute_sample_weight("balanced", y))
        else:  # a batch of partial_fit need not hold every class: rows after it do
            every = self._labels.every_class()
            weights = np.asarray(
                compute_sample_weight(self.class_weight, np.concatenate([y, every]))
            )
            weights = weights[: len(y)]
            if not weights.any():
                raise ValueError(
                    f"class_weight={self.class_weight!r} gives every row of y the weight 0: there "
                    "is nothing to learn from. Leave such rows out, or give a class in them a "
                    "weight above 0"
                )
        return weights if sample_weight is None else weights * sample_weight

    def _strata(self, targets: NDArray[Any]) -> NDArray[Any] | None:
        if self._labels.kind in ("multilabel", "multioutput"):
            return None
        # A class of a single row cannot be on both sides.
        numbers = self._labels.numbers(targets)
        is_rare = self._labels.kind == "multiclass" and np.bincount(numbers).min() < 2
        return None if is_rare else numbers

    def _network_output(self) -> str:
        return self._labels.with_loss(self._asked_loss()).output

    def _network_width(self) -> int:
        return self._labels.with_loss(self._asked_loss()).n_outputs

    def _network_groups(self) -> list[int] | None:
        return self._labels.group_sizes

    def _asked_loss(self) -> Loss | None:
        """Return the loss that was named; None takes the cross-entropy of the labels' kind."""
        if isinstance(self.loss, Loss):
            return self.loss
        return None if self.loss == "log_loss" else NAMED_LOSSES[self.loss]

    def _network_loss(self) -> Loss | str:
        return self._asked_loss() or "auto"

    def _default_scoring(self) -> str | None:
        # The Trainer counts a row as right if all its margins are.
        is_one_against_rest = self._labels.has_margins and self._labels.kind == "multiclass"
        return "accuracy" if is_one_against_rest else None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        tags.target_tags.multi_output = True
        return tags

    def _more_tags(self) -> dict[str, Any]:  # what tags were before scikit-learn 1.6
        return {"multilabel": True, "multioutput": True}
