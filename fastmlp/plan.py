"""Make a `Plan`: network, loss, optimizer, batch size, precision and threads, checked once."""

from __future__ import annotations

import itertools
import math
import os
import warnings

import numpy as np

from .checks import check_integer
from .errors import unknown_name
from .kernels.contract import PRECISIONS, Layer, Plan, Step
from .kernels.cpus import available_cpus
from .kernels.formulas import LOSSES
from .losses import Loss, check_loss
from .network import Network
from .optimizers import Optimizer
from .regularization import Clipping, Dropout, Regularization, check_dropout, check_kind


def make_plan(
    network: Network,
    *,
    loss: Loss | str = "auto",
    optimizer: Optimizer,
    batch_size: int = 32,
    precision: str = "float32",
    n_threads: int | None = None,
    dropout: float | Dropout = 0.0,
    regularization: Regularization = Regularization(),  # noqa: B008 (it is frozen)
    clipping: Clipping = Clipping(),  # noqa: B008 (it is frozen)
) -> Plan:
    """Check everything and lay out one batch.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid, or the loss does not go with the network's output.
    """
    if not isinstance(network, Network):
        raise TypeError(f"network must be a Network; got {type(network).__name__}")
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise unknown_name("precision", precision, PRECISIONS)
    chosen = check_loss(loss, network.output)
    loss_name = chosen.formula_name(network.output)
    merged = LOSSES[loss_name].output == network.output
    # What a loss takes may depend on how many classes there are: each softmax has its own.
    of_groups = [chosen.parameters(size) for size in network.group_sizes]
    loss_parameters = tuple(tuple(itertools.chain(*rows)) for rows in zip(*of_groups, strict=True))
    layers = tuple(
        Layer(index, fan_in, fan_out, name, weights, biases, normalization, gamma, statistics)
        for index, (
            (fan_in, fan_out),
            name,
            (weights, biases),
            normalization,
            gamma,
            statistics,
        ) in enumerate(
            zip(
                network.shapes,
                network.layer_activations,
                network.slices,
                network.layer_normalizations,
                network.gamma_slices,
                network.statistics_slices,
                strict=True,
            )
        )
    )
    last = len(layers) - 1
    rates = check_dropout(dropout).rates(n_hidden=last)
    check_kind("regularization", regularization, Regularization)
    check_kind("clipping", clipping, Clipping)
    adjusts_gradient = regularization.has_penalty or clipping.value is not None
    center, scale = _input_numbers(network, precision)

    forward = [Step("gather", 0)]
    for layer in range(last + 1):
        if rates[layer] > 0.0:
            forward.append(Step("dropout", layer))
        forward.append(Step("weighted_sum", layer))
        if layers[layer].normalization is not None:
            forward.append(Step("normalization", layer))
        forward.append(Step("activation", layer))
    del forward[-1]  # the output's activation may be a part of the loss
    output = [Step("activation", last)]
    backward = [Step("loss", last)]
    if not merged:
        forward, output = forward + output, []
        backward.append(Step("activation_slope", last))
    for layer in range(last, -1, -1):
        if layers[layer].normalization is not None:
            backward += [Step("normalization_slope", layer), Step("weight_gradient", layer)]
        else:
            backward += [Step("weight_gradient", layer), Step("bias_gradient", layer)]
        if layer > 0:
            backward.append(Step("input_gradient", layer))
            if rates[layer] > 0.0:
                backward.append(Step("dropout_slope", layer))
            backward.append(Step("activation_slope", layer - 1))
    every = range(len(layers))
    update: list[Step] = []
    if adjusts_gradient:
        update += [Step("adjust_gradient", layer) for layer in every]
    if clipping.norm is not None:
        update.append(Step("clip_norm", 0))
    # A matrix between two hidden layers: neither reads the network's inputs nor makes its outputs.
    is_matrix = [optimizer.formula.matrix is not None and 0 < layer < last for layer in every]
    update += [Step("update_matrix" if is_matrix[each] else "update", each) for each in every]
    if regularization.max_norm is not None:
        update += [Step("limit_norm", layer) for layer in every]
    update += [Step("running_statistics", i) for i in every if layers[i].normalization == "batch"]
    return Plan(
        layers=layers,
        loss=loss_name,
        loss_is_merged=merged,
        targets_are_labels=network.output == "softmax",
        optimizer=optimizer.formula_name,
        n_states=len(optimizer.formula.states),
        n_coefficients=optimizer.formula.n_coefficients_in_all,
        dropout=rates,
        adjusts_gradient=adjusts_gradient,
        clip_norm=math.inf if clipping.norm is None else clipping.norm,
        max_norm=math.inf if regularization.max_norm is None else regularization.max_norm,
        batch_size=check_integer("batch_size", batch_size, 1),
        precision=precision,
        n_threads=resolve_threads(n_threads),
        input_center=center,
        input_scale=scale,
        n_parameters=network.n_parameters,
        forward=tuple(forward),
        output=tuple(output),
        backward=tuple(backward),
        update=tuple(update),
        loss_parameters=loss_parameters,
        outputs_per_target=chosen.outputs_per_target,
        group_sizes=network.group_sizes,
    )


def warn_of_no_matrices(optimizer: Optimizer, network: Network) -> None:
    """Say, where the Trainer is made, that the optimizer's own rule is not used at all."""
    warnings.warn(
        f"{type(optimizer).__name__} has a rule of its own for the weights between "
        f"hidden layers, and this network has none (its sizes are {list(network.sizes)}): "
        "all of it is trained by AdamW, at adam_learning_rate. Add a hidden layer, or "
        "take AdamW",
        stacklevel=3,
    )


def _input_numbers(network: Network, precision: str) -> tuple[tuple[float, ...], ...]:
    """Return the plan's input_center and input_scale: both one number, or both one per input."""
    dtype = PRECISIONS[precision]
    given = {"input_center": network.input_center, "input_scale": network.input_scale}
    for name, numbers in given.items():
        largest = float(np.abs(numbers).max())
        if largest > float(np.finfo(dtype).max):
            raise ValueError(
                f"{name} must hold numbers that fit precision={precision!r} (up to "
                f"{np.finfo(dtype).max:.3g}); got {largest:g}: take precision='float64'"
            )
    center, scale = np.broadcast_arrays(*map(np.atleast_1d, given.values()))
    return tuple(center.tolist()), tuple(scale.tolist())


def resolve_threads(n_threads: int | None) -> int:
    """Return how many threads to plan for: asked for, or OMP_NUM_THREADS, or the CPUs allowed.

    Never more than the CPUs allowed: threads that wait for each other must all be running.
    """
    allowed = available_cpus()
    if n_threads is not None:
        return min(check_integer("n_threads", n_threads, 1), allowed)
    first = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if first.isdigit() and int(first) > 0:
        return min(int(first), allowed)
    return allowed
