"""`EpochEnd`: what scikit-learn's solvers do after each epoch, as a callback of the Trainer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ..callbacks import Callback, Training
from .settings import is_adaptive, penalties

if TYPE_CHECKING:
    from .base import BaseMLP

SMALLEST_LEARNING_RATE = 1e-6
"""Where learning_rate="adaptive" ends training instead of dividing once more."""


class EpochEnd(Callback):
    """Keeps the fitted attributes, stops when nothing improves, and changes the learning rate.

    Parameters
    ----------
    estimator : MLPClassifier or MLPRegressor
    n_rows : int
        Rows of an epoch.
    n_counted : float
        The sum of their weights.
    goes_on : bool
        Whether early stopping goes on from parameters that were trained before.
    """

    def __init__(self, estimator: BaseMLP, n_rows: int, n_counted: float, *, goes_on: bool) -> None:
        self.estimator = estimator
        self.n_rows = n_rows
        self.n_counted = n_counted
        self.goes_on = goes_on
        self.n_batches = -(-n_rows // estimator._trainer.plan.batch_size)
        self.best_parameters: NDArray[Any] | None = None

    def on_fit_start(self, trainer: Training, n_epochs: int) -> None:
        """Note the penalty that training starts from, and how many steps were done before."""
        self.last_penalty = self._penalty(trainer)
        self.n_steps = trainer.n_steps
        if self.goes_on:  # the best score is theirs
            self.best_parameters = trainer.network.learned

    def on_epoch_end(self, trainer: Training) -> None:
        """Note the loss and the score, then decide how to go on."""
        estimator = self.estimator
        estimator.n_iter_ += 1
        estimator.t_ += self.n_rows
        self._note_loss(trainer, trainer.history.loss[-1])
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
        self._note_score(trainer)
        improves = (
            self._score_improves(trainer) if estimator.early_stopping else self._loss_improves()
        )
        if trainer.validates:
            best, found = estimator.best_validation_score_, estimator.validation_scores_[-1]
            estimator.best_validation_score_ = max(best, found)  # a NaN is not the best
        estimator._no_improvement_count = 0 if improves else estimator._no_improvement_count + 1
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self._stop_or_slow_down(trainer)

    def on_fit_end(self, trainer: Training) -> None:
        """Note the loss of what was trained, where training ended within the first epoch.

        With early stopping the parameters that had the best score are put back; the user's
        callbacks come later, so that averaged weights stay.
        """
        history = trainer.history
        was_cut_off = self.estimator.n_iter_ == 0 and trainer.n_steps > self.n_steps
        if was_cut_off and history.stop_reason != "diverged":
            self._note_loss(trainer, sum(history.batch_losses) / len(history.batch_losses))
        if self.best_parameters is not None:
            trainer.network.learned = self.best_parameters

    def _note_loss(self, trainer: Training, loss: float) -> None:
        """Set the estimator's loss to that of the batches since the last one was noted."""
        # scikit-learn counts the penalty of each batch as loss: about halfway between the epochs'.
        penalty = self._penalty(trainer)
        mean_penalty = (self.last_penalty + penalty) / 2.0
        self.estimator.loss_ = loss * self.estimator._loss_share() + mean_penalty
        self.last_penalty = penalty

    def _penalty(self, trainer: Training) -> float:
        """Return the mean penalty of the batches of an epoch, with the present weights."""
        penalty = penalties(self.estimator)
        if not penalty.has_penalty:
            return 0.0
        total = sum(penalty.penalty(weights) for weights in trainer.network.weights)
        if not penalty.divided_by_rows:
            return total
        return total * self.n_batches / self.n_counted

    def _note_score(self, trainer: Training) -> None:
        estimator = self.estimator
        if not trainer.validates:
            return
        loss = trainer.history.validation_loss[-1] * estimator._loss_share()
        estimator.validation_loss_curve_.append(loss)
        found = trainer.history.validation_score[-1]
        estimator.validation_scores_.append(found)
        if estimator.verbose:
            print(f"Validation score: {found:f}")

    def _score_improves(self, trainer: Training) -> bool:
        estimator = self.estimator
        score = estimator.validation_scores_[-1]
        improves = not score < estimator.best_validation_score_ + estimator.tol
        if score > estimator.best_validation_score_:
            self.best_parameters = trainer.network.learned
        return improves

    def _loss_improves(self) -> bool:
        estimator = self.estimator
        improves = not estimator.loss_ > estimator.best_loss_ - estimator.tol
        estimator.best_loss_ = min(estimator.best_loss_, estimator.loss_)
        return improves

    def _stop_or_slow_down(self, trainer: Any) -> None:
        estimator = self.estimator
        what = "Validation score" if estimator.early_stopping else "Training loss"
        text = (
            f"{what} did not improve more than tol={estimator.tol:f} for "
            f"{estimator.n_iter_no_change} consecutive epochs."
        )
        rate = trainer.optimizer.learning_rate  # a number, where it is adaptive
        if is_adaptive(estimator) and rate > SMALLEST_LEARNING_RATE:
            trainer.optimizer = replace(trainer.optimizer, learning_rate=rate / 5.0)
            estimator._no_improvement_count = 0
            text += f" Setting learning rate to {rate / 5.0:f}"
        else:
            if is_adaptive(estimator):
                text += " Learning rate too small."
            text += " Stopping."
            trainer.stop(text)
        if estimator.verbose:
            print(text)
