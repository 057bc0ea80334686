"""The way back, told: the three derivatives of every layer, each with its check."""

from __future__ import annotations

import math

import numpy as np

from ..kernels.formulas import ACTIVATIONS, LOSSES
from .finite_difference import STEP, TOLERANCES, has_kink_at_zero
from .formula_text import definition, with_numbers
from .forward_sections import input_name
from .layout import (
    WIDTH,
    blocks,
    equation,
    factor,
    heading,
    indented,
    number,
    paragraph,
    plain_name,
    table,
)
from .lesson import Lesson, activation_slope
from .textbook_losses import TEXTBOOK_LOSSES


def backward_section(lesson: Lesson) -> str:
    """Tell backpropagation: from the loss back to the first layer."""
    parts = [
        heading("4. The backward pass"),
        paragraph(
            "Which way must each weight go, and how strongly does it matter? The derivative of "
            "the loss by the weight answers both. The chain rule takes it apart into three "
            "derivatives per layer, from the output back to the input:"
        ),
        "  1. by the activation    ∂L/∂a    how the loss changes with what the unit puts out\n"
        "  2. by the weighted sum  ∂L/∂z = ∂L/∂a·f'(z)    one step back through the activation\n"
        "  3. by the parameters    ∂L/∂w[i,j] = a_in[i]·∂L/∂z[j]    and    ∂L/∂b[j] = ∂L/∂z[j]",
        paragraph(
            "Every result of the third kind is checked on the spot, by a finite difference that "
            "needs no chain rule:"
        ),
        f"  (L(w + h) - L(w - h)) / (2h)    with a small h, here {STEP:g}",
        paragraph(
            "It runs the network twice, with w a little larger and a little smaller, and sees how "
            "the loss moves. The last column is the relative difference between the two results."
        ),
    ]
    n_layers = len(lesson.network.shapes)
    for layer in range(n_layers, 0, -1):
        activation = lesson.network.layer_activations[layer - 1]
        kind = "output" if layer == n_layers else "hidden"
        parts.append(f"Layer {layer} ({kind}, {activation})")
        if layer == n_layers:
            parts += _output_steps(lesson, layer, activation)
        else:
            parts += [_input_gradient(lesson, layer), _chain_step(lesson, layer, activation)]
        parts += [_parameter_step(lesson, layer), _silent_remark(lesson, layer, activation)]
    return blocks(*parts, verdict(lesson))


def _output_steps(lesson: Lesson, layer: int, activation: str) -> list[str]:
    """Return steps 1 and 2 of the output layer."""
    da = lesson.da[-1]
    is_softmax = activation == "softmax"
    if da is None:
        return [
            "  Steps 1 and 2 in one, as this loss and its softmax are merged:",
            _listed(layer, "z", lesson.found.dz[-1][0].tolist()),
        ]
    first = _loss_slope(lesson, layer, da.tolist())
    if is_softmax:
        return [first, _softmax_step(lesson, layer)]
    return [first, _chain_step(lesson, layer, activation), _merged_remark(lesson)]


def _listed(layer: int, letter: str, values: list[float]) -> str:
    return "\n".join(
        indented(equation(f"∂L/∂{letter}[{layer}][{unit}]", number(value)))
        for unit, value in enumerate(values, start=1)
    )


def _loss_slope(lesson: Lesson, layer: int, da: list[float]) -> str:
    """Return step 1 of the output layer: the loss's own derivative."""
    loss, merged_loss = TEXTBOOK_LOSSES.get(lesson.loss_name), LOSSES[lesson.loss_name]
    slope = loss.slope if loss else merged_loss.slope
    if not loss and merged_loss.output != "identity":
        intro = "  Step 1, by the activation: found backwards from step 2, as ∂L/∂z / f'(z)"
        return f"{intro}\n" + _listed(layer, "a", da)
    lines = [f"  Step 1, by the activation: ∂L/∂a = {definition(slope, z='a')}"]
    units = zip(
        lesson.found.a[-1][0].tolist(),
        lesson.targets.tolist(),
        lesson.loss_parameters,
        da,
        strict=True,
    )
    for unit, (a, y, parameters, value) in enumerate(units, start=1):
        shown = with_numbers(slope, a, y, *parameters)[0]
        why = "" if math.isfinite(value) else "a is 0 or 1 to the last digit"
        lines.append(
            indented(equation(f"∂L/∂a[{layer}][{unit}]", shown, number(value), remark=why))
        )
    return "\n".join(lines)


