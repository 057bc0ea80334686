"""The losses that a user names and sets. Their formulas are in kernels/formulas.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

from .checks import check_number
from .errors import unknown_name
from .kernels.formulas import LOSSES


@dataclass(frozen=True)
class Loss:
    """What every loss has: the names of its formulas and their parameters."""

    formula_names: ClassVar[tuple[str, ...]]
    """Its rows in ``formulas.LOSSES``, one per output activation that it has a form for."""

    def formula_name(self, output: str) -> str:
        """Return its row for an output activation, or else the first one."""
        names = self.formula_names
        return next((name for name in names if LOSSES[name].output == output), names[0])

    def parameters(self, n_outputs: int) -> tuple[tuple[float, ...], ...]:
        """Return what the formula takes after z and y, (n_parameters, n_outputs)."""
        names = LOSSES[self.formula_names[0]].parameters
        return tuple((float(getattr(self, name)),) * n_outputs for name in names)

    @property
    def outputs_per_target(self) -> int:
        """How many outputs predict the same target, one after the other."""
        return 1

    @property
    def scored_outputs(self) -> slice:
        """Which outputs R^2 is taken of."""
        return slice(None)

    def settings(self) -> dict[str, Any]:
        """Return the parameters by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def _check(self, name: str, minimum: float, maximum: float, **how: bool) -> None:
        value = check_number(name, getattr(self, name), minimum, maximum, **how)
        object.__setattr__(self, name, value)


@dataclass(frozen=True)
class SquaredError(Loss):
    """Half of the squared difference, (a - y)^2 / 2; any output but softmax."""

    formula_names = ("squared_error",)


@dataclass(frozen=True)
class AbsoluteError(Loss):
    """The absolute difference, |a - y|, least at the median; any output but softmax."""

    formula_names = ("absolute_error",)


@dataclass(frozen=True)
class Huber(Loss):
    """Squared error near the target, absolute error from `delta` on (Huber, 1964).

    Any output but softmax.

    Parameters
    ----------
    delta : float > 0, default 1.0
        Where the parabola becomes a straight line: outliers pull no harder than this.
    """

    delta: float = 1.0

    formula_names = ("huber",)

    def __post_init__(self) -> None:
        self._check("delta", 1e-30, 1e30)


@dataclass(frozen=True)
class Quantile(Loss):
    """The pinball loss: an output per quantile of the target (Koenker and Bassett, 1978).

    Any output but softmax. With k quantiles and t targets per row, the network needs k * t
    outputs: all quantiles of the first target, then those of the next.

    Parameters
    ----------
    quantiles : sequence of float in (0, 1), or one float, default (0.5,)
        ``(0.1, 0.5, 0.9)`` predicts the median and an interval that holds 80% of the targets.
    """

    quantiles: Sequence[float] = (0.5,)

    formula_names = ("quantile",)

    def __post_init__(self) -> None:
        given: Any = self.quantiles
        values = tuple(given) if hasattr(given, "__iter__") and not isinstance(given, str) else None
        if values == ():
            raise ValueError("quantiles must hold at least one number in (0, 1); got none")
        names = ["quantiles"] if values is None else [f"quantiles[{i}]" for i in range(len(values))]
        checked = [
            check_number(name, value, 0.0, 1.0, above_minimum=True, below_maximum=True)
            for name, value in zip(names, values or (given,), strict=True)
        ]
        object.__setattr__(self, "quantiles", tuple(checked))

    @property
    def outputs_per_target(self) -> int:
        """How many outputs predict the same target: one per quantile."""
        return len(self.quantiles)

    def parameters(self, n_outputs: int) -> tuple[tuple[float, ...], ...]:
        """Return the quantile of each output, (1, n_outputs)."""
        n_targets, rest = divmod(n_outputs, len(self.quantiles))
        if rest:
            raise ValueError(
                f"loss={self!r} needs {len(self.quantiles)} outputs per target, one per quantile; "
                f"the network has {n_outputs}"
            )
        return (tuple(self.quantiles) * n_targets,)

    @property
    def scored_outputs(self) -> slice:
        """Which outputs R^2 is taken of: the quantile nearest to the median."""
        distances = [abs(each - 0.5) for each in self.quantiles]
        return slice(distances.index(min(distances)), None, len(self.quantiles))


@dataclass(frozen=True)
class Poisson(Loss):
    """Half of Poisson's deviance, for counts (y >= 0); output "exponential", the expected count."""

    formula_names = ("poisson",)


@dataclass(frozen=True)
class Gamma(Loss):
    """Half of the gamma distribution's deviance, for amounts (y > 0); output "exponential"."""

    formula_names = ("gamma",)


