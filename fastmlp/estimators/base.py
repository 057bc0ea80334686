"""`BaseMLP`: what the classifier and the regressor share, all but targets and predictions."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    TransformerMixin,
    clone,
)
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from ..callbacks import Callback, TimeLimit
from ..custom import CustomActivation
from ..errors import DivergenceError
from ..network import Network
from ..optimizers import Optimizer
from ..range_test import RangeTest, learning_rate_range_test
from ..regularization import Dropout
from ..trainer import Trainer
from .constraints import SHARED
from .epochs import EpochEnd
from .held_out import HeldOut, hold_out, own_validation, present_score, score_of, scorer_of
from .hidden import HiddenLayers
from .lbfgs import minimize_whole
from .nested import NestedParameters
from .order import EpochOrder
from .own_names import SKLEARN_NAMES
from .parameters import ParameterViews, copy_into, draw_parameters
from .scaling import center_and_scale
from .settings import (
    drawn_for,
    hidden_widths,
    is_stochastic,
    layer_activations,
    listeners,
    make_optimizer,
    network_precision,
    network_settings,
    preserved_types,
    refuse_another_network,
    refuse_with_lbfgs,
    trainer_settings,
)
from .sklearn_callbacks import CallbackSupportMixin, epoch_tasks
from .sklearn_versions import validate_data

READ_AS_THEY_ARE = (np.float64, np.float32, np.uint8)
CURVES = (
    *("loss_curve_", "best_loss_"),
    *("validation_scores_", "validation_loss_curve_", "best_validation_score_"),
)
"""What epochs are noted in."""


def check_solver(estimator: Any) -> bool:
    """Tell whether there are epochs, as `partial_fit` needs them; else raise, as `hasattr` does."""
    if not is_stochastic(estimator):
        raise AttributeError(
            "partial_fit is only available for stochastic optimizers. "
            f"{estimator.solver} is not stochastic."
        )
    return True


class FitDivergedError(DivergenceError, ValueError):
    """Training produced values that are not finite; the last finite parameters were kept.

    A ValueError too, which scikit-learn raises then.
    """


class BaseMLP(
    NestedParameters,
    HiddenLayers,
    CallbackSupportMixin,  # type: ignore[misc]
    ClassNamePrefixFeaturesOutMixin,  # type: ignore[misc]
    TransformerMixin,  # type: ignore[misc]
    BaseEstimator,  # type: ignore[misc]
):
    """Everything of the estimators but targets and predictions.

    A subclass gives the constructor, whose parameters are scikit-learn's and more.
    """

    _parameter_constraints: dict[str, Any] = SHARED

    n_outputs_: int

    # ---------------------------------------------------------------------------------------
    # What a subclass gives

    def _check_data(self, X: Any, y: Any, *, first: bool, incremental: bool) -> tuple[Any, Any]:  # noqa: N803
        """Check both, set or check classes, and return X and the targets for the network."""
        raise NotImplementedError

    def _encode(self, y: Any) -> NDArray[Any]:
        """Return the targets of validation data for the network."""
        raise NotImplementedError

    def _network_width(self) -> int:
        """Return how many outputs the network has."""
        raise NotImplementedError

    def _network_output(self) -> str | CustomActivation:
        """Return the output activation, in the network's words."""
        raise NotImplementedError

    def _network_groups(self) -> list[int] | None:
        """Return how many outputs each softmax takes; None: there is at most one."""
        return None

    def _network_loss(self) -> Any:
        """Return the Trainer's loss."""
        raise NotImplementedError

    def _strata(self, targets: NDArray[Any]) -> NDArray[Any] | None:
        """Return what the held-out rows are stratified by."""
        return None

    def _row_weights(
        self, targets: NDArray[Any], sample_weight: NDArray[Any] | None
    ) -> NDArray[Any] | None:
        """Return how much each row counts."""
        return sample_weight

    def _loss_share(self) -> float:
        """Return what scikit-learn's loss is of the Trainer's."""
        return 1.0

    def _default_scoring(self) -> str | None:
        """Return the name of the validation score; None takes the Trainer's own."""
        return None

    def _store(self, parameters: dict[str, Any]) -> None:
        """Set the constructor's parameters as they are, as scikit-learn wants it."""
        for name, value in parameters.items():
            if name != "self":
                setattr(self, name, value)

    # ---------------------------------------------------------------------------------------
    # Fitting

    def initialize(self, X: Any, y: Any) -> BaseMLP:  # noqa: N803 (the field's own name)
        """Make the network with its first parameters, as `fit` would, and train nothing.

        It predicts, `coefs_` and `intercepts_` can be set, and `partial_fit`, or `fit` with
        warm_start=True, goes on from it.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        y : array of shape (rows,) or (rows, columns)
            All classes must be in it.

        Returns
        -------
        self
        """
        with self._whole_or_not_at_all():
            self.__dict__.pop("_trainer", None)
            self._prepare(X, y, None, incremental=False)
        return self

    def learning_rate_range_test(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        **settings: Any,
    ) -> RangeTest:
        """Train a copy with rates that grow from batch to batch, and watch the loss.

        The copy begins with new parameters; the estimator is left as it is.

        Parameters
        ----------
        X : array, table or sparse matrix, shape (rows, n_features)
        y : array of shape (rows,) or (rows, columns)
        sample_weight : array of shape (rows,), optional
        **settings
            `lowest`, `highest` and `n_batches`, as for `fastmlp.learning_rate_range_test`.

        Returns
        -------
        RangeTest
            With the rates, the losses, a suggestion and a plot.
        """
        if not is_stochastic(self):
            raise ValueError("solver='lbfgs' has no learning rate; take 'sgd', 'adam' or optimizer")
        model = clone(self)
        X, targets, weights = model._prepare(X, y, sample_weight, incremental=False)  # noqa: N806
        return learning_rate_range_test(
            model._trainer, X, targets, sample_weight=weights, **settings
        )

    def _fit(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any = None,
        validation: tuple[Any, Any, Any] | None = None,
        *,
        incremental: bool = False,
    ) -> None:
        with self._whole_or_not_at_all():
            self._fit_checked(X, y, sample_weight, validation, incremental=incremental)

    @contextmanager
    def _whole_or_not_at_all(self) -> Iterator[None]:
        """Leave everything as it was where an error comes before the first step of training."""
        before = dict(vars(self))
        old: Trainer | None = before.get("_trainer")
        n_steps = 0 if old is None else old.n_steps
        try:
            yield
        except BaseException as error:
            present: Trainer | None = vars(self).get("_trainer")
            if present is None or old is None or present.history is not old.history:
                n_steps = 0  # of a network that begins anew
            has_begun = present is not None and present.n_steps != n_steps
            if not has_begun and not isinstance(error, DivergenceError):
                self.__dict__.clear()
                self.__dict__.update(before)
            raise

    def _fit_checked(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any,
        validation: tuple[Any, Any, Any] | None,
        *,
        incremental: bool,
    ) -> None:
        if self.early_stopping and incremental:
            raise ValueError("partial_fit does not support early_stopping=True")
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        told = {"X": X, "y": y, "metadata": metadata}
        given_x = X
        if not is_stochastic(self):
            refuse_with_lbfgs(self, validation)
        X, targets, sample_weight = self._prepare(X, y, sample_weight, incremental)  # noqa: N806
        no_tasks: AbstractContextManager[list[Callback]] = nullcontext([])
        try:
            with no_tasks if incremental else epoch_tasks(self, told) as tasks:
                if is_stochastic(self):
                    held_out = own_validation(self, validation)
                    if held_out is None and self.early_stopping:
                        held_out = hold_out(self, X, targets, sample_weight, (given_x, y))
                    self._fit_stochastic(
                        X, targets, sample_weight, held_out, tasks, incremental=incremental
                    )
                else:
                    self._fit_lbfgs(X, targets, sample_weight)
        except DivergenceError as error:
            text = (
                "Solver produced non-finite parameter weights. The input data may contain large "
                f"values and need to be preprocessed. {error}"
            )
            raise FitDivergedError(text) from None
        finally:
            self._order.rows = None

    def _prepare(
        self,
        X: Any,  # noqa: N803
        y: Any,
        sample_weight: Any,
        incremental: bool,
    ) -> tuple[Any, NDArray[Any], NDArray[Any] | None]:
        """Check everything, and make network and Trainer where there are none to go on with.

        Returns X, the targets for the network and the weights.
        """
        self._validate_params()
        hidden = hidden_widths(self)
        if self.scoring is not None:
            scorer_of(self)  # an unknown one is refused at once
        first = not hasattr(self, "_trainer") or not (self.warm_start or incremental)
        X, targets = self._check_data(X, y, first=first, incremental=incremental)  # noqa: N806
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        sample_weight = self._row_weights(targets, sample_weight)
        if first:
            self._start(X, hidden)
        else:
            refuse_another_network(self, self._made_of)
        self._update_trainer(X.shape[0])
        return X, targets, sample_weight

    def _start(self, X: Any, hidden: list[int]) -> None:  # noqa: N803
        """Make the network and its Trainer, and the attributes as they are before an epoch."""
        self._random_state = check_random_state(self.random_state)
        self._order = EpochOrder(self._random_state)
        self._split_state: Any = None  # of the random stream, before rows were held out
        center, scale = center_and_scale(self.scale_inputs, X)
        drawn_here = self.init == "auto"
        network = Network(
            [X.shape[1], *hidden, self._network_width()],
            activation=layer_activations(self),
            output=self._network_output(),
            init="zeros" if drawn_here else self.init,
            seed=None if drawn_here else int(self._random_state.randint(2**31 - 1)),
            dtype=network_precision(self, X.dtype),
            normalization=self.normalization,
            input_center=center,
            input_scale=scale,
            group_sizes=self._network_groups(),
        )
        if drawn_here:
            draw_parameters(network, self._random_state, drawn_for(self))
        self._trainer = self._make_trainer(network, X.shape[0])
        self._made_of = network_settings(self)
        self.n_iter_ = 0
        self.t_ = 0
        self.n_layers_ = len(network.sizes)
        self.out_activation_ = SKLEARN_NAMES.get(network.output, network.output)
        self._no_improvement_count = 0
        for name in CURVES:  # of a fit that this one does not go on from
            self.__dict__.pop(name, None)

    def _open_curves(self, validates: bool) -> None:
        """Make what the epochs are noted in, where there is nothing yet to go on with."""
        if not hasattr(self, "loss_curve_"):
            self.loss_curve_: list[float] = []
            self.validation_scores_: Any = None
            self.validation_loss_curve_: Any = None
            self.best_validation_score_: Any = None
            self.best_loss_: Any = None
        if validates and self.validation_scores_ is None:
            self.validation_scores_, self.validation_loss_curve_ = [], []
            self.best_validation_score_ = -np.inf
        if not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf

    def _fit_lbfgs(
        self,
        X: Any,  # noqa: N803
        targets: NDArray[Any],
        sample_weight: NDArray[Any] | None,
    ) -> None:
        self.loss_, self.n_iter_ = minimize_whole(
            self._trainer,
            (X, targets, sample_weight),
            max_iter=self.max_iter,
            max_fun=self.max_fun,
            tol=self.tol,
            verbose=self.verbose,
        )

    def _fit_stochastic(
        self,
        X: Any,  # noqa: N803
        targets: NDArray[Any],
        sample_weight: NDArray[Any] | None,
        held_out: HeldOut | None,
        tasks: list[Callback],
        *,
        incremental: bool,
    ) -> None:
        trained_on = slice(None) if self._order.rows is None else self._order.rows
        n_rows = len(targets[trained_on])
        n_counted = n_rows if sample_weight is None else float(sample_weight[trained_on].sum())
        if self.batch_size != "auto" and self.batch_size > n_rows:
            warnings.warn(
                "Got `batch_size` less than 1 or larger than sample size. It is going to be "
                "clipped",
                stacklevel=4,
            )
        validation_data = score = None
        if held_out is not None:
            validation_data = (held_out.x, held_out.targets, held_out.sample_weight)
            score = score_of(self, held_out)
        self._open_curves(validates=held_out is not None)
        history = self._trainer.history
        goes_on = self.early_stopping and history.n_epochs > 0
        if goes_on:  # score, validation data or parameters may be others than in the last call
            assert held_out is not None
            present = present_score(self, held_out, score)
            if present != self.best_validation_score_:
                self.best_validation_score_ = -np.inf if math.isnan(present) else present
                self._no_improvement_count = 0
        end = EpochEnd(self, n_rows, n_counted, goes_on=goes_on)
        self.n_iter_ = 0
        limit = [] if self.time_limit is None else [TimeLimit(self.time_limit)]
        try:
            self._trainer.fit(
                X,
                targets,
                epochs=1 if incremental else int(self.max_iter),
                validation_data=validation_data,
                sample_weight=sample_weight,
                callbacks=[end, *tasks, *limit, *listeners(self)],
                progress=self.progress,
                score=score,
            )
        except DivergenceError as error:
            if end.best_parameters is None:
                raise
            self.validation_scores_.append(math.nan)
            self.validation_loss_curve_.append(math.nan)
            warnings.warn(
                f"{error} The parameters of the best validation score are taken.",
                ConvergenceWarning,
                stacklevel=4,
            )
        if history.stop_reason == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=4)
        elif history.stop_reason == "epochs done" and not incremental:
            warnings.warn(
                f"Stochastic Optimizer: Maximum iterations ({self.max_iter}) reached and the "
                "optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _make_trainer(self, network: Network, n_rows: int, old: Trainer | None = None) -> Trainer:
        """Make a Trainer; where `old` drew for dropout already, it goes on with its draws."""
        self._settings = trainer_settings(self, n_rows)
        self._asked_optimizer = make_optimizer(self)
        precision = network.dtype if self.precision == "auto" else self.precision
        if not is_stochastic(self) and self.precision == "auto":
            precision = "float64"
        goes_on = old is not None and any(old.plan.dropout)
        is_drawn = self._settings["dropout"] != Dropout(0.0) and not goes_on
        trainer = Trainer(
            network,
            optimizer=self._asked_optimizer,
            precision=precision,
            seed=int(self._random_state.randint(2**31 - 1)) if is_drawn else 0,
            shuffle=self._order,
            **self._settings,
        )
        if goes_on:
            assert old is not None
            trainer.dropout_seed = old.dropout_seed
        return trainer

    def _update_trainer(self, n_rows: int) -> None:
        """Make the Trainer follow the parameters; what the optimizer remembers is kept.

        So is a learning rate that has changed since, as long as the same one is asked for.
        """
        self._order.shuffle = self.shuffle
        old, asked = self._trainer, make_optimizer(self)
        unchanged = asked == self._asked_optimizer
        is_same_kind = asked.formula_name == old.optimizer.formula_name
        precision = old.plan.precision if self.precision == "auto" else self.precision
        if (
            is_same_kind
            and trainer_settings(self, n_rows) == self._settings
            and precision == old.plan.precision
        ):
            if not unchanged:
                old.optimizer = self._asked_optimizer = asked
            return
        self._trainer = self._make_trainer(old.network, n_rows, old)
        if is_same_kind:
            self._trainer.optimizer_state[...] = old.optimizer_state
            self._trainer.n_steps = old.n_steps
            if unchanged:
                self._trainer.optimizer = old.optimizer
        self._trainer.history = old.history  # whose epochs schedules count

    @staticmethod
    def _pair(x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any] | None:
        """Return the user's validation data as one, or None if there is none."""
        if x is None and y is None and sample_weight is None:
            return None
        given = {"X_val": x, "y_val": y, "sample_weight_val": sample_weight}
        if x is None or y is None:
            got = " and ".join(name for name, value in given.items() if value is not None)
            raise ValueError(f"X_val and y_val must be given together; got {got} alone")
        return x, y, sample_weight

    # ---------------------------------------------------------------------------------------
    # The fitted network

    def _check_features(self, X: Any) -> Any:  # noqa: N803
        """Check features to predict with."""
        return validate_data(
            self, X, accept_sparse=["csr", "csc"], dtype=READ_AS_THEY_ARE, reset=False
        )

    def _outputs(self, X: Any) -> NDArray[Any]:  # noqa: N803
        """Return the network's outputs, (rows, n_outputs)."""
        check_is_fitted(self)
        return self._trainer.predict_proba(self._check_features(X))

    @property
    def coefs_(self) -> list[NDArray[Any]]:
        """The weights, (fan_in, fan_out) per layer: views, which may be changed or assigned to."""
        return ParameterViews(self._network_with("coefs_").weights)

    @coefs_.setter
    def coefs_(self, values: Any) -> None:
        copy_into(self.coefs_, values)

    @property
    def intercepts_(self) -> list[NDArray[Any]]:
        """The biases, (fan_out,) per layer: views, which may be changed or assigned to."""
        return ParameterViews(self._network_with("intercepts_").biases)

    @intercepts_.setter
    def intercepts_(self, values: Any) -> None:
        copy_into(self.intercepts_, values)

    def _network_with(self, attribute: str) -> Network:
        if "_trainer" not in vars(self):
            raise AttributeError(
                f"{type(self).__name__!r} object has no attribute {attribute!r} before fit or "
                "initialize"
            )
        return self._trainer.network

    @property
    def trainer_(self) -> Trainer:
        """The Trainer that does the work, with its network, optimizer and history."""
        return self._trainer

    @property
    def _optimizer(self) -> Optimizer:
        """scikit-learn's name for it; `learning_rate` is that of the moment, a number."""
        epochs = self._trainer.history.n_epochs
        optimizer = self._trainer.optimizer
        rate = optimizer.rates(np.array([float(epochs)]), self.t_ / max(epochs, 1))[0]
        return replace(optimizer, learning_rate=float(rate))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = preserved_types(self)
        return tags