def _input_gradient(lesson: Lesson, layer: int) -> str:
    """Return step 1 of a hidden layer: what comes back through the next layer's weights."""
    next_layer = layer + 1
    w, dz = lesson.network.weights[layer], lesson.found.dz[layer][0].tolist()
    da = lesson.da[layer - 1]
    assert da is not None
    lines = [
        f"  Step 1, by the activation: what comes back over the weights of layer {next_layer},\n"
        f"  ∂L/∂a[{layer}][i] = Σ_j w[{next_layer}][i,j]·∂L/∂z[{next_layer}][j]"
    ]
    for unit, (row, value) in enumerate(zip(w.tolist(), da.tolist(), strict=True), start=1):
        products = [f"{factor(w_j)}·{factor(dz_j)}" for w_j, dz_j in zip(row, dz, strict=True)]
        name = f"∂L/∂a[{layer}][{unit}]"
        lines.append(indented(equation(name, " + ".join(products), number(value))))
    return "\n".join(lines)


def _chain_step(lesson: Lesson, layer: int, activation: str) -> str:
    """Return step 2: back through an element-wise activation."""
    formula, found, da = ACTIVATIONS[activation], lesson.found, lesson.da[layer - 1]
    assert da is not None
    header = "  Step 2, by the weighted sum: ∂L/∂z = ∂L/∂a·f'(z)  with"
    slope_text = f"f'(z) = {definition(formula.derivative)}"
    fits = len(header) + len(slope_text) + 2 <= WIDTH
    lines = [f"{header}  {slope_text}" if fits else f"{header}\n  {slope_text}"]
    units = zip(
        found.z[layer - 1][0].tolist(),
        found.a[layer - 1][0].tolist(),
        da.tolist(),
        found.dz[layer - 1][0].tolist(),
        strict=True,
    )
    for unit, (z, a, da_j, dz_j) in enumerate(units, start=1):
        slope = number(activation_slope(activation, z, a))
        shown, condition = with_numbers(
            formula.derivative, z if formula.derivative_input == "z" else a
        )
        steps = [*([shown] if shown != slope else []), slope]
        why = f"as {condition}" if condition else ""
        lines.append(indented(equation(f"f'(z[{layer}][{unit}])", *steps, remark=why)))
        name, product = f"∂L/∂z[{layer}][{unit}]", f"{factor(da_j)}·{slope}"
        why = ""
        if not math.isfinite(da_j):  # only at an output: the division by a failed
            product, why = "a - y", f"{product} has no value; only the merged form has"
        lines.append(indented(equation(name, product, number(dz_j), remark=why)))
    return "\n".join(lines)


def _softmax_step(lesson: Lesson, layer: int) -> str:
    """Return step 2 of a softmax output: every output hangs on every z, and it all cancels."""
    lines = [
        "  Step 2, by the weighted sum: ∂L/∂z[k] = Σ_j ∂L/∂a[j]·∂a[j]/∂z[k]\n",
        paragraph(
            "The sum is there because in a softmax every output depends on every z. But "
            "∂a[j]/∂z[k] is a[j]·(1 - a[j]) for j = k and -a[j]·a[k] for all others, and with the "
            "derivatives of step 1 nearly everything cancels. Steps 1 and 2 merge into one, and "
            "the library does only this one: ∂L/∂z = a - y.",
            "  ",
        ),
    ]
    units = zip(
        lesson.found.a[-1][0].tolist(),
        lesson.targets.tolist(),
        lesson.found.dz[-1][0].tolist(),
        strict=True,
    )
    for unit, (a, y, dz) in enumerate(units, start=1):
        shown = f"{number(a)} - {factor(y)}"
        lines.append(indented(equation(f"∂L/∂z[{layer}][{unit}]", shown, number(dz))))
    return "\n".join(lines)


