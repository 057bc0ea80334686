"""`make_plan`: losses that go with outputs, threads, checks."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fastmlp import SGD, Network, plan
from fastmlp.kernels.formulas import ACTIVATIONS, LOSSES
from fastmlp.plan import check_loss, make_plan, resolve_threads


def plan_of(**arguments: Any) -> Any:
    network = arguments.pop("network", None) or Network([4, 5, 3])
    return make_plan(network, **{"optimizer": SGD(), **arguments})


@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("softmax", "categorical_cross_entropy"),
        ("sigmoid", "binary_cross_entropy"),
        ("identity", "squared_error"),
        ("tanh", "squared_error"),
    ],
)
def test_auto_takes_the_loss_of_the_output(output: str, loss: str) -> None:
    assert check_loss("auto", output) == loss


def test_losses_that_do_not_go_with_the_output() -> None:
    for loss, output in [
        ("binary_cross_entropy", "softmax"),
        ("categorical_cross_entropy", "sigmoid"),
        ("binary_cross_entropy", "identity"),
    ]:
        with pytest.raises(ValueError, match=f"loss='{loss}' needs output=.*'{output}', which"):
            check_loss(loss, output)


def test_squared_error_goes_with_any_output_but_softmax() -> None:
    with pytest.raises(
        ValueError, match=r"loss='squared_error' needs any output but 'softmax'; .* is 'softmax'"
    ):
        check_loss("squared_error", "softmax")
    for output in ACTIVATIONS:
        assert check_loss("squared_error", output) == "squared_error"


def test_the_advice_names_losses_that_work() -> None:
    for output in ("softmax", "sigmoid", "identity", "tanh"):
        for loss in LOSSES:
            try:
                check_loss(loss, output)
            except ValueError as error:
                for advised in str(error).split("goes with: ")[1].split(", "):
                    assert check_loss(advised, output) == advised


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"network": "x"}, TypeError, "network must be a Network; got str"),
        ({"loss": "squared_eror"}, ValueError, "loss must be one of.*Did you mean 'squared_error'"),
        ({"loss": 3}, TypeError, "loss must be one of.*got int"),
        ({"precision": "float16"}, ValueError, "precision must be one of"),
        ({"precision": None}, TypeError, "precision must be one of"),
        ({"batch_size": 0}, ValueError, "batch_size must be an integer >= 1; got 0"),
        (
            {"batch_size": 2**63},
            ValueError,
            "batch_size must be an integer from 1 to 2,147,483,647",
        ),
        ({"batch_size": 2.5}, TypeError, "batch_size must be an integer"),
        ({"n_threads": 0}, ValueError, "n_threads must be an integer >= 1; got 0"),
        ({"n_threads": "2"}, TypeError, "n_threads must be an integer"),
    ],
)
def test_bad_input(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        plan_of(**arguments)


def test_layers_lie_one_after_the_other() -> None:
    plan = plan_of()
    slices = [part for layer in plan.layers for part in (layer.weights, layer.biases)]
    assert slices[0].start == 0 and slices[-1].stop == plan.n_parameters == 43
    assert all(a.stop == b.start for a, b in itertools.pairwise(slices))
    assert (plan.n_inputs, plan.n_outputs) == (4, 3)


def test_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "available_cpus", lambda: 3)
    assert resolve_threads(None) == 3
    assert [resolve_threads(n) for n in (1, 2, 3, 7)] == [1, 2, 3, 3]  # never more than the CPUs
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert resolve_threads(None) == 1
    assert resolve_threads(3) == 3  # what is asked for comes before the environment
    monkeypatch.setenv("OMP_NUM_THREADS", "2,4")  # nested levels: the first counts
    assert resolve_threads(None) == 2
    for without_effect in ("", "many", "0", "-3", "64"):
        monkeypatch.setenv("OMP_NUM_THREADS", without_effect)
        assert resolve_threads(None) == 3
    assert plan_of(n_threads=2).n_threads == 2
