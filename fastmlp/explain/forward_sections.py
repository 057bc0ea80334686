"""The way forward, told: the network, the weighted sums and activations, the loss."""

from __future__ import annotations

import math

import numpy as np

from ..kernels.formulas import ACTIVATIONS, LOSSES, exp
from ..network import Network
from .formula_text import definition, with_numbers
from .layout import (
    blocks,
    equation,
    factor,
    heading,
    indented,
    number,
    paragraph,
    plain_name,
    plus,
    table,
    vector,
)
from .lesson import Lesson
from .textbook_losses import TEXTBOOK_LOSSES

FULLY_SPELLED = 3
"""Up to this many inputs the formula of every unit is written out, else only the first one's."""

OPTIMIZER_WORDS = {"sgd": "gradient descent (sgd)", "momentum": "gradient descent with momentum"}


def input_name(layer: int, unit: int) -> str:
    """Return the name of what a layer (from 1) takes from a unit: x[i], or a[l-1][i]."""
    return f"x[{unit}]" if layer == 1 else f"a[{layer - 1}][{unit}]"


def remark(lesson: Lesson, name: str) -> str:
    """Return what the lecture notes call a quantity, as a remark."""
    return f"{lesson.names_in_notes[name]} in the notes" if name in lesson.names_in_notes else ""


def parameter_counts(network: Network) -> list[str]:
    """Return per layer how its parameters come about."""
    return [
        f"  layer {layer}:  {fan_in}·{fan_out} + {fan_out} = {(fan_in + 1) * fan_out}"
        for layer, (fan_in, fan_out) in enumerate(network.shapes, start=1)
    ]


def weight_table(network: Network, layer: int) -> str:
    """Return a layer's weights and biases as a table: a row per input, a column per unit."""
    w, b = network.weights[layer - 1], network.biases[layer - 1]
    header = [f"w[{layer}]", *(f"unit {j}" for j in range(1, len(b) + 1))]
    rows = [[f"from {input_name(layer, i)}", *map(number, row)] for i, row in enumerate(w, start=1)]
    return table(header, [*rows, [f"b[{layer}]", *map(number, b)]])


def network_section(lesson: Lesson) -> str:
    """Tell the structure, the parameter count, the names and the numbers to start from."""
    network, trainer = lesson.network, lesson.trainer
    counts = [str((fan_in + 1) * fan_out) for fan_in, fan_out in network.shapes]
    total = (
        f"  {' + '.join(counts)} = {network.n_parameters:,} parameters" if len(counts) > 1 else ""
    )
    last = len(counts)
    scale = ""
    if network.scales_inputs:
        center, by = (
            vector(np.ravel(numbers)) for numbers in (network.input_center, network.input_scale)
        )
        steps = f"multiplies its inputs by {by}"
        if np.any(network.input_center):
            steps = f"subtracts {center} from its inputs and multiplies them by {by}"
        scale = (
            f"The network {steps} as it reads them: below, x stands for {vector(lesson.inputs[0])}."
        )
    targets = ""
    if trainer.plan.targets_are_labels:
        targets = paragraph(
            f"The target is a class, counted from 0. For the arithmetic it becomes one number per "
            f"output, 1 for the class and 0 for the others: y = {vector(lesson.targets)}."
        )
    y, method = lesson.sample.y.ravel(), trainer.plan.optimizer
    return blocks(
        heading("1. The network"),
        indented(network.summary()),
        paragraph(
            "Every unit has one weight per input and one bias. So a layer has fan_in·fan_out "
            "weights and fan_out biases:"
        ),
        "\n".join([*parameter_counts(network), *filter(None, [total])]),
        paragraph(
            f"The names: z[l][j] is the weighted sum of unit j in layer l, a[l][j] its activation, "
            f"b[l][j] its bias, and w[l][i,j] the weight that leads to it from input i. So w[l] "
            f"has the shape (fan_in, fan_out). We count from 1; the code counts from 0: "
            f"w[{last}][1,1] is network.weights[{last - 1}][0, 0]."
        ),
        *(weight_table(network, layer) for layer in range(1, last + 1)),
        "\n".join(
            [
                f"  input          x = {vector(lesson.sample.x[0])}",
                f"  target         y = {vector(y)}",
                f"  loss           {plain_name(lesson.loss_name)}",
                f"  optimizer      {OPTIMIZER_WORDS.get(method, method)}, "
                f"learning rate {number(trainer.optimizer.first_rate)}",
            ]
        ),
        paragraph(scale),
        targets,
    )


def _weighted_sum(lesson: Lesson, layer: int, unit: int) -> str:
    """Return z of one unit: formula, numbers, result."""
    name, inputs = f"z[{layer}][{unit}]", lesson.inputs[layer - 1].tolist()
    w = lesson.network.weights[layer - 1][:, unit - 1].tolist()
    b = float(lesson.network.biases[layer - 1][unit - 1])
    formula = " + ".join(
        f"{input_name(layer, i)}·w[{layer}][{i},{unit}]" for i in range(1, len(inputs) + 1)
    )
    products = [f"{factor(x)}·{factor(w_i)}" for x, w_i in zip(inputs, w, strict=True)]
    z = float(lesson.found.z[layer - 1][0, unit - 1])
    steps = [f"{formula} + b[{layer}][{unit}]", plus(" + ".join(products), b), number(z)]
    if len(inputs) > FULLY_SPELLED and unit > 1:
        del steps[0]
    return equation(name, *steps, remark=remark(lesson, name), stacked=True)


