"""``fastmlp explain``: the options, what goes to standard output, and its encoding."""

from __future__ import annotations

import argparse
import io
import sys

import numpy as np
import pytest

from fastmlp.explain import add_arguments, explain, run, to_ascii
from fastmlp.explain.command import make_network
from fastmlp.explain.notes_example import notes_network


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert run(parse(*words)) == 0
    captured = capsys.readouterr()
    assert captured.err == ""
    return captured.out


def test_without_options_it_is_the_notes_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys) == explain()


def test_options_reach_the_text(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        *("--sizes", "3,4,3,2", "--activation", "tanh,relu", "--output", "sigmoid"),
        *("--loss", "squared_error", "--x", "0.1,0.2,0.3", "--y", "0,1"),
        *("--learning-rate", "0.05", "--optimizer", "momentum", "--seed", "4"),
        *("--until-loss", "0.2", "--max-iterations", "7", "--backend", "numpy"),
        *("--precision", "float32", "--max-parameters", "60"),
    ]
    text = " ".join(printed(capsys, *words).split())
    for part in (
        "The 3-4-3-2 network",
        "Layer 1 (hidden, tanh)",
        "Layer 2 (hidden, relu)",
        "Layer 3 (output, sigmoid)",
        "squared error",
        "x = (0.1, 0.2, 0.3)",
        "y = (0, 1)",
        "momentum, learning rate 0.05",
        "at most 0.2 (and 7 times at most)",
        "backend numpy, float32",
    ):
        assert part in text


def test_sizes_with_commas_or_spaces_or_both(capsys: pytest.CaptureFixture[str]) -> None:
    with_commas = printed(capsys, "--sizes", "3,4,2")
    assert printed(capsys, "--sizes", "3", "4", "2") == with_commas
    assert printed(capsys, "--sizes", "3,4", "2") == with_commas


def test_negative_numbers_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert "x = (-0.5, 1)" in printed(capsys, "--x=-0.5,1")


def test_the_output_suits_the_last_width(capsys: pytest.CaptureFixture[str]) -> None:
    assert "(output, sigmoid)" in printed(capsys, "--sizes", "2,1")
    assert "(output, softmax)" in printed(capsys, "--sizes", "2,3")


def test_drawn_weights_have_two_decimals_and_follow_the_seed() -> None:
    network = make_network("3,4,2", None, None, 5)
    np.testing.assert_array_equal(network.parameters, network.parameters.round(2))
    assert all(biases.any() for biases in network.biases)
    again, other = (make_network("3,4,2", None, None, seed) for seed in (5, 6))
    np.testing.assert_array_equal(network.parameters, again.parameters)
    assert not np.array_equal(network.parameters, other.parameters)


def test_without_sizes_the_weights_are_those_of_the_notes() -> None:
    network = make_network(None, "tanh", "identity", 0)
    assert network.layer_activations == ("tanh", "identity")
    np.testing.assert_array_equal(network.parameters, notes_network().parameters)


@pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1"])
def test_ascii_where_the_symbols_cannot_be_printed(
    monkeypatch: pytest.MonkeyPatch, encoding: str
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding=encoding, newline="\n"))
    run(parse())
    shown = raw.getvalue().decode("ascii")
    assert shown == to_ascii(explain())
    assert "dL/dw[2][1,1]" in shown
    assert shown.count("?") == explain().count("?")  # no symbol was lost


def test_symbols_where_they_can_be_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="utf-8", newline="\n"))
    run(parse())
    assert "∂L/∂w[2][1,1]" in raw.getvalue().decode("utf-8")


def test_ascii_if_the_encoding_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()  # its encoding is None
    monkeypatch.setattr(sys, "stdout", stream)
    run(parse())
    assert stream.getvalue().isascii()


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--sizes", "3,x"], "sizes must be whole numbers"),
        (["--sizes", "3"], "sizes must hold"),
        (["--sizes", "3,0"], "sizes must be whole numbers"),
        (["--sizes", ""], "sizes must be whole numbers"),
        (["--sizes", "100000000,100000000"], "too many"),
        (["--activation", "tanh,"], "--activation must be names with commas"),
        (["--activation", "tanhh"], "activation must be one of"),
        (["--activation", "tanh,relu"], "activation must be one name or one per hidden layer"),
        (["--output", "linear"], "output must be one of"),
        (["--loss", "hing"], "loss must be one of"),
        (["--x", "0.1;0.2"], "x must be numbers with commas"),
        (["--x", "0.1"], "x must be one sample of 2 numbers"),
        (["--x", "nan,1"], "x must hold finite"),
        (["--y", "yes"], "y must be numbers with commas"),
        (["--learning-rate", "-1"], "learning_rate must be"),
        (["--seed", "-1"], "seed must be"),
        (["--max-parameters", "5"], "9 parameters, too many"),
        (["--max-parameters", "0"], "max_parameters must be"),
        (["--optimizer", "lbfgs2"], "optimizer must be one of"),
        (["--backend", "gpu"], "backend must be one of"),
        (["--precision", "double"], "precision must be one of"),
    ],
    ids=" ".join,
)
def test_wrong_options_are_named(
    capsys: pytest.CaptureFixture[str], words: list[str], named: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=named):
        run(parse(*words))
    assert capsys.readouterr().out == ""
