"""The optimizers that a user names and sets. Their formulas are in kernels/formulas.py."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .checks import check_number
from .errors import unknown_name
from .kernels import formulas
from .schedules import Rate, check_rate, rates_of


class Bounds(NamedTuple):
    """The interval that a hyperparameter must lie in."""

    minimum: float
    maximum: float
    below_maximum: bool = False
    """Whether the maximum itself is left out."""


DECAY = Bounds(0.0, 1.0, below_maximum=True)
"""Of a running mean: at 1 it would never change."""


@dataclass(frozen=True)
class Optimizer:
    """What every optimizer has: its formula's name and the coefficients of its steps."""

    learning_rate: Rate = 0.1

    bounds: ClassVar[dict[str, Bounds]] = {}
    """Of the hyperparameters besides the learning rate."""

    rate_names: ClassVar[tuple[str, ...]] = ("learning_rate",)
    """The hyperparameters that may be schedules or functions."""

    def __post_init__(self) -> None:
        for name in self.rate_names:
            object.__setattr__(self, name, check_rate(name, getattr(self, name)))
        for name, bounds in self.bounds.items():
            value = check_number(
                name,
                getattr(self, name),
                bounds.minimum,
                bounds.maximum,
                below_maximum=bounds.below_maximum,
            )
            object.__setattr__(self, name, value)

    @property
    def formula_name(self) -> str:
        """Its row in ``formulas.OPTIMIZERS``."""
        raise NotImplementedError

    @property
    def formula(self) -> formulas.Optimizer:
        """Its formulas."""
        return formulas.OPTIMIZERS[self.formula_name]

    def rates(
        self, epochs: NDArray[np.float64], rows_per_epoch: float = 1.0
    ) -> NDArray[np.float64]:
        """Return the learning rate at so many epochs done, (n,), each of so many rows."""
        return rates_of(self.learning_rate, epochs, rows_per_epoch)

    @property
    def first_rate(self) -> float:
        """The learning rate of the first step."""
        return float(self.rates(np.zeros(1))[0])

    def coefficients(
        self,
        first_step: int,
        n_steps: int,
        epochs: NDArray[np.float64] | None = None,
        rows_per_epoch: float = 1.0,
    ) -> NDArray[np.float64]:
        """Return what the update takes, (n_steps, n_coefficients), for steps from `first_step`.

        Steps count from 1 over the whole training. A schedule needs to know how many epochs of
        so many rows are done at each, (n_steps,); without them, each step is an epoch.
        """
        step = np.arange(first_step, first_step + n_steps, dtype=np.float64)
        settings = self.settings()
        done = step - 1.0 if epochs is None else epochs
        for name in self.rate_names:
            settings[name] = rates_of(settings[name], done, rows_per_epoch)
        hyperparameters = [settings[name] for name in self.formula.hyperparameters]
        columns = self.formula.coefficients(step, *hyperparameters)
        table = np.empty((n_steps, self.formula.n_coefficients_in_all))
        for column, values in enumerate(columns):
            table[:, column] = values
        return table

    def settings(self) -> dict[str, Any]:
        """Return the hyperparameters by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent, plain or with (Nesterov) momentum.

    Parameters
    ----------
    learning_rate : float, Schedule or function, default 0.1
        As for every optimizer: a number, a schedule (see `fastmlp.schedules`), or a function that
        takes how many epochs are done (0.5 in the middle of the first) and returns the rate.
    momentum : float in [0, 1], default 0.0
    nesterov : bool, default False
        Look one step ahead; needs momentum > 0.
    """

    momentum: float = 0.0
    nesterov: bool = False

    bounds = {"momentum": Bounds(0.0, 1.0)}

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.nesterov, (bool, np.bool_)):
            raise TypeError(f"nesterov must be True or False; got {self.nesterov!r}")
        if self.nesterov and self.momentum == 0.0:
            raise ValueError("nesterov=True needs momentum > 0; got momentum=0")

    @property
    def formula_name(self) -> str:
        """Its row in ``formulas.OPTIMIZERS``."""
        if self.momentum == 0.0:
            return "sgd"
        return "nesterov" if self.nesterov else "momentum"


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adam (Kingma and Ba, 2014).

    Parameters
    ----------
    learning_rate : float, Schedule or function, default 0.001
    beta_1, beta_2 : float in [0, 1), default 0.9 and 0.999
        Decay of the mean and of the mean square of the gradients.
    epsilon : float, default 1e-8
        Added to the root of the mean square.
    """

    learning_rate: Rate = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    bounds = {"beta_1": DECAY, "beta_2": DECAY, "epsilon": Bounds(1e-30, 1.0)}

    @property
    def formula_name(self) -> str:
        """Its row in ``formulas.OPTIMIZERS``."""
        return "adam"


@dataclass(frozen=True)
class ScikitLearnAdam(Adam):
    """Adam with scikit-learn's epsilon, which is added before the second bias correction."""

    def coefficients(
        self,
        first_step: int,
        n_steps: int,
        epochs: NDArray[np.float64] | None = None,
        rows_per_epoch: float = 1.0,
    ) -> NDArray[np.float64]:
        """Return Adam's, with the correction multiplied into epsilon."""
        table = super().coefficients(first_step, n_steps, epochs, rows_per_epoch)
        table[:, -1] *= table[:, 1]
        return table


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017), on weights and biases.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon
        As in `Adam`.
    weight_decay : float, default 0.01
        Each step first multiplies the parameters by ``1 - learning_rate * weight_decay``.
    """

    weight_decay: float = 0.01

    bounds = {**Adam.bounds, "weight_decay": Bounds(0.0, 1e9)}

    @property
    def formula_name(self) -> str:
        """Its row in ``formulas.OPTIMIZERS``."""
        return "adamw"


@dataclass(frozen=True)
class RMSprop(Optimizer):
    """RMSprop (Tieleman and Hinton, 2012).

    Parameters
    ----------
    learning_rate : float, Schedule or function, default 0.001
    rho : float in [0, 1), default 0.9
        Decay of the mean square of the gradients.
    epsilon : float, default 1e-8
        Added to the root of the mean square.
    """

    learning_rate: Rate = 0.001
    rho: float = 0.9
    epsilon: float = 1e-8

    bounds = {"rho": DECAY, "epsilon": Bounds(1e-30, 1.0)}

    @property
    def formula_name(self) -> str:
        """Its row in ``formulas.OPTIMIZERS``."""
        return "rmsprop"


@dataclass(frozen=True)
class Adagrad(Optimizer):
    """Adagrad (Duchi et al., 2011): the rate of each parameter falls with its past gradients.

    Parameters
    ----------
    learning_rate : float, Schedule or function, default 0.01
    epsilon : float, default 1e-10
        Added to the root of the sum of squares.
    """

    learning_rate: Rate = 0.01
    epsilon: float = 1e-10

    bounds = {"epsilon": Bounds(1e-30, 1.0)}

    @property
    def formula_name(self) -> str:
        """Its row in ``formulas.OPTIMIZERS``."""
        return "adagrad"


@dataclass(frozen=True)
class Nadam(Adam):
    """Adam with Nesterov's look ahead (Dozat, 2016), its momentum the same for all steps.

    Parameters
    ----------
    learning_rate, beta_1, beta_2, epsilon
        As in `Adam`.
    """

    @property
    def formula_name(self) -> str:
        """Its row in ``formulas.OPTIMIZERS``."""
        return "nadam"


@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion (Chen et al., 2023): every parameter moves by the same, only the sign differs.

    Parameters
    ----------
    learning_rate : float, Schedule or function, default 0.0001
        A third to a tenth of what suits Adam.
    beta_1, beta_2 : float in [0, 1), default 0.9 and 0.99
        Decay of the mean of the gradients, for the step and for what is kept.
    weight_decay : float, default 0.0
        Each step first multiplies the parameters by ``1 - learning_rate * weight_decay``.
    """

    learning_rate: Rate = 0.0001
    beta_1: float = 0.9
    beta_2: float = 0.99
    weight_decay: float = 0.0

    bounds = {"beta_1": DECAY, "beta_2": DECAY, "weight_decay": Bounds(0.0, 1e9)}

    @property
    def formula_name(self) -> str:
        """Its row in ``formulas.OPTIMIZERS``."""
        return "lion"


