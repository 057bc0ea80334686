"""`fit(class_weight=...)` is the sample weights that it stands for."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastmlp import Network, Trainer


def of_output(make_trainer: Any, make_problem: Any, output: str, **arguments: Any) -> Any:
    x, y = make_problem(30)
    y = np.where(np.arange(30) < 18, 0, y)  # class 0 is the most frequent
    if output == "softmax":
        return make_trainer(**arguments), x, y
    return make_trainer(sizes=(4, 5, 1), output=output, **arguments), x, (y > 0).astype(float)


KINDS = [("softmax", "auto"), ("sigmoid", "auto"), ("sigmoid", "focal"), ("identity", "hinge")]


@pytest.mark.parametrize(("output", "loss"), KINDS)
@pytest.mark.parametrize("own", [False, True])
def test_balanced(
    output: str, loss: str, own: bool, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    trainer, x, y = of_output(make_trainer, make_problem, output, loss=loss)
    weighed = of_output(make_trainer, make_problem, output, loss=loss)[0]
    sample_weight = np.random.default_rng(0).uniform(0.5, 2.0, 30) if own else None
    trainer.fit(x, y, epochs=2, class_weight="balanced", sample_weight=sample_weight)
    labels = y.astype(int)
    counts = np.bincount(labels)
    by_hand = (30 / (len(counts) * counts))[labels]
    by_hand = by_hand if sample_weight is None else by_hand * sample_weight
    weighed.fit(x, y, epochs=2, sample_weight=by_hand)
    assert state_of(trainer) == state_of(weighed)


def test_every_class_counts_the_same(make_trainer: Any, make_problem: Any) -> None:
    from fastmlp.data import check_targets, weigh_classes

    trainer, _, y = of_output(make_trainer, make_problem, "softmax")
    targets = check_targets(y, trainer.plan, 30)
    weights = weigh_classes("balanced", targets, trainer.plan, None)
    assert weights is not None
    assert [weights[y == k].sum() for k in range(3)] == pytest.approx([10.0] * 3)
    two = weigh_classes("balanced", np.minimum(targets, 1), trainer.plan, None)
    assert two is not None and two.sum() == pytest.approx(30.0)  # a class may be missing


@pytest.mark.parametrize(("output", "loss"), KINDS)
def test_a_dict(
    output: str, loss: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    trainer, x, y = of_output(make_trainer, make_problem, output, loss=loss)
    weighed = of_output(make_trainer, make_problem, output, loss=loss)[0]
    trainer.fit(x, y, class_weight={1: 3.5})
    weighed.fit(x, y, sample_weight=np.where(y == 1, 3.5, 1.0))
    assert state_of(trainer) == state_of(weighed)


@pytest.mark.parametrize(
    ("class_weight", "error", "text"),
    [
        ("even", TypeError, "class_weight must be None, 'balanced' or a dict .*; got 'even'"),
        ([1.0, 2.0, 3.0], TypeError, "class_weight must be"),
        ({3: 1.0}, ValueError, "a class of class_weight must be an integer from 0 to 2; got 3"),
        ({"a": 1.0}, TypeError, "a class of class_weight must be an integer"),
        ({1: -1.0}, ValueError, r"class_weight\[1\] must be"),
        ({0: 0.0, 1: 0.0, 2: 0.0}, ValueError, "class_weight must have a positive sum"),
    ],
)
def test_bad_weights(
    class_weight: Any,
    error: type[Exception],
    text: str,
    make_trainer: Any,
    make_problem: Any,
    state_of: Any,
) -> None:
    trainer = make_trainer()
    before = state_of(trainer)
    with pytest.raises(error, match=text):
        trainer.fit(*make_problem(), class_weight=class_weight)
    assert state_of(trainer) == before


def test_targets_that_are_no_classes(make_trainer: Any, make_problem: Any) -> None:
    x, _ = make_problem()
    single = make_trainer(sizes=(4, 1), output="sigmoid")
    with pytest.raises(ValueError, match=r"class_weight needs targets that are classes.*got 0\.5"):
        single.fit(x, np.full(20, 0.5), class_weight="balanced")
    grouped = Trainer(Network([4, 5], group_sizes=(3, 2)))
    with pytest.raises(ValueError, match=r"class_weight needs one class per row.* in 2 groups"):
        grouped.fit(x, np.ones((20, 2)), class_weight="balanced")
    for output in ("sigmoid", "identity"):
        several = make_trainer(output=output)
        with pytest.raises(ValueError, match=r"class_weight needs one class per row.*3 outputs"):
            several.fit(x, np.ones((20, 3)), class_weight="balanced")
