"""`MLPRegressor`: scikit-learn's, trained by `fastmlp.Trainer`."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import RegressorMixin
from sklearn.utils import check_array, column_or_1d
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from ..custom import CustomActivation, CustomLoss
from ..kernels.formulas import ACTIVATIONS
from ..losses import NAMED_LOSSES, Gamma, Loss, Poisson, Quantile, SquaredError
from .base import READ_AS_THEY_ARE, BaseMLP, check_solver
from .constraints import SHARED
from .own_names import OWN_NAMES, own_name
from .sklearn_versions import validate_data

NAMES = ("squared_error", "poisson", "absolute_error", "huber", "quantile", "gamma")
"""Of the losses for values, in ``fastmlp.losses``."""
OBJECTS = (*(type(NAMED_LOSSES[name]) for name in NAMES), CustomLoss)


def _has_quantiles(estimator: Any) -> bool:
    """Whether the outputs are quantiles: of the fitted network, else by the loss asked for."""
    trainer = getattr(estimator, "_trainer", None)
    loss = estimator.loss if trainer is None else trainer.loss
    return loss == "quantile" or isinstance(loss, Quantile)


class MLPRegressor(RegressorMixin, BaseMLP):  # type: ignore[misc]
    """Multilayer perceptron for values, as in scikit-learn.

    Parameters
    ----------
    loss : str or Loss, default "squared_error"
        "squared_error", "poisson", "absolute_error", "huber", "quantile" or "gamma"; or an object:
        ``Huber(delta)``, ``Quantile((0.1, 0.5, 0.9))``, or a `CustomLoss` of your own.
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
    output : str, default "auto"
        The output activation: any of ``fastmlp.ACTIVATIONS``, such as "softplus" for values above 0
        or "sigmoid" for values in (0, 1). "auto" is "exponential" for "poisson" and "gamma", and
        else "identity".
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
    >>> from sklearn.datasets import make_regression
    >>> from fastmlp import MLPRegressor
    >>> X, y = make_regression(n_samples=200, n_features=20, random_state=1)
    >>> MLPRegressor(random_state=1, max_iter=2000, tol=0.1).fit(X, y).score(X, y) > 0.95
    True
    """

    _parameter_constraints = {
        **SHARED,
        "loss": [StrOptions(set(NAMES)), *OBJECTS],
        "output": [StrOptions({"auto", *OWN_NAMES, *ACTIVATIONS}), CustomActivation],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
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
        output: Any = "auto",
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
    ) -> MLPRegressor:
        """Train until the loss, or the validation score, no longer improves.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
            float32, float64 and uint8 arrays are read in place; sparse ones are never made dense
            whole.
        y : array of shape (rows,) or (rows, n_outputs)
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
    ) -> MLPRegressor:
        """Train for one epoch; the random stream and the optimizer go on from call to call.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        y : array of shape (rows,) or (rows, n_outputs)
        sample_weight : array of shape (rows,), optional

        Returns
        -------
        self
        """
        self._fit(X, y, sample_weight, incremental=True)
        return self

    def predict(self, X: Any) -> NDArray[Any]:  # noqa: N803 (the field's own name)
        """Return the values, (rows,) or (rows, n_outputs); of quantiles that nearest the median.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        """
        outputs = self._outputs(X)[:, self._trainer.loss.scored_outputs]
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    @available_if(_has_quantiles)  # type: ignore[untyped-decorator]
    def predict_quantiles(self, X: Any) -> NDArray[Any]:  # noqa: N803 (the field's own name)
        """Return every quantile of ``Quantile``, (rows, quantiles) or (rows, n_outputs, quantiles).

        ``Quantile((0.05, 0.5, 0.95))`` gives a median and a prediction interval of 90%. Quantiles
        that cross are put in order.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        """
        outputs = self._outputs(X)
        loss: Any = self._trainer.loss
        by_target = outputs.reshape(len(outputs), self.n_outputs_, loss.outputs_per_target)
        by_size = np.argsort(loss.quantiles)
        ordered = np.empty_like(by_target)
        ordered[..., by_size] = np.sort(by_target, axis=2)
        return ordered[:, 0] if self.n_outputs_ == 1 else ordered

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
            y_numeric=True,
            dtype=READ_AS_THEY_ARE,
            reset=first,
        )
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        n_outputs = 1 if y.ndim == 1 else y.shape[1]
        if not first and n_outputs != self.n_outputs_:
            raise ValueError(
                f"y must have {self.n_outputs_} outputs, as in the previous call; got {n_outputs}"
            )
        self.n_outputs_ = n_outputs
        return X, y

    def _encode(self, y: Any) -> NDArray[Any]:
        values: NDArray[Any] = check_array(y, ensure_2d=False, input_name="y_val")
        return values[:, 0] if values.ndim == 2 and values.shape[1] == 1 else values

    def _network_width(self) -> int:
        return self.n_outputs_ * self._network_loss().outputs_per_target

    def _network_output(self) -> str | CustomActivation:
        loss, asked = self._network_loss(), self.output
        if asked != "auto":
            return own_name(asked)
        if isinstance(loss, CustomLoss):
            return loss.output
        return "exponential" if isinstance(loss, (Poisson, Gamma)) else "identity"

    def _network_loss(self) -> Loss:
        return self.loss if isinstance(self.loss, Loss) else NAMED_LOSSES[self.loss]

    def _loss_share(self) -> float:
        # scikit-learn takes the mean of the squared errors over the outputs, but its gradient is
        # that of their sum.
        is_squared = isinstance(self._network_loss(), SquaredError)
        return 1.0 / self.n_outputs_ if is_squared else 1.0

    def _default_scoring(self) -> str | None:
        # R^2 of several outputs is the mean of theirs; the Trainer's is over all at once.
        return None if self.n_outputs_ == 1 else "r2"