@dataclass(frozen=True)
class Muon(Optimizer):
    """Muon (Jordan, 2024): the weights between hidden layers move by the same in all directions.

    The mean of the gradients of each such weight matrix is made orthogonal (its singular values
    about 1, by five steps of Newton and Schulz) before it is subtracted: what the gradient shows
    weakly counts as much as what it shows strongly. That takes the time of about ten products of
    such matrices at every step, whatever the batch size: large batches pay for it.

    What is updated how, in a network of at least two hidden layers:

    - the weights between two hidden layers: orthogonal steps at `learning_rate`, times
      ``sqrt(fan_out / fan_in)`` where that is above 1;
    - all biases, the weights of the first layer (which reads the inputs) and of the last (which
      makes the outputs): `AdamW` at `adam_learning_rate`.

    With fewer hidden layers there is no such matrix: all is AdamW's, and a `Trainer` warns of it.

    Parameters
    ----------
    learning_rate : float, Schedule or function, default 0.02
        Of the weights between hidden layers. A step changes them by about this much in every
        direction, however long the gradient is.
    momentum : float in [0, 1), default 0.95
        Decay of the mean of their gradients.
    nesterov : bool, default True
        Take the mean where it will be after this gradient counts once more.
    weight_decay : float, default 0.0
        Each step first multiplies all parameters by ``1 - rate * weight_decay``, with the rate
        that they are updated at.
    adam_learning_rate : float, Schedule or function, default 0.001
        Of all other parameters. It does not follow a schedule of `learning_rate`: give both one.
    beta_1, beta_2, epsilon
        As in `Adam`, for all other parameters.

    References
    ----------
    K. Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """

    learning_rate: Rate = 0.02
    momentum: float = 0.95
    nesterov: bool = True
    weight_decay: float = 0.0
    adam_learning_rate: Rate = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    bounds = {**AdamW.bounds, "momentum": DECAY}
    rate_names = ("learning_rate", "adam_learning_rate")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.nesterov, (bool, np.bool_)):
            raise TypeError(f"nesterov must be True or False; got {self.nesterov!r}")
        object.__setattr__(self, "nesterov", bool(self.nesterov))  # as a file can hold it

    @property
    def formula_name(self) -> str:
        """Its row in ``formulas.OPTIMIZERS``."""
        return "muon"


NAMED_OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": SGD(),
    "momentum": SGD(momentum=0.9),
    "nesterov": SGD(momentum=0.9, nesterov=True),
    "adam": Adam(),
    "adamw": AdamW(),
    "rmsprop": RMSprop(),
    "adagrad": Adagrad(),
    "nadam": Nadam(),
    "lion": Lion(),
    "muon": Muon(),
}


def check_optimizer(optimizer: object) -> Optimizer:
    """Return an optimizer for an object or a name."""
    if isinstance(optimizer, Optimizer):
        return optimizer
    if isinstance(optimizer, str) and optimizer in NAMED_OPTIMIZERS:
        return NAMED_OPTIMIZERS[optimizer]
    raise unknown_name("optimizer", optimizer, NAMED_OPTIMIZERS)