@dataclass(frozen=True)
class _CrossEntropy(Loss):
    """Cross-entropy whose targets may be smoothed; of its two rows the first smooths nothing."""

    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        self._check("label_smoothing", 0.0, 1.0, below_maximum=True)

    def formula_name(self, output: str) -> str:
        """Return the row: the plain one where nothing is smoothed."""
        return self.formula_names[self.label_smoothing > 0.0]

    def parameters(self, n_outputs: int) -> tuple[tuple[float, ...], ...]:
        """Return what is kept of a target and what each class gets, (2, n_outputs), or nothing."""
        if self.label_smoothing == 0.0:
            return ()
        rest = self.label_smoothing / self._n_classes(n_outputs)
        return ((1.0 - self.label_smoothing,) * n_outputs, (rest,) * n_outputs)

    def _n_classes(self, n_outputs: int) -> int:
        """Return among how many classes an output's target is shared out."""
        raise NotImplementedError


@dataclass(frozen=True)
class BinaryCrossEntropy(_CrossEntropy):
    """-y log a - (1 - y) log(1 - a) per output, y in [0, 1]; output "sigmoid".

    Parameters
    ----------
    label_smoothing : float in [0, 1), default 0.0
        So much of the target is shared out between yes and no: 0.1 makes 0.05 and 0.95 of 0 and 1.
    """

    formula_names = ("binary_cross_entropy", "smoothed_binary_cross_entropy")

    def _n_classes(self, n_outputs: int) -> int:
        return 2


@dataclass(frozen=True)
class Hinge(Loss):
    """The support vector machine's loss per output, y 0 or 1; output "identity".

    The output is the margin: `predict` gives 1 where it is at least 0.
    """

    formula_names = ("hinge",)


@dataclass(frozen=True)
class CategoricalCrossEntropy(_CrossEntropy):
    """-log a of the right class; output "softmax".

    Parameters
    ----------
    label_smoothing : float in [0, 1), default 0.0
        So much of the target is shared out among all classes, the right one too (Szegedy et al.,
        2016): the network need not become ever surer.
    """

    formula_names = ("categorical_cross_entropy", "smoothed_cross_entropy")

    def _n_classes(self, n_outputs: int) -> int:
        return n_outputs


@dataclass(frozen=True)
class Focal(Loss):
    """Cross-entropy times (1 - p)^gamma, p what the right answer has (Lin et al., 2017).

    Output "sigmoid" (each output by itself, y in [0, 1]) or "softmax".

    Parameters
    ----------
    gamma : float >= 0, default 2.0
        The larger, the less count the rows that are right already. 0 is cross-entropy.
    """

    gamma: float = 2.0

    formula_names = ("focal", "categorical_focal")

    def __post_init__(self) -> None:
        self._check("gamma", 0.0, 100.0)


NAMED_LOSSES: dict[str, Loss] = {
    "binary_cross_entropy": BinaryCrossEntropy(),
    "categorical_cross_entropy": CategoricalCrossEntropy(),
    "squared_error": SquaredError(),
    "absolute_error": AbsoluteError(),
    "huber": Huber(),
    "quantile": Quantile(),
    "poisson": Poisson(),
    "gamma": Gamma(),
    "hinge": Hinge(),
    "focal": Focal(),
    "categorical_focal": Focal(),
    "smoothed_cross_entropy": CategoricalCrossEntropy(label_smoothing=0.1),
    "smoothed_binary_cross_entropy": BinaryCrossEntropy(label_smoothing=0.1),
}

# The first loss of an output is its default.
DEFAULT_LOSSES: dict[str, str] = {row.output: name for name, row in reversed(LOSSES.items())}


def check_loss(loss: object, output: str) -> Loss:
    """Return the loss for an object or a name; "auto" takes the one that goes with the output.

    Raises
    ------
    ValueError, TypeError
        If it is unknown, or does not go with the output.
    """
    if loss == "auto":
        return NAMED_LOSSES[DEFAULT_LOSSES.get(output, "squared_error")]
    if isinstance(loss, Loss):
        chosen = loss
    elif isinstance(loss, str) and loss in NAMED_LOSSES:
        chosen = NAMED_LOSSES[loss]
    else:
        raise unknown_name("loss", loss, ("auto", *NAMED_LOSSES))
    if not goes_with(chosen, output):
        fitting = [name for name in NAMED_LOSSES if _formula_goes_with(name, output)]
        needed = {LOSSES[name].output: None for name in chosen.formula_names}
        wants = "output=" + " or ".join(map(repr, needed))
        if "identity" in needed and not LOSSES[chosen.formula_names[0]].predicts_classes:
            wants = "any output but 'softmax'"
        raise ValueError(
            f"loss={loss!r} needs {wants}; the network's output is {output!r}, "
            f"which goes with: {', '.join(fitting)}"
        )
    return chosen


def goes_with(loss: Loss, output: str) -> bool:
    """Tell whether the loss takes such an output: merged with it, or as values of any kind."""
    return _formula_goes_with(loss.formula_name(output), output)


def _formula_goes_with(formula_name: str, output: str) -> bool:
    row = LOSSES[formula_name]
    takes_values = row.output == "identity" and not row.predicts_classes
    return row.output == output or (takes_values and output != "softmax")
