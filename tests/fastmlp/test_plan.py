"""`make_plan`: the parameters of the loss, threads, checks."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from fastmlp import SGD, CategoricalCrossEntropy, Network, Quantile, plan
from fastmlp.plan import make_plan, resolve_threads


def plan_of(**arguments: Any) -> Any:
    network = arguments.pop("network", None) or Network([4, 5, 3])
    return make_plan(network, **{"optimizer": SGD(), **arguments})


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


def test_the_parameters_of_the_loss_are_laid_out_per_output() -> None:
    network = Network([4, 5, 4], output="identity")
    plan = plan_of(network=network, loss=Quantile(quantiles=(0.1, 0.9)))
    assert plan.loss_parameters == ((0.1, 0.9, 0.1, 0.9),) and plan.outputs_per_target == 2
    plan = plan_of(network=network, loss="squared_error")
    assert plan.loss_parameters == () and plan.outputs_per_target == 1


def test_each_softmax_has_parameters_of_its_own() -> None:
    network = Network([4, 5, 6], group_sizes=(4, 2))
    plan = plan_of(network=network, loss=CategoricalCrossEntropy(label_smoothing=0.2))
    assert plan.group_sizes == (4, 2) and plan.groups == (slice(0, 4), slice(4, 6))
    assert plan.loss_parameters == ((0.8,) * 6, (0.05,) * 4 + (0.1,) * 2)
    assert plan_of(network=Network([4, 5, 6])).groups == (slice(0, 6),)


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


def test_the_steps_of_a_normalised_layer() -> None:
    plain = plan_of()
    for normalization in ("batch", "layer"):
        plan = plan_of(network=Network([4, 5, 3], normalization=normalization))
        steps = [(step.operation, step.layer) for step in plan.forward]
        before = steps.index(("normalization", 0))
        assert steps[before - 1 : before + 2] == [
            ("weighted_sum", 0), ("normalization", 0), ("activation", 0),
        ]  # fmt: skip
        back = [step.operation for step in plan.backward if step.layer == 0]
        assert back == ["activation_slope", "normalization_slope", "weight_gradient"]
        last = plan.update[-1].operation
        assert last == ("running_statistics" if normalization == "batch" else "update")
        assert plan.n_statistics == (10 if normalization == "batch" else 0)
        assert plan.layers[0].parameters == slice(0, 30) and plan.n_parameters == 48
    assert not any("normal" in step.operation for step in (*plain.forward, *plain.backward))
    assert plain.n_statistics == 0