def _merged_remark(lesson: Lesson) -> str:
    """Say that the library goes from the loss to dL/dz in one step, where it does."""
    loss = LOSSES[lesson.loss_name]
    if not lesson.trainer.plan.loss_is_merged or lesson.loss_name not in TEXTBOOK_LOSSES:
        return ""
    a, y, dz = lesson.found.a[-1][0, 0], lesson.targets[0], lesson.found.dz[-1][0, 0]
    name = plain_name(lesson.loss_name)
    text = (
        f"A shortcut: for {name} after a {loss.output}, steps 1 and 2 multiplied out are simply "
        f"∂L/∂z = a - y = {number(a)} - {factor(y)} = {number(dz)}. The library takes it: it is "
        f"quicker, and nothing is divided by an a that may be 0."
    )
    return paragraph(text, "  ")


def _parameter_step(lesson: Lesson, layer: int) -> str:
    """Return step 3: the table of the derivatives by weights and biases, checked."""
    weights, biases = lesson.network.slices[layer - 1]
    fan_in, fan_out = lesson.network.shapes[layer - 1]
    inputs, dz = lesson.inputs[layer - 1].tolist(), lesson.found.dz[layer - 1][0].tolist()
    labels = [
        (f"∂L/∂w[{layer}][{i},{j}]", f"{number(inputs[i - 1])}·{factor(dz[j - 1])}")
        for i in range(1, fan_in + 1)
        for j in range(1, fan_out + 1)
    ]
    labels += [(f"∂L/∂b[{layer}][{j}]", f"∂L/∂z[{layer}][{j}]") for j in range(1, fan_out + 1)]
    rows = []
    for (label, product), index in zip(labels, range(weights.start, biases.stop), strict=True):
        rows.append(
            [
                label,
                product,
                number(lesson.gradient[index]),
                number(lesson.measured[index]),
                _small(lesson.differences[index]),
            ]
        )
    header = [
        "",
        f"{input_name(layer, 0)[:-3]}[i]·∂L/∂z[j]",
        "result",
        "finite diff.",
        "rel. diff.",
    ]
    return "  Step 3, by the weights and biases\n" + indented(table(header, rows, left=2))


def _small(difference: float) -> str:
    return f"{difference:.0e}" if difference else "0"


def _silent_remark(lesson: Lesson, layer: int, activation: str) -> str:
    """Say why nothing comes through a layer, if nothing does."""
    if activation == "softmax" or lesson.found.dz[layer - 1].any():
        return ""
    if layer < len(lesson.network.shapes) and not lesson.found.dz[layer].any():
        return paragraph(
            "  Nothing comes back from the layer above, so nothing is left here.", "  "
        )
    return paragraph(
        f"All derivatives of this layer are 0, so this sample teaches it and the layers before it "
        f"nothing. If every {activation} unit is on its flat side, the layer is called dead; "
        f"another start (seed) or another activation helps.",
        "  ",
    )


def verdict(lesson: Lesson) -> str:
    """Return what the finite differences say of all derivatives."""
    worst = int(lesson.differences.argmax())
    largest, tolerance = float(lesson.differences[worst]), TOLERANCES[lesson.trainer.plan.precision]
    count = lesson.network.n_parameters
    if largest <= tolerance:
        return paragraph(
            f"Verdict: all {count} derivatives agree with their finite differences. The largest "
            f"relative difference is {_small(largest)} (up to {tolerance:.0e} is rounding): the "
            f"backward pass is right."
        )
    text = (
        f"Verdict: the derivatives do NOT all agree with their finite differences. The largest "
        f"relative difference is {largest:.0e}; up to {tolerance:.0e} would be rounding."
    )
    kinks = [
        f"z[{layer + 1}][{unit + 1}]"
        for layer, activation in enumerate(lesson.network.layer_activations)
        if has_kink_at_zero(activation)
        for unit in np.flatnonzero(np.abs(lesson.found.z[layer][0]) < 10 * STEP)
    ]
    if kinks:
        text += (
            f" The cause is {', '.join(kinks)}: on the kink of the activation there is no "
            f"derivative. The finite difference straddles the kink; the chain rule takes one side. "
            f"Both are fine; change x a little and they agree."
        )
    return paragraph(text)
