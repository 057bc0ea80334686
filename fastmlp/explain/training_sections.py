"""What follows the derivatives, told: the update, its repetition, a prediction, the limits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..kernels.formulas import NEWTON_SCHULZ_STEPS
from .formula_text import argument_names, assignments, definition
from .layout import blocks, heading, number, paragraph, table, vector
from .lesson import Lesson, Moment

OUTPUTS_SHOWN = 5
"""The table of the training shows at most this many outputs."""


def parameter_names(lesson: Lesson) -> list[str]:
    """Return the names of all parameters in the order of the flat vector."""
    names: list[str] = []
    for layer, (fan_in, fan_out) in enumerate(lesson.network.shapes, start=1):
        units = range(1, fan_out + 1)
        names += [f"w[{layer}][{i},{j}]" for i in range(1, fan_in + 1) for j in units]
        names += [f"b[{layer}][{j}]" for j in units]
    return names


def update_section(lesson: Lesson, section: int) -> str:
    """Tell the update of every weight and bias."""
    optimizer = lesson.trainer.optimizer
    formula, name = optimizer.formula, optimizer.formula_name
    if len(assignments(formula.update, "w")) == 1 and not formula.states:
        how = f"  w_new = {assignments(formula.update, 'w')[0].removeprefix('w = ')}"
        how += f"    with g = ∂L/∂w and learning_rate = {number(optimizer.first_rate)}"
    else:
        lines = [f"  {line}" for line in assignments(formula.update, "w_new")]
        n_first, words = 2 + len(formula.states), definition(formula.update)
        start = " and ".join(formula.states) + (" starts" if len(formula.states) == 1 else " start")
        coefficients = zip(
            argument_names(formula.update)[n_first:],
            optimizer.coefficients(1, 1)[0].tolist(),
            strict=formula.matrix is None,  # the matrices' own follow
        )
        settings = ", ".join(f"{key} = {number(value)}" for key, value in coefficients)
        how = blocks(
            paragraph(f"{name}: {words[0].lower()}{words[1:]}. With g = ∂L/∂w:"),
            "\n".join(lines),
            paragraph(f"In this first step {start} at 0, and {settings}."),
            _matrix_update(lesson),
        )
    before, after = lesson.network.parameters, lesson.updated.parameters
    rows = [
        [
            label,
            number(old),
            number(g),
            number(new - old),
            number(new),
            *([lesson.names_in_notes.get(label, "")] if lesson.names_in_notes else []),
        ]
        for label, old, g, new in zip(
            parameter_names(lesson),
            before.tolist(),
            lesson.gradient.tolist(),
            after.tolist(),
            strict=True,
        )
    ]
    header = ["", "old", "g = ∂L/∂w", "change", "new"]
    header += ["in the notes"] if lesson.names_in_notes else []
    first = lesson.repetition.moments[1]
    exercise = "(The notes leave the hidden layer to you. Here it is, to compare.)"
    return blocks(
        heading(f"{section}. The update"),
        paragraph(
            "A derivative points to where the loss grows. So every weight and bias takes a small "
            "step the other way. All of them step at once, with the derivatives from above:"
        ),
        how,
        table(header, rows),
        exercise if lesson.names_in_notes else "",
        paragraph(
            f"Another forward pass with the new numbers: the output goes from "
            f"{vector(lesson.found.a[-1][0])} to {vector(first.outputs)}, and the loss from "
            f"{number(lesson.found.loss, keep_zeros=True)} to "
            f"{number(first.loss, keep_zeros=True)}. {_comment(lesson, first)}"
        ),
    )


def _matrix_update(lesson: Lesson) -> str:
    """Tell how the weights between two hidden layers are updated, if not like the others."""
    matrix, layers = lesson.trainer.optimizer.formula.matrix, lesson.trainer.plan.matrix_layers
    if matrix is None or not layers:
        return ""
    names = " and ".join(f"w[{layer + 1}]" for layer in layers)
    (step,) = assignments(matrix.step.update, "w_new")
    return blocks(
        paragraph(
            f"But {names}, between two hidden layers, moves as a whole. Of its derivatives g and "
            f"their mean m a direction is made:"
        ),
        "\n".join(f"  {line}" for line in assignments(matrix.direction.update, "direction")),
        paragraph(
            f"The direction is made orthogonal (all its singular values about 1; "
            f"{NEWTON_SCHULZ_STEPS} steps of Newton and Schulz), and then:"
        ),
        f"  {step}",
    )


def _comment(lesson: Lesson, first: Moment) -> str:
    if first.loss < lesson.found.loss:
        return "The step was a step down."
    if first.loss > lesson.found.loss:
        return "The loss grew: the step was too long. A smaller learning rate would help."
    return "Nothing moved."


def training_section(lesson: Lesson, section: int) -> str:
    """Tell the repetition of all that until the loss is small."""
    repetition, threshold = lesson.repetition, number(lesson.until_loss)
    moments, last = repetition.moments, repetition.moments[-1]
    n_outputs = len(last.outputs)
    shown = min(n_outputs, OUTPUTS_SHOWN)
    layer = len(lesson.network.shapes)
    header = ["updates", "loss L", *(f"a[{layer}][{k}]" for k in range(1, shown + 1))]
    header += ["..."] * (n_outputs > shown)
    rows = [
        [
            f"{moment.n_updates:,}",
            number(moment.loss, keep_zeros=True),
            *(number(output, keep_zeros=True) for output in moment.outputs[:shown]),
            *["..."] * (n_outputs > shown),
        ]
        for moment in moments
    ]
    updates = f"{last.n_updates:,} update{'s' if last.n_updates != 1 else ''}"
    if repetition.reached:
        ending = (
            f"After {updates} the loss is {number(last.loss)}, at most {threshold}: small enough."
        )
    elif repetition.ending == "interrupted":
        ending = f"Stopped by Ctrl-C after {updates}."
    elif repetition.ending == "iterations":
        ending = (
            f"After {updates}, the most that were allowed, the loss is still "
            f"{number(last.loss)}, above {threshold}. More updates, another learning rate or "
            f"another start may help; or the target is one that this output cannot reach."
        )
    else:
        ending = repetition.ending[0].upper() + repetition.ending[1:]
    return blocks(
        heading(f"{section}. And again"),
        paragraph(
            f"Forward, loss, backward, update: that is one iteration. It is repeated until the "
            f"loss is at most {threshold} (and {lesson.max_iterations:,} times at most):"
        ),
        table(header, rows, left=0),
        paragraph(ending),
    )


def prediction_section(lesson: Lesson, section: int) -> str:
    """Tell a prediction of the trained network, and how little it means after one sample."""
    trainer, x = lesson.trainer, lesson.sample.x
    other = -x if x.any() else np.ones_like(x)
    learned = "only learned to repeat its target"
    if not lesson.repetition.reached:
        learned = "not even learned that one"
    return blocks(
        heading(f"{section}. A prediction"),
        paragraph("A prediction is a forward pass and nothing else: no target, no derivatives."),
        f"  x = {vector(x[0])}   →   {_prediction(lesson, trainer.predict_proba(x)[0])}"
        f"\n      (the target was {vector(lesson.targets)}; before training the output was "
        f"{vector(lesson.found.a[-1][0])})",
        paragraph("For an input that it has never seen:"),
        f"  x = {vector(other[0])}   →   {_prediction(lesson, trainer.predict_proba(other)[0])}",
        paragraph(
            f"Do not trust the second one. This network has seen a single sample, and has "
            f"{learned}. What a network says about new inputs is worth "
            "something only after many different samples, and is measured on samples that were "
            "kept out of the training."
        ),
    )


def _prediction(lesson: Lesson, outputs: NDArray[Any]) -> str:
    """Return outputs (n_outputs,) and what they mean."""
    trainer, text = lesson.trainer, f"output {vector(outputs)}"
    if trainer.plan.targets_are_labels:
        best = int(outputs.argmax())
        return f"{text}: class {best}, the largest"
    if trainer.predicts_classes:
        if len(outputs) > 1:
            return f"{text}: {vector(np.where(outputs >= 0.5, 1.0, 0.0))}, rounded at 0.5"
        return f"{text}: " + ("1, for it is >= 0.5" if outputs[0] >= 0.5 else "0, for it is < 0.5")
    return text


def closing_section(section: int) -> str:
    """Tell what dense networks are not good at."""
    return blocks(
        heading(f"{section}. Where dense networks end"),
        paragraph(
            "In a dense layer every unit has a weight for every input. That is its strength on "
            "tables, and its drawback elsewhere. The number of parameters grows with fan_in times "
            "fan_out: a colour image of 200·200 pixels has 120,000 inputs, so every single unit "
            "of the first layer needs 120,000 weights, and so many weights learn noise by heart "
            "if samples are few. A dense network does not know that neighbouring pixels belong "
            "together, either: a cat that moves by three pixels is something entirely new to it. "
            "Convolutional networks (CNN) slide the same few weights over the whole image. And a "
            "dense network takes inputs of one fixed width, without order or memory. For "
            "sequences such as text, sound or time series there are recurrent networks (RNN), "
            "which carry a state from step to step, and the LSTM, which keeps it over long "
            "stretches. Both end, as a rule, in the dense layers that you have just seen."
        ),
    )
