"""`explain`: check what came, compute the lesson, and tell it section by section."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..checks import check_integer, check_number, check_seed
from ..data import check_dense
from ..errors import unknown_name
from ..kernels.formulas import LOSSES
from ..losses import Loss, check_loss
from ..network import DTYPES, Network
from ..optimizers import NAMED_OPTIMIZERS, Optimizer, check_optimizer
from . import notes_example
from .backward_sections import backward_section
from .forward_sections import forward_section, loss_section, network_section
from .layout import blocks, paragraph, title
from .lesson import Lesson, Sample, make_lesson
from .notes_example import is_notes_sample, notes_network, slip_section
from .training_sections import (
    closing_section,
    prediction_section,
    training_section,
    update_section,
)

MAX_PARAMETERS = 200
UNTIL_LOSS = 0.01
MAX_ITERATIONS = 5000


def explain(
    network: Network | None = None,
    x: object = None,
    y: object = None,
    *,
    loss: Loss | str = "auto",
    optimizer: Optimizer | str = "sgd",
    learning_rate: float | None = None,
    backend: str = "python",
    precision: str = "float64",
    seed: int = 0,
    until_loss: float = UNTIL_LOSS,
    max_iterations: int = MAX_ITERATIONS,
    max_parameters: int = MAX_PARAMETERS,
    progress: bool = False,
) -> str:
    """Tell one sample's way through a small network, forward and back, with every number.

    Parameters
    ----------
    network : Network, optional
        Not changed. The default is the 2-2-1 network of the lecture notes.
    x : array of shape (n_inputs,) or (1, n_inputs), optional
        One sample. By default the notes' for their network, else drawn from `seed`.
    y : number or array of shape (n_outputs,), optional
        Its target: a class number for a softmax output, else one value per output. By default
        the notes' for their network, else drawn from `seed`.
    loss : Loss or str, default "auto"
        As in `Trainer`.
    optimizer : Optimizer or str, default "sgd"
    learning_rate : float, optional
        By default 0.1, or what an `Optimizer` object has.
    backend : str, default "python"
    precision : {"float64", "float32"}, default "float64"
    seed : int, default 0
        Of the default `x` and `y`.
    until_loss : float, default 0.01
        Training ends when the loss is at most this.
    max_iterations : int, default 5000
        Training ends after this many updates.
    max_parameters : int, default 200
        A larger network is refused: nobody would read it.
    progress : bool, default False
        Show a progress bar while training.

    Returns
    -------
    str
        Lines of about 90 columns. `to_ascii` spells its symbols in ASCII.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what is described here.
    BackendUnavailableError
        If the backend cannot run here.
    DivergenceError
        If the very first update leads to numbers that are not finite.
    """
    if network is not None and not isinstance(network, Network):
        raise TypeError(f"network must be a Network or None; got {type(network).__name__}")
    if network is not None and network.normalization is not None:
        raise ValueError(
            f"explain walks through networks without normalization; got "
            f"normalization={network.normalization!r}: take the same network without it"
        )
    if network is not None and len(network.group_sizes) > 1:
        raise ValueError(
            f"explain walks through networks with one softmax; got "
            f"group_sizes={list(network.group_sizes)}: take a network with one group of them"
        )
    if precision not in DTYPES:  # bfloat16 has too few digits to follow along
        raise unknown_name("precision", precision, DTYPES)
    max_parameters = check_integer("max_parameters", max_parameters, 1)
    max_iterations = check_integer("max_iterations", max_iterations, 1)
    until_loss = check_number("until_loss", until_loss, 0.0)
    seed = check_seed(seed)
    chosen = _with_rate(optimizer, learning_rate)
    is_default = network is None
    subject = notes_network() if network is None else copy.deepcopy(network)
    check_readable(subject.sizes, max_parameters)
    loss = check_loss(loss, subject.output)
    loss_name = loss.formula_name(subject.output)
    has_notes_shape = is_default or _is_notes_network(subject)
    sample = _sample(subject, x, y, loss, seed, has_notes_shape)
    is_notes = (
        has_notes_shape
        and _is_notes_network(subject)
        and is_notes_sample(sample.x, sample.y)
        and loss_name == "binary_cross_entropy"
        and chosen.formula_name == "sgd"
        and chosen.learning_rate == notes_example.LEARNING_RATE
    )
    lesson = make_lesson(
        subject,
        sample,
        loss=loss,
        optimizer=chosen,
        backend=backend,
        precision=precision,
        until_loss=until_loss,
        max_iterations=max_iterations,
        progress=progress,
        names_in_notes=notes_example.NAMES if is_notes else None,
    )
    return tell(lesson, is_notes)


def tell(lesson: Lesson, is_notes: bool) -> str:
    """Return the whole text; `is_notes` puts in what the lecture notes got wrong."""
    sizes = "-".join(map(str, lesson.network.sizes))
    backend, precision = lesson.trainer.backend_name, lesson.trainer.plan.precision
    subject = " of the lecture notes" if is_notes else ""
    opening = blocks(
        title(f"The {sizes} network{subject}, step by step"),
        paragraph(
            f"One sample goes through a small network: forward, to the loss, back, and on to "
            f"better weights. All numbers are computed by fastmlp (backend {backend}, "
            f"{precision}), with all their digits; shown are about three. So if you follow with "
            f"a calculator from the digits shown, the last one may differ."
        ),
    )
    sections = [
        opening,
        network_section(lesson),
        forward_section(lesson),
        loss_section(lesson),
        backward_section(lesson),
        update_section(lesson, 5),
    ]
    if is_notes:
        sections.append(slip_section(lesson, 6))
    next_section = 7 if is_notes else 6
    sections += [
        training_section(lesson, next_section),
        prediction_section(lesson, next_section + 1),
        closing_section(next_section + 2),
    ]
    return "\n\n\n".join(sections) + "\n"


def check_readable(sizes: Sequence[int], max_parameters: int) -> None:
    """Refuse layer widths whose network is too large to be read number by number."""
    count = sum((fan_in + 1) * fan_out for fan_in, fan_out in pairwise(sizes))
    if count > max_parameters:
        raise ValueError(
            f"a network of the sizes {'-'.join(map(str, sizes))} has {count:,} parameters, too "
            f"many to be read one by one; at most max_parameters={max_parameters:,} are explained. "
            f"Take smaller sizes, or raise max_parameters"
        )


def _with_rate(optimizer: Optimizer | str, learning_rate: float | None) -> Optimizer:
    """Return the optimizer with its learning rate set."""
    chosen = check_optimizer(optimizer)
    if learning_rate is None:
        if isinstance(optimizer, Optimizer):
            return chosen
        learning_rate = NAMED_OPTIMIZERS["sgd"].first_rate
    return replace(chosen, learning_rate=learning_rate)


def _is_notes_network(network: Network) -> bool:
    notes = notes_network()
    return (
        network.sizes == notes.sizes
        and network.layer_activations == notes.layer_activations
        and not network.scales_inputs
        and bool(np.array_equal(network.parameters, notes.parameters))
    )


def _sample(
    network: Network, x: object, y: object, loss: Loss, seed: int, has_notes_shape: bool
) -> Sample:
    """Return the sample asked for; what is missing is the notes' or drawn from the seed."""
    random = np.random.default_rng(seed)
    n_inputs, n_outputs = network.sizes[0], network.sizes[-1]
    n_targets = n_outputs // loss.outputs_per_target
    drawn_x = random.choice([-1.0, 1.0], n_inputs) * random.integers(1, 10, n_inputs) / 10
    if network.output == "softmax":
        drawn_y: NDArray[Any] = random.integers(0, n_outputs, 1)
    elif LOSSES[loss.formula_name(network.output)].predicts_classes:
        drawn_y = random.integers(0, 2, (1, n_targets)).astype(np.float64)
    else:
        drawn_y = random.integers(1, 10, (1, n_targets)) / 10  # every output can reach (0, 1)
    if has_notes_shape:
        drawn_x, drawn_y = np.array(notes_example.X), np.array([[notes_example.Y]])
    row = drawn_x if x is None else _numbers("x", x)
    if row.size != n_inputs:
        raise ValueError(
            f"x must be one sample of {n_inputs} numbers, one per input of the network; got the "
            f"shape {row.shape}"
        )
    row = check_dense(row.reshape(1, -1), n_inputs, "x")
    target = drawn_y if y is None else _numbers("y", y)
    if network.output == "softmax" and target.size == 1:
        return Sample(row, target.reshape(1))
    if target.size != n_targets:
        alternative = ", or a class number" if network.output == "softmax" else ""
        raise ValueError(
            f"y must hold {n_targets} numbers, one per output of the network{alternative}; got the "
            f"shape {target.shape}"
        )
    return Sample(row, target.reshape(1, -1))


def _numbers(argument: str, values: object) -> NDArray[Any]:
    """Return one row of numbers as given; the Trainer checks the rest."""
    try:
        array = np.asarray(values)
    except (ValueError, TypeError):
        array = np.asarray(None)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{argument} must hold numbers; got {type(values).__name__}: {values!r}")
    if array.ndim > 2 or (array.ndim == 2 and len(array) != 1):
        raise ValueError(f"{argument} must be one sample; got the shape {array.shape}")
    return array.ravel()
