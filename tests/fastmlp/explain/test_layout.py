"""Numbers, equations and tables as text."""

from __future__ import annotations

import math

import pytest

from fastmlp.explain.layout import (
    WIDTH,
    equation,
    factor,
    number,
    paragraph,
    plus,
    table,
    tidy,
    to_ascii,
    vector,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (0.44, "0.44"),
        (0.7384644, "0.738"),
        (1.0380026, "1.038"),
        (-0.0311594, "-0.0312"),
        (0.09996, "0.1"),
        (0.00012345, "0.000123"),
        (0.000012345, "1.23e-05"),
        (1234.5678, "1234.568"),
        (123456.0, "1.23e+05"),
        (0.0, "0"),
        (-0.0, "0"),
        (2.0, "2"),
        (100.0, "100"),
        (math.inf, "inf"),
        (math.nan, "nan"),
    ],
)
def test_number(value: float, expected: str) -> None:
    assert number(value) == expected


def test_zeros_can_be_kept() -> None:
    assert number(0.29, keep_zeros=True) == "0.290"
    assert number(0.0500, keep_zeros=True) == "0.0500"


def test_signs() -> None:
    assert factor(-0.5) == "(-0.5)" and factor(0.5) == "0.5"
    assert plus("z", -0.25) == "z - 0.25" and plus("z", 0.25) == "z + 0.25"
    assert vector([1.0]) == "1" and vector([1.0, -2.5]) == "(1, -2.5)"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("(-0.5)·2", "-0.5·2"),
        ("2·(-0.5)", "2·(-0.5)"),
        ("exp((-0.5))", "exp(-0.5)"),
        ("exp(-(-0.5))", "exp(-(-0.5))"),
        ("0.5·(((-0.1) - 2)·((-0.1) - 2))", "0.5·((-0.1 - 2)·(-0.1 - 2))"),
        ("(-1e-05) + 1", "-1e-05 + 1"),
    ],
)
def test_tidy(text: str, expected: str) -> None:
    assert tidy(text) == expected


def test_equation_on_one_line_stacked_and_broken() -> None:
    assert equation("z", "a + b", "3", remark="why") == "  z = a + b = 3   (why)"
    assert equation("z", "a + b", "3", stacked=True) == "  z = a + b\n    = 3"
    long = equation("z", " + ".join(["1.234·5.678"] * 12), "84", stacked=True)
    assert max(map(len, long.splitlines())) <= WIDTH
    assert long.count("1.234·5.678") == 12


def test_table_columns() -> None:
    assert to_ascii(table(["", "n"], [["ab", "1"], ["c", "22"]])) == (
        "        n\n  -------\n  ab    1\n  c    22"
    )


def test_paragraph_keeps_vectors_together() -> None:
    text = paragraph("word " * 17 + "(0.123, 0.456)")
    assert "(0.123, 0.456)" in text and len(text.splitlines()) == 2


def test_to_ascii() -> None:
    assert to_ascii("∂L/∂w·x → Σ_j ≤ ─") == "dL/dw*x -> sum_j <= -"
    assert to_ascii("ö") == "?"
