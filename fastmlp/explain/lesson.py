"""All that the worked example computes; nothing of how it is told.

Every number is the Trainer's, but for dL/da, which an engine does not keep.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..callbacks import Callback, Training
from ..errors import DivergenceError
from ..kernels.contract import Gradients
from ..kernels.formulas import ACTIVATIONS, LOSSES
from ..losses import Loss
from ..network import Network
from ..optimizers import Optimizer
from ..trainer import Trainer
from .finite_difference import FiniteDifference, relative_differences
from .textbook_losses import TEXTBOOK_LOSSES


@dataclass(frozen=True)
class Sample:
    """The one row that the lesson is about: `x` (1, n_inputs), and `y` as the Trainer takes it."""

    x: NDArray[Any]
    y: NDArray[Any]


@dataclass(frozen=True)
class Moment:
    """Loss and outputs (n_outputs,) after some weight updates."""

    n_updates: int
    loss: float
    outputs: NDArray[Any]


@dataclass(frozen=True)
class Repetition:
    """The training that followed the first update: some moments of it, and how it ended."""

    moments: list[Moment]
    reached: bool
    ending: str
    """Why it ended, if the loss was not reached: "iterations", "interrupted" or an error's text."""


@dataclass(frozen=True)
class Lesson:
    """The numbers of one worked example; lists hold one item per layer, without the rows' axis.

    Attributes
    ----------
    network : Network
        As it was before the first update.
    trainer : Trainer
        Of a copy of the network; trained to the end.
    sample : Sample
    inputs : list of ndarray
        What each layer takes, (fan_in,); the first is `x` as the network scales it.
    targets : ndarray, shape (n_outputs,)
        One-hot for a softmax output.
    found : Gradients
        Loss, z, a, dz, dw, db before the first update.
    da : list of ndarray or None
        dL/da, (fan_out,); None for a softmax output whose loss has no textbook form.
    gradient : ndarray, shape (n_parameters,)
        dw and db of all layers, in the order of the flat parameter vector.
    measured, differences : ndarray, shape (n_parameters,)
        The finite difference for each parameter, and its relative distance from the gradient.
    updated : Network
        After the first update.
    repetition : Repetition
    names_in_notes : dict
        What the lecture notes call a quantity; empty for other networks.
    """

    network: Network
    trainer: Trainer
    sample: Sample
    inputs: list[NDArray[Any]]
    targets: NDArray[Any]
    found: Gradients
    da: list[NDArray[Any] | None]
    gradient: NDArray[Any]
    measured: NDArray[np.float64]
    differences: NDArray[np.float64]
    updated: Network
    until_loss: float
    max_iterations: int
    repetition: Repetition
    names_in_notes: dict[str, str]

    @property
    def loss_name(self) -> str:
        """The loss's name in ``formulas.LOSSES``."""
        return self.trainer.plan.loss

    @property
    def loss_parameters(self) -> list[tuple[float, ...]]:
        """What the loss takes after z (or a) and y, for each output."""
        return loss_parameters(self.trainer)


def make_lesson(
    network: Network,
    sample: Sample,
    *,
    loss: Loss | str,
    optimizer: Optimizer,
    backend: str,
    precision: str,
    until_loss: float,
    max_iterations: int,
    progress: bool = False,
    names_in_notes: dict[str, str] | None = None,
) -> Lesson:
    """Compute everything; `network` is not changed."""
    trained = copy.deepcopy(network)
    trainer = Trainer(
        trained,
        loss=loss,
        optimizer=optimizer,
        batch_size=1,
        backend=backend,
        precision=precision,
        n_threads=1,
        seed=0,
    )
    first = copy.deepcopy(trained)
    found = trainer.gradients(sample.x, sample.y)
    inputs = [first.scaled(sample.x)[0], *(a[0] for a in found.a[:-1])]
    targets = _target_values(sample.y, trainer)
    da = _activation_gradients(first, trainer, found, targets)
    difference = FiniteDifference(first, sample.x, sample.y, trainer.loss)
    measured = difference.all_slopes(inputs)
    pairs = zip(found.dw, found.db, strict=True)
    gradient = np.concatenate([part.ravel() for dw, db in pairs for part in (dw, db)])
    trainer.fit(sample.x, sample.y, epochs=1)
    if trainer.n_steps == 0:  # `fit` returns on Ctrl-C
        raise KeyboardInterrupt
    updated = copy.deepcopy(trained)
    start = Moment(0, found.loss, found.a[-1][0])
    repetition = _repeat(trainer, sample, start, until_loss, max_iterations, progress)
    return Lesson(
        network=first,
        trainer=trainer,
        sample=sample,
        inputs=inputs,
        targets=targets,
        found=found,
        da=da,
        gradient=gradient,
        measured=measured,
        differences=relative_differences(gradient, measured),
        updated=updated,
        until_loss=until_loss,
        max_iterations=max_iterations,
        repetition=repetition,
        names_in_notes=names_in_notes or {},
    )


