"""Make a `Plan`: network, loss, optimizer, batch size, precision and threads, checked once."""

from __future__ import annotations

import os

from .checks import check_integer
from .errors import unknown_name
from .kernels.contract import Layer, Plan, Step
from .kernels.cpus import available_cpus
from .kernels.formulas import LOSSES
from .network import DTYPES, Network
from .optimizers import Optimizer

# The first loss of an output is its default.
DEFAULT_LOSSES: dict[str, str] = {loss.output: name for name, loss in reversed(LOSSES.items())}


def make_plan(
    network: Network,
    *,
    loss: str = "auto",
    optimizer: Optimizer,
    batch_size: int = 32,
    precision: str = "float32",
    n_threads: int | None = None,
) -> Plan:
    """Check everything and lay out one batch.

    Raises
    ------
    ValueError, TypeError
        If an argument is not valid, or the loss does not go with the network's output.
    """
    if not isinstance(network, Network):
        raise TypeError(f"network must be a Network; got {type(network).__name__}")
    if not isinstance(precision, str) or precision not in DTYPES:
        raise unknown_name("precision", precision, DTYPES)
    loss_name = check_loss(loss, network.output)
    merged = LOSSES[loss_name].output == network.output
    layers = tuple(
        Layer(index, fan_in, fan_out, name, weights, biases)
        for index, ((fan_in, fan_out), name, (weights, biases)) in enumerate(
            zip(network.shapes, network.layer_activations, network.slices, strict=True)
        )
    )
    last = len(layers) - 1
    forward = [Step("gather", 0)]
    for layer in range(last):
        forward += [Step("weighted_sum", layer), Step("activation", layer)]
    forward.append(Step("weighted_sum", last))
    output = [Step("activation", last)]
    backward = [Step("loss", last)]
    if not merged:
        forward, output = forward + output, []
        backward.append(Step("activation_slope", last))
    for layer in range(last, -1, -1):
        backward += [Step("weight_gradient", layer), Step("bias_gradient", layer)]
        if layer > 0:
            backward += [Step("input_gradient", layer), Step("activation_slope", layer - 1)]
    return Plan(
        layers=layers,
        loss=loss_name,
        loss_is_merged=merged,
        targets_are_labels=network.output == "softmax",
        optimizer=optimizer.formula_name,
        n_states=len(optimizer.formula.states),
        n_coefficients=optimizer.formula.n_coefficients,
        batch_size=check_integer("batch_size", batch_size, 1),
        precision=precision,
        n_threads=resolve_threads(n_threads),
        input_scale=network.input_scale,
        n_parameters=network.n_parameters,
        forward=tuple(forward),
        output=tuple(output),
        backward=tuple(backward),
        update=tuple(Step("update", layer.index) for layer in layers),
    )


def check_loss(loss: str, output: str) -> str:
    """Return the loss's name; "auto" takes the one that goes with the output."""
    if loss == "auto":
        return DEFAULT_LOSSES.get(output, "squared_error")
    if not isinstance(loss, str) or loss not in LOSSES:
        raise unknown_name("loss", loss, ("auto", *LOSSES))
    needed = LOSSES[loss].output
    if needed != output and (output == "softmax" or needed != "identity"):
        fitting = [name for name, each in LOSSES.items() if each.output in (output, "identity")]
        if output == "softmax":
            fitting = [name for name, each in LOSSES.items() if each.output == "softmax"]
        wants = "any output but 'softmax'" if needed == "identity" else f"output={needed!r}"
        raise ValueError(
            f"loss={loss!r} needs {wants}; the network's output is {output!r}, "
            f"which goes with: {', '.join(fitting)}"
        )
    return loss


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