def _activation(lesson: Lesson, layer: int, unit: int, activation: str) -> str:
    """Return a of one unit: formula, numbers, result."""
    name, z_name = f"a[{layer}][{unit}]", f"z[{layer}][{unit}]"
    z = float(lesson.found.z[layer - 1][0, unit - 1])
    a = number(lesson.found.a[layer - 1][0, unit - 1])
    shown, condition = with_numbers(ACTIVATIONS[activation].value, z)
    notes = [f"as {condition}" if condition else "", remark(lesson, name)]
    called = z_name if activation == "identity" else f"{activation}({z_name})"
    steps = [called, *([shown] if shown != a else []), a]
    return equation(name, *steps, remark="; ".join(filter(None, notes)))


def _softmax(lesson: Lesson, layer: int) -> str:
    """Return all outputs of a softmax layer."""
    z, a = lesson.found.z[-1][0].tolist(), lesson.found.a[-1][0].tolist()
    total = f"Σ_k exp(z[{layer}][k])"
    powers = " + ".join(f"exp({number(value)})" for value in z)
    amount = number(sum(map(exp, z)))
    lines = [equation(total, powers, amount)]
    for unit, (z_k, a_k) in enumerate(zip(z, a, strict=True), start=1):
        steps = [
            f"exp(z[{layer}][{unit}]) / {total}",
            f"exp({number(z_k)}) / {amount}",
            number(a_k),
        ]
        lines.append(equation(f"a[{layer}][{unit}]", *steps))
    safety = paragraph(
        "(The code subtracts the largest z from every z first. The result is the same, and no exp "
        "can overflow.)",
        "  ",
    )
    return blocks("\n".join(lines), safety)


def forward_section(lesson: Lesson) -> str:
    """Tell the forward pass, unit by unit."""
    parts = [
        heading("2. The forward pass"),
        paragraph(
            "Layer by layer, every unit adds up what comes in, each input times its weight, and "
            "its bias. That is z. Its activation function makes a of it, which goes on to the "
            "next layer. In matrix form, for the whole layer at once: z = a_in @ w + b, where @ is "
            "the matrix product."
        ),
    ]
    names = lesson.network.layer_activations
    for layer, ((_, fan_out), activation) in enumerate(
        zip(lesson.network.shapes, names, strict=True), start=1
    ):
        kind = "output" if layer == len(names) else "hidden"
        is_softmax = activation == "softmax"
        if is_softmax:
            formula = "a[k] = exp(z[k]) / Σ_j exp(z[j]): positive, and together 1"
        else:
            formula = f"a = {activation}(z) = {definition(ACTIVATIONS[activation].value)}"
            formula = "a = z" if activation == "identity" else formula
        parts.append(f"Layer {layer} ({kind}, {activation}):  {formula}")
        for unit in range(1, fan_out + 1):
            parts.append(_weighted_sum(lesson, layer, unit))
            if not is_softmax:
                parts[-1] += "\n" + _activation(lesson, layer, unit, activation)
        if is_softmax:
            parts.append(_softmax(lesson, layer))
    outputs = vector(lesson.found.a[-1][0])
    parts.append(f"The network's output is {outputs}; the target is {vector(lesson.targets)}.")
    return blocks(*parts)


def loss_section(lesson: Lesson) -> str:
    """Tell the loss: how far off the output is, as one number."""
    name = lesson.loss_name
    a, z, y = (
        lesson.found.a[-1][0].tolist(),
        lesson.found.z[-1][0].tolist(),
        lesson.targets.tolist(),
    )
    textbook, loss, total = TEXTBOOK_LOSSES.get(name), LOSSES[name], number(lesson.found.loss)
    value, own = textbook.value if textbook else loss.value, lesson.loss_parameters
    parts = [
        heading("3. The loss"),
        paragraph(
            "The loss L says in one number how far the output is from the target. 0 would be "
            "perfect. Training means to make it small."
        ),
    ]
    if loss.of == "log_softmax":
        shown = definition(value, a="a[k]", log_p="log(a[k])", y="y[k]")
        taken = [a_k if textbook else math.log(a_k) if a_k else -math.inf for a_k in a]
        only_right = loss.value(-1.0, 0.0, *own[0]) == 0.0
        terms = [
            with_numbers(value, t, y_k, *numbers)[0]
            for t, y_k, numbers in zip(taken, y, own, strict=True)
            if y_k or not only_right
        ]
        why = "Only the right class counts: its y is 1, all others are 0."
        parts += [
            f"  {plain_name(name)}:  L = Σ_k {shown}",
            f"  {why if only_right else 'Every class counts.'} (log is the natural logarithm.)",
            equation("L", " + ".join(terms), total),
        ]
        return blocks(*parts)
    by_output = textbook is not None or loss.output == "identity"
    shown = definition(value, z="a") if by_output else definition(value)
    log = "  (log is the natural logarithm)" if "log(" in shown else ""
    each = " of an output" if len(a) > 1 else ""
    parts += [f"  {plain_name(name)}{each}:  L = {shown}", log]
    units = zip(a if by_output else z, y, own, strict=True)
    terms = [with_numbers(value, v, y_k, *numbers)[0] for v, y_k, numbers in units]
    if len(a) == 1:
        return blocks(*parts, equation("L", terms[0], total))
    units = zip(z if lesson.trainer.plan.loss_is_merged else a, y, own, strict=True)
    results = [loss.value(v, y_k, *numbers) for v, y_k, numbers in units]
    names = [f"L[{k}]" for k in range(1, len(a) + 1)]
    lines = [
        equation(n, term, number(result))
        for n, term, result in zip(names, terms, results, strict=True)
    ]
    return blocks(*parts, "\n".join(lines), equation("L", " + ".join(names), total))
