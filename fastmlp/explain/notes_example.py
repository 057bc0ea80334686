"""The example of the lecture notes, and the slip in them."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from ..network import Network
from .finite_difference import FiniteDifference
from .layout import blocks, equation, heading, number, paragraph, table
from .lesson import Lesson, activation_slope

SIZES = (2, 2, 1)
ACTIVATION = OUTPUT = "sigmoid"
X = (0.5, 0.8)
Y = 1.0
LEARNING_RATE = 0.1

VISIBLE_STEP = 1e-3
"""The h of the finite differences that are written out: so large that the losses differ visibly."""

# The same quantities in the notes: hidden units 1 and 2, and 0 for the output.
NAMES = {
    "z[1][1]": "z1",
    "z[1][2]": "z2",
    "z[2][1]": "z0",
    "a[1][1]": "h1",
    "a[1][2]": "h2",
    "a[2][1]": "O",
    "w[2][1,1]": "w1",
    "w[2][2,1]": "w2",
    "b[2][1]": "b0",
}

# What the notes print, wrong from the second line on.
PRINTED_IN_NOTES = {
    "∂L/∂O": "-0.262",
    "∂L/∂z0": "-0.051",
    "∂L/∂w1": "-0.031",
    "∂L/∂w2": "-0.037",
    "new w1": "0.503",
    "new w2": "0.604",
}


def notes_network(activation: str | list[str] = ACTIVATION, output: str = OUTPUT) -> Network:
    """Return the 2-2-1 network with the weights of the notes."""
    network = Network(SIZES, activation, output, init="zeros", dtype="float64")
    network.weights[0][...] = [[0.2, 0.4], [0.3, 0.7]]  # (from x, to unit)
    network.biases[0][...] = [0.1, 0.2]
    network.weights[1][...] = [[0.5], [0.6]]
    network.biases[1][...] = [0.3]
    return network


def doubled_slip(lesson: Lesson) -> dict[str, float]:
    """Return what the notes print, recomputed: with f'(z0) multiplied in twice."""
    found = lesson.found
    dz = float(found.dz[-1][0, 0])
    slope = activation_slope(OUTPUT, float(found.z[-1][0, 0]), float(found.a[-1][0, 0]))
    h1, h2 = found.a[0][0].tolist()
    (w1,), (w2,) = lesson.network.weights[1].tolist()
    rate = lesson.trainer.optimizer.first_rate
    twice = dz * slope
    return {
        "∂L/∂O": dz,
        "∂L/∂z0": twice,
        "∂L/∂w1": twice * h1,
        "∂L/∂w2": twice * h2,
        "new w1": w1 - rate * twice * h1,
        "new w2": w2 - rate * twice * h2,
    }


