"""`explain` for other networks: every activation, output and loss; bad arguments; remarks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastmlp import ACTIVATIONS, LOSSES, SGD, Network
from fastmlp.errors import BackendUnavailableError
from fastmlp.explain import explain, lesson, to_ascii
from fastmlp.explain.document import check_readable
from fastmlp.explain.layout import WIDTH
from fastmlp.explain.textbook_losses import TEXTBOOK_LOSSES
from fastmlp.kernels.formulas import OPTIMIZERS
from fastmlp.losses import check_loss
from fastmlp.network import OUTPUTS


def pairs_of_output_and_loss() -> list[tuple[str, str]]:
    """Every pair that the library accepts."""
    pairs = []
    for output in OUTPUTS:
        for loss in LOSSES:
            try:
                check_loss(loss, output)
            except ValueError:
                continue
            pairs.append((output, loss))
    return pairs


def small(activation: Any = "tanh", output: str = "softmax", sizes: Any = (3, 4, 2)) -> Network:
    network = Network(sizes, activation, output, seed=1, dtype="float64")
    for biases in network.biases:
        biases[...] = np.linspace(0.3, -0.2, len(biases))
    return network


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(activation: str) -> None:
    text = explain(small(activation, "identity"), [0.3, -0.4, 0.8], max_iterations=3)
    assert f"Layer 1 (hidden, {activation})" in text
    assert "Verdict: all 26 derivatives agree" in text
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize(("output", "loss"), pairs_of_output_and_loss())
def test_every_output_and_loss(output: str, loss: str) -> None:
    text = explain(small("silu", output), [0.3, -0.4, 0.8], loss=loss, max_iterations=3)
    assert f"Layer 2 (output, {output})" in text
    assert "Verdict: all 26 derivatives agree" in text
    assert "nan" not in text
    assert max(map(len, text.splitlines())) <= WIDTH


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(optimizer: str) -> None:
    matrix = OPTIMIZERS[optimizer].matrix
    sizes = (3, 4, 2) if matrix is None else (3, 4, 3, 2)
    text = explain(small(sizes=sizes), optimizer=optimizer, max_iterations=3)
    assert ("But w[2], between two hidden layers, moves as a whole" in text) == (matrix is not None)
    assert "w_new = " in text
    for state in OPTIMIZERS[optimizer].states:
        assert f"  {state} = " in text  # its formula


def test_softmax_merges_the_two_steps() -> None:
    text = to_ascii(explain(small(), y=1))
    assert "Steps 1 and 2 merge into one" in " ".join(text.split())
    assert "y = (0, 1)" in text
    assert "A shortcut" not in text
    assert "class 1, the largest" in text


def test_dz_of_the_output_is_the_slope_of_the_loss_times_that_of_the_activation() -> None:
    for output, loss in pairs_of_output_and_loss():
        if output == "softmax":
            continue
        network = small("tanh", output)
        y = [0.0, 1.0] if LOSSES[loss].targets == "binary" else [0.25, 0.75]
        made = lesson.make_lesson(
            network,
            lesson.Sample(np.array([[0.3, -0.4, 0.8]]), np.array([y])),
            loss=loss,
            optimizer=SGD(0.1),
            backend="numpy",
            precision="float64",
            until_loss=0.01,
            max_iterations=1,
        )
        found = made.found
        slopes = [
            lesson.activation_slope(output, z, a)
            for z, a in zip(found.z[-1][0], found.a[-1][0], strict=True)
        ]
        assert made.da[-1] is not None
        np.testing.assert_allclose(made.da[-1] * slopes, found.dz[-1][0], rtol=1e-12, atol=1e-15)


def test_a_loss_without_a_textbook_form_is_still_told(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = explain(small("tanh", "sigmoid"), y=[1, 0], max_iterations=2)
    monkeypatch.delitem(TEXTBOOK_LOSSES, "binary_cross_entropy")
    monkeypatch.delitem(TEXTBOOK_LOSSES, "categorical_cross_entropy")
    text = explain(small("tanh", "sigmoid"), y=[1, 0], max_iterations=2)
    assert "found backwards from step 2" in text
    # dz / f'(z) is the same number as the loss's own slope.
    for unit in (1, 2):
        name = f"∂L/∂a[2][{unit}] = "
        line, told = (
            next(line for line in each.splitlines() if name in line) for each in (expected, text)
        )
        assert told.split(" = ")[-1] == line.split(" = ")[-1]
    text = explain(small(), y=1, max_iterations=2)
    assert "Steps 1 and 2 in one" in text
    assert "Verdict: all 26 derivatives agree" in text


def test_the_network_is_not_changed() -> None:
    network = Network([2, 2, 1], "tanh", "sigmoid", seed=3)
    before = network.parameters.copy()
    explain(network, max_iterations=3)
    assert network.dtype == "float32"
    np.testing.assert_array_equal(network.parameters, before)


def test_the_same_seed_gives_the_same_text_and_another_one_another_sample() -> None:
    first = explain(small(), seed=1, max_iterations=2)
    assert explain(small(), seed=1, max_iterations=2) == first
    assert explain(small(), seed=2, max_iterations=2) != first


def test_input_scale_is_told_and_used() -> None:
    network = Network([2, 1], output="identity", input_scale=0.01, seed=0, dtype="float64")
    text = explain(network, [50, 20], 1, max_iterations=2)
    assert "x stands for (0.5, 0.2)" in text
    assert "Verdict: all 3 derivatives agree" in text


def test_a_center_and_a_scale_per_input_are_told_and_used() -> None:
    network = Network(
        [2, 1], output="identity", input_center=[10, 0], input_scale=[0.1, 2], seed=0,
        dtype="float64",
    )  # fmt: skip
    text = " ".join(explain(network, [15, 0.2], 1, max_iterations=2).split())
    assert "subtracts (10, 0) from its inputs and multiplies them by (0.1, 2)" in text
    assert "x stands for (0.5, 0.4)" in text
    assert "Verdict: all 3 derivatives agree" in text


def test_a_kink_is_named_as_the_cause() -> None:
    network = Network([2, 2, 1], "relu", "identity", seed=0, dtype="float64")  # biases of 0
    network.weights[1][...] = 1.0
    text = " ".join(explain(network, [0, 0], 1, max_iterations=2).split())
    assert "do NOT all agree" in text
    assert "z[1][1], z[1][2]: on the kink of the activation" in text


def test_a_dead_layer_is_called_dead() -> None:
    network = Network([2, 2, 1], "relu", "identity", seed=0, dtype="float64")
    network.biases[0][...] = -50.0
    text = " ".join(explain(network, [0.1, 0.2], 1, max_iterations=2).split())
    assert "the layer is called dead" in text


def test_a_saturated_output_has_no_long_way_round() -> None:
    network = Network([1, 1], output="sigmoid", dtype="float64", init="zeros")
    network.biases[0][...] = 50.0
    text = explain(network, [1], 0, max_iterations=2)
    assert "a is 0 or 1 to the last digit" in text
    assert "only the merged form has" in text
    assert "∂L/∂z[1][1] = a - y = 1 " in text


def test_a_diverging_run_says_what_to_try() -> None:
    network = Network([2, 1], output="identity", seed=0, dtype="float64")
    text = explain(network, [3.0, 4.0], 1, learning_rate=1e6)
    assert "a smaller learning rate" in " ".join(text.split())
    assert "The loss grew" in text


def test_a_loss_that_is_not_reached_is_told() -> None:
    text = " ".join(explain(y=0.5, max_iterations=5).split())
    assert "After 5 updates, the most that were allowed" in text


def test_a_single_allowed_update() -> None:
    text = explain(max_iterations=1)
    assert "After 1 update, the most" in " ".join(text.split())


def test_float32_and_another_backend() -> None:
    text = explain(small("tanh"), backend="numpy", precision="float32", max_iterations=3)
    assert "backend numpy, float32" in " ".join(text.split())
    assert "Verdict: all 26 derivatives agree" in text


def test_ctrl_c_ends_the_training_with_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    look = lesson._Repeater.look

    def interrupted(self: Any, trainer: Any) -> None:
        look(self, trainer)
        if trainer.n_steps == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(lesson._Repeater, "look", interrupted)
    assert "Stopped by Ctrl-C after 4 updates." in explain()


def test_closing_paragraph_names_what_to_use_instead() -> None:
    closing = explain(max_iterations=2)[-1200:]
    for word in ("CNN", "RNN", "LSTM"):
        assert word in closing


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ({"network": [2, 2, 1]}, TypeError, "network must"),
        ({"x": [0.1]}, ValueError, "x must be one sample of 2 numbers"),
        ({"x": [[0.1, 0.2], [0.3, 0.4]]}, ValueError, "x must be one sample"),
        ({"x": "ab"}, TypeError, "x must hold numbers"),
        ({"x": [0.1, float("nan")]}, ValueError, "x must hold finite"),
        ({"x": [[1, 2], [3]]}, TypeError, "x must hold numbers"),
        ({"y": [1, 0]}, ValueError, "y must hold 1 numbers"),
        ({"y": 2.0}, ValueError, r"y must lie in \[0, 1\]"),
        ({"y": None, "network": small(), "x": [1, 2]}, ValueError, "x must be one sample of 3"),
        ({"y": 2, "network": small()}, ValueError, "y must hold integers from 0 to 1"),
        ({"y": [0.2, 0.8], "network": small()}, ValueError, "one-hot"),
        ({"loss": "hing"}, ValueError, "loss must be one of"),
        ({"loss": "categorical_cross_entropy"}, ValueError, "needs output='softmax'"),
        ({"optimizer": "sgdd"}, ValueError, "optimizer must be one of"),
        ({"learning_rate": -1}, ValueError, "learning_rate"),
        ({"learning_rate": "fast"}, TypeError, "learning_rate"),
        ({"backend": "fortran"}, ValueError, "backend must be one of"),
        ({"precision": "float16"}, ValueError, "precision must be one of"),
        ({"seed": -1}, ValueError, "seed"),
        ({"seed": 0.5}, TypeError, "seed"),
        ({"until_loss": -0.1}, ValueError, "until_loss"),
        ({"max_iterations": 0}, ValueError, "max_iterations"),
        ({"max_parameters": 0}, ValueError, "max_parameters"),
        ({"max_parameters": 8}, ValueError, "has 9 parameters, too many"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_bad_arguments_are_named(
    arguments: dict[str, Any], error: type[Exception], named: str
) -> None:
    with pytest.raises(error, match=named) as caught:
        explain(**arguments)
    assert not isinstance(caught.value, BackendUnavailableError)


def test_large_networks_are_refused_unless_asked_for() -> None:
    network = Network([20, 12], output="identity", seed=0)
    with pytest.raises(ValueError, match=r"252 parameters.*max_parameters=200"):
        explain(network)
    text = explain(network, max_parameters=252, max_iterations=2)
    assert "all 252 derivatives agree" in text


def test_the_limit_itself_is_allowed() -> None:
    check_readable([2, 2, 1], 9)
    with pytest.raises(ValueError, match="2-2-1"):
        check_readable([2, 2, 1], 8)


def test_an_optimizer_object_keeps_its_learning_rate() -> None:
    assert "learning rate 0.25" in explain(optimizer=SGD(0.25), max_iterations=2)
    assert "learning rate 0.5" in explain(optimizer=SGD(0.25), learning_rate=0.5, max_iterations=2)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalised_networks_are_refused(normalization: str) -> None:
    network = Network([2, 2, 1], "sigmoid", "sigmoid", normalization=normalization)
    with pytest.raises(ValueError, match=f"without normalization; got.*{normalization}"):
        explain(network)


def test_several_softmax_groups_are_refused() -> None:
    with pytest.raises(ValueError, match=r"one softmax; got group_sizes=\[3, 2\]"):
        explain(Network([4, 5], group_sizes=(3, 2)))
