"""Validation data: rows held out of X, or the user's own; and their score."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import check_scoring
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _check_sample_weight

from ..callbacks import Training

if TYPE_CHECKING:
    from .base import BaseMLP


@dataclass(frozen=True)
class HeldOut:
    """Validation data: as the Trainer takes them, and as the user's scorer does.

    Attributes
    ----------
    x : array or sparse matrix, shape (rows, n_features)
        Checked, not scaled.
    targets : ndarray
        As the Trainer takes them.
    sample_weight : ndarray of shape (rows,) or None
    raw_x, raw_y
        What is handed to a scorer, if there is one.
    """

    x: Any
    targets: NDArray[Any]
    sample_weight: NDArray[Any] | None
    raw_x: Any
    raw_y: Any


def own_validation(estimator: BaseMLP, validation: tuple[Any, Any, Any] | None) -> HeldOut | None:
    """Return the user's own validation data (X, y, sample_weight), checked; None if there are none.

    Raises
    ------
    ValueError
        If they do not fit.
    """
    if validation is None:
        return None
    X_val, y_val, weights = validation  # noqa: N806
    x = estimator._check_features(X_val)
    if weights is not None:
        weights = _check_sample_weight(weights, x)
    return HeldOut(x, estimator._encode(y_val), weights, X_val, y_val)


def hold_out(
    estimator: BaseMLP,
    X: Any,  # noqa: N803
    targets: NDArray[Any],
    sample_weight: NDArray[Any] | None,
    given: tuple[Any, Any],
) -> HeldOut:
    """Hold rows of X out for early stopping.

    They stay where they are in X: the order of the epochs leaves them out. A warm fit on the same
    rows holds the same ones out again: its validation score is of nothing that was trained on.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    X : array or sparse matrix, shape (rows, n_features)
        Checked.
    targets : ndarray
        As the Trainer takes them.
    sample_weight : ndarray of shape (rows,) or None
    given : tuple (X, y)
        As the user gave them.

    Raises
    ------
    ValueError
        If too few rows would be held out or left.
    """
    strata = estimator._strata(targets)
    _check_sizes(estimator.validation_fraction, len(targets), strata)
    random = estimator._random_state
    if estimator._split_state is None:
        estimator._split_state = random.get_state()
    else:
        random = np.random.RandomState()
        random.set_state(estimator._split_state)
    rows, chosen = train_test_split(
        np.arange(len(targets)),
        random_state=random,
        test_size=estimator.validation_fraction,
        stratify=strata,
    )
    estimator._order.rows = rows
    weights = None if sample_weight is None else sample_weight[chosen]
    x, raw_x, raw_y = X[chosen], None, None
    if scorer_of(estimator) is not None:
        is_table = hasattr(given[0], "columns") and hasattr(given[0], "__getitem__")
        raw_x = _safe_indexing(given[0], chosen) if is_table else x
        is_table = hasattr(given[1], "columns") or hasattr(given[1], "iloc")
        raw_y = _safe_indexing(given[1] if is_table else np.asarray(given[1]), chosen)
    return HeldOut(x, targets[chosen], weights, raw_x, raw_y)


def _check_sizes(fraction: float, n_rows: int, strata: NDArray[Any] | None) -> None:
    """Refuse to hold out, or to train on, fewer rows than there are classes."""
    n_classes = 1 if strata is None else len(np.unique(strata))
    n_chosen = math.ceil(fraction * n_rows)  # as `train_test_split` counts
    n_needed, n_left = max(2, n_classes), n_rows - n_chosen
    each = ", one of each class" if n_classes > 1 else ""
    share = f"validation_fraction={fraction} of {n_rows} rows"
    if n_chosen < n_needed:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of "
            f"your dataset: {share} holds out {n_chosen}, and at least {n_needed} are needed{each}"
        )
    if n_left < n_classes:
        raise ValueError(
            "Too few rows are left to train on. Decrease 'validation_fraction': "
            f"{share} leaves {n_left}; training needs at least {n_classes}{each}"
        )


def _scoring(estimator: BaseMLP) -> Any:
    """Return the score's name or scorer; None: the Trainer's own."""
    return estimator._default_scoring() if estimator.scoring is None else estimator.scoring


def scorer_of(estimator: BaseMLP) -> Callable[..., float] | None:
    """Return the scorer that was asked for; None: the Trainer's score, or its loss.

    Raises
    ------
    ValueError
        If there is no such score, or it is a metric and no scorer.
    """
    scoring = _scoring(estimator)
    if scoring is None or scoring == "loss":
        return None
    return check_scoring(estimator, scoring=scoring)  # type: ignore[no-any-return]


def score_of(estimator: BaseMLP, held_out: HeldOut) -> Callable[[Training], float] | None:
    """Return what gives the validation score after an epoch, more is better; None: the Trainer's.

    It has the name of what was asked for.
    """
    scorer, scoring = scorer_of(estimator), _scoring(estimator)
    if scoring is None:
        return None
    weights = held_out.sample_weight
    takes_weights = scorer is not None and weights is not None and _takes_weights(scorer)
    weighted = {"sample_weight": weights} if takes_weights else {}

    def score(trainer: Training) -> float:
        if scorer is None:
            return -trainer.history.validation_loss[-1] * estimator._loss_share()
        return float(scorer(estimator, held_out.raw_x, held_out.raw_y, **weighted))

    score.__name__ = scoring if isinstance(scoring, str) else getattr(scoring, "__name__", "score")
    return score


def present_score(
    estimator: BaseMLP, held_out: HeldOut, score: Callable[[Training], float] | None
) -> float:
    """Return the validation score of the parameters as they are, before an epoch of this fit."""
    trainer = estimator._trainer
    if score is not None and scorer_of(estimator) is not None:
        return score(trainer)
    found = trainer.evaluate(held_out.x, held_out.targets, held_out.sample_weight)
    return found.score if score is None else -found.loss * estimator._loss_share()


def _takes_weights(scorer: Callable[..., float]) -> bool:
    """Return whether a scorer can weight the rows: a plain function or a metric may not."""
    parameters = inspect.signature(getattr(scorer, "_score_func", scorer)).parameters.values()
    return any(each.name == "sample_weight" or each.kind == each.VAR_KEYWORD for each in parameters)
