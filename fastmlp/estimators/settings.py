"""From scikit-learn's parameters to fastmlp's objects."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from ..custom import CustomActivation
from ..errors import unknown_name
from ..kernels.contract import PRECISIONS
from ..kernels.formulas import ACTIVATIONS
from ..optimizers import SGD, Optimizer, ScikitLearnAdam, check_optimizer
from ..regularization import Clipping, Dropout, Regularization, check_dropout
from ..schedules import InverseScaling, Rate
from .own_names import OWN_NAMES, own_name

if TYPE_CHECKING:
    from .base import BaseMLP

AUTO_BATCH_SIZE = 200


def is_stochastic(estimator: BaseMLP) -> bool:
    """Tell whether training goes in epochs."""
    return estimator.optimizer is not None or estimator.solver != "lbfgs"


def is_adaptive(estimator: BaseMLP) -> bool:
    """Tell whether the learning rate is lowered where nothing improves, instead of stopping."""
    uses_sgd = estimator.optimizer is None and estimator.solver == "sgd"
    return bool(uses_sgd and estimator.learning_rate == "adaptive")


def hidden_widths(estimator: BaseMLP) -> list[int]:
    """Return the widths of the hidden layers."""
    sizes = estimator.hidden_layer_sizes
    widths = list(sizes) if hasattr(sizes, "__iter__") else [sizes]
    for index, width in enumerate(widths):
        if not isinstance(width, Integral):
            raise ValueError(f"hidden_layer_sizes[{index}] must be an integer; got {width!r}")
    if np.any(np.array(widths) <= 0):
        raise ValueError(f"hidden_layer_sizes must be > 0, got {widths}.")
    return widths


def layer_activations(estimator: BaseMLP) -> list[Any]:
    """Return the activation of each hidden layer, in the network's words.

    Raises
    ------
    ValueError
        If one of a list is unknown.
    """
    activation = estimator.activation
    if isinstance(activation, (str, CustomActivation)):
        return [own_name(activation)] * len(hidden_widths(estimator))
    known = (*OWN_NAMES, *ACTIVATIONS)
    for index, each in enumerate(activation):
        if not isinstance(each, CustomActivation) and each not in known:
            raise unknown_name(f"activation[{index}]", each, known)
    return list(map(own_name, activation))


def drawn_for(estimator: BaseMLP) -> list[Any]:
    """Return for which activation the parameters of each layer are drawn.

    Those of the output layer are for the last hidden layer's, as in scikit-learn.
    """
    hidden = layer_activations(estimator)
    asked = estimator.activation
    last = hidden[-1] if hidden else own_name(asked) if isinstance(asked, str) else None
    return [*hidden, last]


def network_settings(estimator: BaseMLP) -> dict[str, Any]:
    """Return what the network was made of, or would be, by the name of the parameter."""
    return {
        "hidden_layer_sizes": [int(width) for width in hidden_widths(estimator)],
        "activation": layer_activations(estimator),
        "normalization": estimator.normalization,
        "scale_inputs": estimator.scale_inputs,
        "output": getattr(estimator, "output", None),
        # Losses have outputs of their own, and some an activation of them.
        "loss": (estimator._network_width(), estimator._network_output()),
    }


def refuse_another_network(estimator: BaseMLP, made_of: dict[str, Any]) -> None:
    """Raise if a parameter describes another network than the one that is gone on with."""
    for name, asked in network_settings(estimator).items():
        if asked != made_of[name]:
            was = f"={made_of[name]!r}"
            if name == "loss":
                width, activation = made_of[name]
                was = f" of {width} outputs with the activation {activation!r}"
            raise ValueError(
                f"warm_start and partial_fit go on with the network that there is, made with "
                f"{name}{was}; got {name}={getattr(estimator, name)!r}: set it back, or let fit "
                "begin anew with warm_start=False"
            )


def refuse_with_lbfgs(estimator: BaseMLP, validation: object) -> None:
    """Raise if something is set that works on batches or epochs only."""
    asked = {
        "callbacks": bool(listeners(estimator)),
        "time_limit": estimator.time_limit is not None,
        "X_val": validation is not None,
        "dropout": check_dropout(estimator.dropout) != Dropout(0.0),
        "normalization='batch'": estimator.normalization == "batch",
        "clipping": estimator.clipping is not None,
        "regularization.max_norm": penalties(estimator).max_norm is not None,
    }
    refused = [name for name, is_asked in asked.items() if is_asked]
    if refused:
        raise ValueError(
            f"solver='lbfgs' has no batches and no epochs, and so no {' and no '.join(refused)}; "
            "take solver='adam' or an optimizer"
        )


def network_precision(estimator: BaseMLP, dtype: Any) -> str:
    """Return the type of a new network's parameters, for features of `dtype`."""
    if estimator.precision != "auto":
        return PRECISIONS[estimator.precision]
    is_single = dtype in (np.float32, np.uint8) and is_stochastic(estimator)
    return "float32" if is_single else "float64"


def preserved_types(estimator: BaseMLP) -> list[str]:
    """Return the types of features which the hidden activations have, too."""
    if estimator.precision not in ("auto", *PRECISIONS):  # an error when it is fitted
        return []
    types = (np.float64, np.float32)
    return [each.__name__ for each in types if network_precision(estimator, each) == each.__name__]


def penalties(estimator: BaseMLP) -> Regularization:
    """Return the penalties on the weights."""
    asked: Regularization | None = estimator.regularization
    if asked is not None:
        return asked
    return Regularization(l2=float(estimator.alpha), divided_by_rows=True)


def make_optimizer(estimator: BaseMLP) -> Optimizer:
    """Return the optimizer that was named, or that the solver and its settings stand for."""
    if estimator.optimizer is not None:
        return check_optimizer(estimator.optimizer)
    if estimator.solver == "sgd":
        nesterov = bool(estimator.nesterovs_momentum) and estimator.momentum > 0
        rate: Rate = estimator.learning_rate_init
        if estimator.learning_rate == "invscaling":
            rate = InverseScaling(estimator.learning_rate_init, estimator.power_t)
        return SGD(rate, estimator.momentum, nesterov)
    if estimator.solver == "adam":
        return ScikitLearnAdam(
            estimator.learning_rate_init, estimator.beta_1, estimator.beta_2, estimator.epsilon
        )
    return SGD()  # L-BFGS takes no steps of the Trainer


def trainer_settings(estimator: BaseMLP, n_rows: int) -> dict[str, Any]:
    """Return what else the Trainer takes, to train on `n_rows`."""
    batch_size = AUTO_BATCH_SIZE
    if estimator.batch_size != "auto":
        batch_size = min(int(estimator.batch_size), n_rows)
    return {
        "loss": estimator._network_loss(),
        "batch_size": batch_size,
        "regularization": penalties(estimator),
        "dropout": check_dropout(estimator.dropout),
        "clipping": Clipping() if estimator.clipping is None else estimator.clipping,
        "backend": estimator.backend,
        "n_threads": estimator.n_threads,
    }


def listeners(estimator: BaseMLP) -> list[Any]:
    """Return the user's callbacks."""
    callbacks = estimator.callbacks
    if callbacks is None:
        return []
    return list(callbacks) if isinstance(callbacks, Iterable) else [callbacks]
