"""The lecture notes' example: every number at the precision of the notes, and the slip in them."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from fastmlp.explain import explain, to_ascii
from fastmlp.explain.finite_difference import FiniteDifference
from fastmlp.explain.lesson import Lesson, Sample, make_lesson
from fastmlp.explain.notes_example import (
    LEARNING_RATE,
    PRINTED_IN_NOTES,
    X,
    Y,
    doubled_slip,
    notes_network,
)
from fastmlp.optimizers import SGD


@pytest.fixture(scope="module")
def text() -> str:
    return to_ascii(explain())


@pytest.fixture(scope="module")
def lesson() -> Lesson:
    return make_lesson(
        notes_network(),
        Sample(np.array([X]), np.array([[Y]])),
        loss="auto",
        optimizer=SGD(LEARNING_RATE),
        backend="python",
        precision="float64",
        until_loss=0.01,
        max_iterations=1000,
    )


def test_forward_numbers(lesson: Lesson) -> None:
    z, a = lesson.found.z, lesson.found.a
    assert [round(float(v), 3) for v in z[0][0]] == [0.44, 0.96]
    assert [round(float(v), 3) for v in a[0][0]] == [0.608, 0.723]
    assert round(float(z[1][0, 0]), 3) == 1.038
    assert round(float(a[1][0, 0]), 3) == 0.738
    assert round(lesson.found.loss, 3) == 0.303
    assert lesson.found.loss == pytest.approx(-math.log(a[1][0, 0]), rel=1e-14)


def test_backward_numbers(lesson: Lesson) -> None:
    found, (da_hidden, da_output) = lesson.found, lesson.da
    assert da_hidden is not None and da_output is not None
    assert round(float(da_output[0]), 3) == -1.354
    assert round(float(found.dz[1][0, 0]), 3) == -0.262
    assert np.round(found.dw[1][:, 0], 3).tolist() == [-0.159, -0.189]
    assert np.round(found.db[1], 3).tolist() == [-0.262]
    assert np.round(da_hidden, 3).tolist() == [-0.131, -0.157]
    assert np.round(found.dz[0][0], 4).tolist() == [-0.0312, -0.0314]


def test_the_gradients_are_the_chain_rule_written_out_by_hand(lesson: Lesson) -> None:
    def s(z: float) -> float:
        return 1 / (1 + math.exp(-z))

    h1, h2 = s(0.44), s(0.96)
    o = s(0.5 * h1 + 0.6 * h2 + 0.3)
    d0 = o - 1
    d1, d2 = d0 * 0.5 * h1 * (1 - h1), d0 * 0.6 * h2 * (1 - h2)
    expected = [0.5 * d1, 0.5 * d2, 0.8 * d1, 0.8 * d2, d1, d2, d0 * h1, d0 * h2, d0]
    np.testing.assert_allclose(lesson.gradient, expected, rtol=1e-13)
    updated = notes_network().parameters - 0.1 * np.array(expected)
    np.testing.assert_allclose(lesson.updated.parameters, updated, rtol=1e-14)
    assert np.round(updated[6:], 3).tolist() == [0.516, 0.619, 0.326]


def test_the_slip_is_the_slope_multiplied_in_twice(lesson: Lesson) -> None:
    recomputed = {name: f"{value:.3f}" for name, value in doubled_slip(lesson).items()}
    assert recomputed == PRINTED_IN_NOTES
    assert PRINTED_IN_NOTES == {
        "∂L/∂O": "-0.262",
        "∂L/∂z0": "-0.051",
        "∂L/∂w1": "-0.031",
        "∂L/∂w2": "-0.037",
        "new w1": "0.503",
        "new w2": "0.604",
    }


def test_the_finite_difference_settles_it(lesson: Lesson) -> None:
    difference = FiniteDifference(
        lesson.network, lesson.sample.x, lesson.sample.y, lesson.loss_name
    )
    assert difference.slope(6) == pytest.approx(lesson.gradient[6], rel=1e-8)
    assert difference.slope(7) == pytest.approx(lesson.gradient[7], rel=1e-8)
    assert lesson.differences.max() < 1e-7
    slip = doubled_slip(lesson)
    assert abs(difference.slope(6) - slip["∂L/∂w1"]) > 0.1


@pytest.mark.parametrize(
    "line",
    [
        "= 0.5*0.2 + 0.8*0.3 + 0.1",
        "= 0.44   (z1 in the notes)",
        "a[1][1] = sigmoid(z[1][1]) = 1 / (1 + exp(-0.44)) = 0.608   (h1 in the notes)",
        "= 0.96   (z2 in the notes)",
        "a[1][2] = sigmoid(z[1][2]) = 1 / (1 + exp(-0.96)) = 0.723   (h2 in the notes)",
        "= 0.608*0.5 + 0.723*0.6 + 0.3",
        "= 1.038   (z0 in the notes)",
        "a[2][1] = sigmoid(z[2][1]) = 1 / (1 + exp(-1.038)) = 0.738   (O in the notes)",
        "L = -1*log(0.738) - (1 - 1)*log(1 - 0.738) = 0.303",
        "dL/da[2][1] = -1 / 0.738 + (1 - 1) / (1 - 0.738) = -1.354",
        "f'(z[2][1]) = 0.738*(1 - 0.738) = 0.193",
        "dL/dz[2][1] = -1.354*0.193 = -0.262",
        "dL/da[1][1] = 0.5*(-0.262) = -0.131",
        "dL/da[1][2] = 0.6*(-0.262) = -0.157",
        "dL/dz[1][1] = -0.131*0.238 = -0.0312",
        "dL/dz[1][2] = -0.157*0.2 = -0.0314",
        "2*2 + 2 = 6",
        "6 + 3 = 9 parameters",
        "Verdict: all 9 derivatives agree",
        "dL/dO = -1/O = -1/0.738 = -1.354",
        "-0.262*0.193 = -0.051",
        "chain rule -0.159, the notes -0.031",
        "chain rule -0.189, the notes -0.037",
    ],
)
def test_text_has_every_step(text: str, line: str) -> None:
    assert line in text


@pytest.mark.parametrize(
    ("name", "slip", "right"),
    [
        ("dL/dO", "-0.262", "-1.354"),
        ("dL/dz0", "-0.051", "-0.262"),
        ("dL/dw1", "-0.031", "-0.159"),
        ("dL/dw2", "-0.037", "-0.189"),
        ("new w1", "0.503", "0.516"),
        ("new w2", "0.604", "0.619"),
        ("dL/db0", "", "-0.262"),
        ("dL/dH1", "", "-0.131"),
        ("dL/dH2", "", "-0.157"),
        ("dL/dz1", "", "-0.0312"),
        ("dL/dz2", "", "-0.0314"),
        ("new b0", "", "0.326"),
    ],
)
def test_slip_and_right_value_stand_side_by_side(
    text: str, name: str, slip: str, right: str
) -> None:
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if "the notes (slip)" in line)
    header = lines[start]
    row = next(line for line in lines[start:] if line.startswith(f"  {name} "))
    assert row.split()[len(name.split()) :][: 2 if slip else 1] == [*filter(None, [slip]), right]
    column_end = header.index("the notes (slip)") + len("the notes (slip)")
    assert row[len(f"  {name}") : column_end].strip() == slip


def test_every_weight_and_bias_is_updated(text: str) -> None:
    expected = {
        "w[1][1,1]": "0.2 -0.0156 0.00156 0.202",
        "w[1][1,2]": "0.4 -0.0157 0.00157 0.402",
        "w[1][2,1]": "0.3 -0.0249 0.00249 0.302",
        "w[1][2,2]": "0.7 -0.0251 0.00251 0.703",
        "b[1][1]": "0.1 -0.0312 0.00312 0.103",
        "b[1][2]": "0.2 -0.0314 0.00314 0.203",
        "w[2][1,1]": "0.5 -0.159 0.0159 0.516",
        "w[2][2,1]": "0.6 -0.189 0.0189 0.619",
        "b[2][1]": "0.3 -0.262 0.0262 0.326",
    }
    update = text[text.index("5. The update") : text.index("6. A slip")]
    for name, numbers in expected.items():
        row = next(line for line in update.splitlines() if line.startswith(f"  {name} "))
        assert row.split()[1:5] == numbers.split()


def test_training_goes_on_until_the_loss_is_small(text: str, lesson: Lesson) -> None:
    moments = lesson.repetition.moments
    assert lesson.repetition.reached
    assert moments[0].n_updates == 0 and moments[1].n_updates == 1
    assert [m.loss for m in moments] == sorted((m.loss for m in moments), reverse=True)
    assert moments[-1].loss <= 0.01
    # Not one update too many: before the last one the loss was still above.
    before = make_lesson(
        notes_network(),
        lesson.sample,
        loss="auto",
        optimizer=SGD(LEARNING_RATE),
        backend="python",
        precision="float64",
        until_loss=0.01,
        max_iterations=moments[-1].n_updates - 1,
    )
    assert not before.repetition.reached
    assert before.repetition.moments[-1].loss > 0.01
    assert f"After {moments[-1].n_updates} updates the loss is" in text
    assert "until the loss is at\nmost 0.01" in text


@pytest.mark.parametrize(
    "changed",
    [
        {"x": [0.5, 0.7]},
        {"y": [0]},
        {"learning_rate": 0.2},
        {"optimizer": "adam"},
        {"loss": "squared_error"},
    ],
    ids=str,
)
def test_the_slip_is_only_told_for_the_example_itself(changed: dict[str, object]) -> None:
    told = explain(**changed, max_iterations=2)  # type: ignore[arg-type]
    assert "lecture notes" not in told
    assert re.search(r"^6\. And again$", told, re.MULTILINE)


def test_the_same_network_passed_by_hand_is_recognised() -> None:
    assert explain(notes_network(), list(X), Y, max_iterations=2) == explain(max_iterations=2)