def slip_section(lesson: Lesson, section: int) -> str:
    """Explain the slip: both ways side by side, and the measurement that settles it."""
    found, (w1, w2, b0) = lesson.found, _output_parameters(lesson)
    da_hidden, da_output = lesson.da
    assert da_output is not None and da_hidden is not None
    output, dz = float(found.a[-1][0, 0]), float(found.dz[-1][0, 0])
    slope = activation_slope(OUTPUT, float(found.z[-1][0, 0]), output)
    new = lesson.updated.parameters
    gradient, measured = lesson.gradient, lesson.measured
    b1, b2 = range(*lesson.network.slices[0][1].indices(lesson.network.n_parameters))
    lines: list[tuple[str, float, float | None]] = [
        ("∂L/∂O", da_output[0], None),
        ("∂L/∂z0", dz, measured[b0]),
        ("∂L/∂w1", gradient[w1], measured[w1]),
        ("∂L/∂w2", gradient[w2], measured[w2]),
        ("∂L/∂b0", gradient[b0], measured[b0]),
        ("∂L/∂H1", da_hidden[0], None),
        ("∂L/∂H2", da_hidden[1], None),
        ("∂L/∂z1", found.dz[0][0, 0], measured[b1]),
        ("∂L/∂z2", found.dz[0][0, 1], measured[b2]),
        ("new w1", new[w1], None),
        ("new w2", new[w2], None),
        ("new b0", new[b0], None),
    ]
    twice = doubled_slip(lesson)
    rows = [
        [
            name,
            PRINTED_IN_NOTES.get(name, ""),
            number(value),
            "" if finite is None else number(finite),
        ]
        for name, value, finite in lines
    ]
    o = number(output)
    return blocks(
        heading(f"{section}. A slip in the lecture notes"),
        paragraph(
            "If you follow this example in the lecture notes, some numbers there differ. The "
            "notes write O for the output a[2][1], z0 for z[2][1], and H1, H2 for the hidden "
            "activations. They begin the backward pass with ∂L/∂O = -0.262. But the target is 1, "
            "so L = -log(O), and step 1 gives"
        ),
        equation("∂L/∂O", "-1/O", f"-1/{o}", number(da_output[0])),
        paragraph("while the number in the notes is what step 2 gives:"),
        equation("∂L/∂z0", "∂L/∂O·O·(1 - O)", "O - y", f"{o} - 1", number(dz)),
        paragraph(
            f"So -0.262 already is the derivative by z0. O·(1 - O) = {number(slope)} is in it. "
            f"The notes then multiply by {number(slope)} a second time, "
            f"{number(dz)}·{number(slope)} = {twice['∂L/∂z0']:.3f}, and everything after it is "
            f"about five times too small. Side by side:"
        ),
        table(["", "the notes (slip)", "chain rule", "finite diff."], rows),
        paragraph(
            "(b0 is added to z0, so ∂L/∂b0 and ∂L/∂z0 are the same number, and measuring one "
            "measures the other. The same holds for z1, z2 and the hidden biases.)"
        ),
        paragraph(
            f"Who is right? Ask the network. Move a weight by h = {VISIBLE_STEP:g} to either side, "
            f"and see how the loss answers:"
        ),
        "\n".join(
            _measurement(lesson, name, index, PRINTED_IN_NOTES[f"∂L/∂{name}"])
            for name, index in (("w1", w1), ("w2", w2))
        ),
        paragraph(
            "The measurement knows nothing of the chain rule, and it agrees with it. The notes' "
            "way still goes downhill, for the signs are right, but in steps five times too small. "
            "To mend the notes, replace ∂L/∂O = -0.262 by ∂L/∂O = -1.354, or begin with "
            "∂L/∂z0 = O - y = -0.262 and do not multiply by O·(1 - O) again."
        ),
    )


def _output_parameters(lesson: Lesson) -> tuple[int, int, int]:
    """Return where w1, w2 and b0 lie in the flat vector."""
    weights, biases = lesson.network.slices[1]
    return weights.start, weights.start + 1, biases.start


def _measurement(lesson: Lesson, name: str, index: int, in_notes: str) -> str:
    """Return one finite difference with its two losses."""
    difference = FiniteDifference(
        lesson.network, lesson.sample.x, lesson.sample.y, lesson.loss_name
    )
    value = float(lesson.network.parameters[index])
    above, below = (difference.loss_at(index, value + s) for s in (VISIBLE_STEP, -VISIBLE_STEP))
    measured = difference.slope(index, VISIBLE_STEP)
    return (
        f"  {name}:  (L({name} + h) - L({name} - h)) / (2h) = ({above:.6f} - {below:.6f}) / "
        f"{2 * VISIBLE_STEP:g} = {measured:.3f}\n"
        f"       chain rule {number(lesson.gradient[index])}, the notes {in_notes}"
    )


def is_notes_sample(x: NDArray[Any], y: NDArray[Any]) -> bool:
    """Whether a sample is the one of the notes."""
    return x.ravel().tolist() == list(X) and y.ravel().tolist() == [Y]