def _target_values(y: NDArray[Any], trainer: Trainer) -> NDArray[Any]:
    """Return one target per output; a class number becomes one-hot."""
    if trainer.plan.targets_are_labels and y.size == 1:
        classes = np.arange(trainer.plan.n_outputs)
        return np.asarray(classes == int(y.ravel()[0]), np.float64)
    return np.repeat(np.asarray(y, np.float64).ravel(), trainer.plan.outputs_per_target)


def loss_parameters(trainer: Trainer) -> list[tuple[float, ...]]:
    """Return what the loss takes after z (or a) and y, for each output."""
    by_output = list(zip(*trainer.plan.loss_parameters, strict=True))
    return by_output or [()] * trainer.plan.n_outputs


def _activation_gradients(
    network: Network, trainer: Trainer, found: Gradients, targets: NDArray[Any]
) -> list[NDArray[Any] | None]:
    """Return dL/da per layer: of the output from the loss, before it dz @ w.T of the next layer."""
    hidden = [
        found.dz[layer + 1][0] @ network.weights[layer + 1].T
        for layer in range(len(network.shapes) - 1)
    ]
    return [*hidden, _output_gradient(trainer, found, targets)]


def _output_gradient(
    trainer: Trainer, found: Gradients, targets: NDArray[Any]
) -> NDArray[Any] | None:
    """Return dL/da of the output: the loss's own slope, or else dL/dz divided by f'(z)."""
    output, loss = trainer.network.output, trainer.plan.loss
    pairs = list(zip(found.a[-1][0].tolist(), targets.tolist(), strict=True))
    if LOSSES[loss].output == "identity":  # such a loss takes the output itself
        own = loss_parameters(trainer)
        triples = zip(pairs, own, strict=True)
        return np.array([LOSSES[loss].slope(*pair, *numbers) for pair, numbers in triples])
    if loss in TEXTBOOK_LOSSES:
        return np.array([_divisible(TEXTBOOK_LOSSES[loss].slope, a, y) for a, y in pairs])
    if output == "softmax":
        return None
    slopes = np.array([activation_slope(output, z, a) for z, a in _last_pairs(found)])
    unknown = np.full(len(slopes), np.nan)
    return np.asarray(np.divide(found.dz[-1][0], slopes, out=unknown, where=slopes != 0))


def _last_pairs(found: Gradients) -> list[tuple[float, float]]:
    return list(zip(found.z[-1][0].tolist(), found.a[-1][0].tolist(), strict=True))


def _divisible(slope: Callable[[float, float], float], a: float, y: float) -> float:
    """Return slope(a, y), or NaN where the output is 0 or 1 to the last digit."""
    try:
        return slope(a, y)
    except ZeroDivisionError:
        return math.nan


def activation_slope(activation: str, z: float, a: float) -> float:
    """Return f'(z) of an element-wise activation."""
    formula = ACTIVATIONS[activation]
    return float(formula.derivative(z if formula.derivative_input == "z" else a))


def is_milestone(n_updates: int) -> bool:
    """Whether a moment goes into the table: 0, 1, 2, 5, 10, 20, 50, 100 and so on."""
    return n_updates == 0 or str(n_updates).rstrip("0") in ("1", "2", "5")


class _Repeater(Callback):
    """Watches the training after each update; ends it when the loss is small enough."""

    def __init__(self, sample: Sample, until_loss: float, moments: list[Moment]) -> None:
        self.sample, self.until_loss, self.moments = sample, until_loss, moments
        self.latest = moments[-1]

    @property
    def reached(self) -> bool:
        return self.latest.loss <= self.until_loss

    def look(self, trainer: Training) -> None:
        """Take loss and outputs as they are now."""
        found = trainer.gradients(self.sample.x, self.sample.y)
        self.latest = Moment(trainer.n_steps, found.loss, found.a[-1][0].copy())
        if is_milestone(trainer.n_steps):
            self.moments.append(self.latest)

    def on_epoch_end(self, trainer: Training) -> None:
        self.look(trainer)
        if self.reached:
            trainer.stop("the loss is small")


def _repeat(
    trainer: Trainer,
    sample: Sample,
    start: Moment,
    until_loss: float,
    max_iterations: int,
    progress: bool,
) -> Repetition:
    """Go on until the loss is at most `until_loss`, or `max_iterations` updates are done."""
    moments = [start]
    repeater = _Repeater(sample, until_loss, moments)
    repeater.look(trainer)
    ending = ""
    if not repeater.reached:
        left = max_iterations - trainer.n_steps
        try:
            history = trainer.fit(
                sample.x, sample.y, epochs=left, callbacks=[repeater], progress=progress
            )
            ending = "interrupted" if history.stop_reason == "interrupted" else "iterations"
        except DivergenceError as error:
            ending = str(error)
    if moments[-1].n_updates != repeater.latest.n_updates:
        moments.append(repeater.latest)
    return Repetition(moments, repeater.reached, "" if repeater.reached else ending)
