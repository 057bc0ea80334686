"""The losses that a user names: settings, outputs that they go with, targets, what is predicted."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

import fastmlp
from fastmlp import (
    AbsoluteError,
    BinaryCrossEntropy,
    CategoricalCrossEntropy,
    Focal,
    Gamma,
    Hinge,
    Huber,
    Poisson,
    Quantile,
    SquaredError,
)
from fastmlp.kernels.formulas import ACTIVATIONS, LOSSES
from fastmlp.losses import NAMED_LOSSES, check_loss
from fastmlp.network import OUTPUTS


def test_names_stand_for_their_formulas() -> None:
    for name, loss in NAMED_LOSSES.items():
        assert loss.formula_name(LOSSES[name].output) == name
        assert check_loss(name, LOSSES[name].output) is loss
        assert len(loss.parameters(3)) == len(LOSSES[name].parameters)
        assert type(loss)(**loss.settings()) == loss


@pytest.mark.parametrize(
    ("output", "loss"),
    [
        ("softmax", "categorical_cross_entropy"),
        ("sigmoid", "binary_cross_entropy"),
        ("exponential", "poisson"),
        ("identity", "squared_error"),
        ("tanh", "squared_error"),
    ],
)
def test_auto_takes_the_loss_of_the_output(output: str, loss: str) -> None:
    assert check_loss("auto", output) == NAMED_LOSSES[loss]


@pytest.mark.parametrize(
    ("loss", "output", "text"),
    [
        ("binary_cross_entropy", "softmax", "needs output='sigmoid'"),
        ("categorical_cross_entropy", "sigmoid", "needs output='softmax'"),
        (Poisson(), "identity", "needs output='exponential'"),
        (Focal(), "identity", "needs output='sigmoid' or 'softmax'"),
        ("hinge", "sigmoid", "needs output='identity'"),
        ("squared_error", "softmax", "needs any output but 'softmax'"),
        (Huber(2.0), "softmax", "needs any output but 'softmax'"),
    ],
)
def test_losses_that_do_not_go_with_the_output(loss: Any, output: str, text: str) -> None:
    with pytest.raises(
        ValueError, match=f"^loss=.* {text}; the network's output is '{output}', wh"
    ):
        check_loss(loss, output)


@pytest.mark.parametrize("name", ["squared_error", "absolute_error", "huber", "quantile"])
def test_losses_of_values_go_with_any_output_but_softmax(name: str) -> None:
    for output in ACTIVATIONS:
        assert check_loss(name, output) is NAMED_LOSSES[name]


def test_the_advice_names_losses_that_work() -> None:
    for output in OUTPUTS:
        for loss in LOSSES:
            try:
                check_loss(loss, output)
            except ValueError as error:
                for advised in str(error).split("goes with: ")[1].split(", "):
                    check_loss(advised, output)


def test_focal_takes_the_form_of_the_output() -> None:
    assert Focal().formula_name("sigmoid") == "focal"
    assert Focal().formula_name("softmax") == "categorical_focal"
    assert Focal(1.5).parameters(2) == ((1.5, 1.5),)


def test_smoothing_shares_out_a_part_of_the_target() -> None:
    assert CategoricalCrossEntropy().formula_name("softmax") == "categorical_cross_entropy"
    assert CategoricalCrossEntropy().parameters(4) == ()
    smoothed = CategoricalCrossEntropy(label_smoothing=0.2)
    assert smoothed.formula_name("softmax") == "smoothed_cross_entropy"
    assert smoothed.parameters(4) == ((0.8,) * 4, (0.05,) * 4)
    assert BinaryCrossEntropy().formula_name("sigmoid") == "binary_cross_entropy"
    of_two = BinaryCrossEntropy(label_smoothing=0.2)
    assert of_two.formula_name("sigmoid") == "smoothed_binary_cross_entropy"
    assert of_two.parameters(3) == ((0.8,) * 3, (0.1,) * 3)  # 0.1 and 0.9 for 0 and 1


def test_quantiles() -> None:
    assert Quantile(0.9).quantiles == (0.9,) == Quantile([0.9]).quantiles
    loss = Quantile(quantiles=(0.1, 0.45, 0.9))
    assert loss.outputs_per_target == 3
    assert loss.parameters(6) == ((0.1, 0.45, 0.9, 0.1, 0.45, 0.9),)
    assert list(range(6))[loss.scored_outputs] == [1, 4]  # the quantiles nearest to the median


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: Huber(0.0), ValueError, "delta must be a finite number"),
        (lambda: Huber("1"), TypeError, "delta must be .* got str"),
        (lambda: Focal(-1.0), ValueError, r"gamma must be .* in \[0, 100\]; got -1.0"),
        (lambda: Quantile(()), ValueError, "quantiles must hold at least one number"),
        (lambda: Quantile((0.1, 1.5)), ValueError, r"quantiles\[1\] must be .*; got 1.5"),
        (lambda: Quantile((0.0, 0.5)), ValueError, r"quantiles\[0\] must be .*\(0, 1\); got 0.0"),
        (lambda: Quantile(1.0), ValueError, r"quantiles must be .*\(0, 1\); got 1.0"),
        (lambda: BinaryCrossEntropy(1.0), ValueError, r"label_smoothing must be .*\[0, 1\)"),
        (lambda: Quantile("0.5"), TypeError, "quantiles must be .* got str"),
        (
            lambda: CategoricalCrossEntropy(1.0),
            ValueError,
            r"label_smoothing must be .* in \[0, 1\); got 1.0",
        ),
        (lambda: check_loss("pinball", "identity"), ValueError, "Did you mean 'quantile'"),
        (lambda: check_loss(Huber, "identity"), TypeError, "loss must be one of"),
    ],
)
def test_bad_settings(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_losses_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Huber().delta = 2.0  # type: ignore[misc]


def trainer_of(loss: Any, output: str, n_outputs: int = 1, **arguments: Any) -> fastmlp.Trainer:
    network = fastmlp.Network([1, n_outputs], output=output, seed=0, dtype="float64")
    settings = {"precision": "float64", "batch_size": 100, "seed": 0, **arguments}
    return fastmlp.Trainer(network, loss=loss, **settings)


def constant_fit(loss: Any, output: str, y: Any, n_outputs: int = 1) -> np.ndarray:
    """Return what a network without inputs learns to predict: the best constants."""
    trainer = trainer_of(loss, output, n_outputs, optimizer=fastmlp.Adam(0.02), batch_size=len(y))
    trainer.fit(np.zeros((len(y), 1)), y, epochs=4000)
    prediction: np.ndarray = trainer.predict_proba(np.zeros((1, 1)))[0]
    return prediction


def test_losses_find_the_statistics_that_they_are_for() -> None:
    random = np.random.default_rng(0)
    y = random.gamma(2.0, 1.0, 401)
    assert constant_fit(SquaredError(), "identity", y) == pytest.approx(y.mean(), rel=1e-3)
    assert constant_fit(AbsoluteError(), "identity", y) == pytest.approx(np.median(y), rel=0.02)
    assert constant_fit(Poisson(), "exponential", y) == pytest.approx(y.mean(), rel=1e-3)
    assert constant_fit(Gamma(), "exponential", y) == pytest.approx(y.mean(), rel=1e-3)
    found = constant_fit(Quantile((0.1, 0.5, 0.9)), "identity", y, n_outputs=3)
    assert found == pytest.approx(np.quantile(y, (0.1, 0.5, 0.9)), rel=0.05)
    outlier = np.append(y, 1e4)
    assert constant_fit(Huber(1.0), "identity", outlier)[0] < 3.0


def test_targets_of_several_quantiles() -> None:
    trainer = trainer_of(Quantile((0.1, 0.9)), "identity", n_outputs=4)
    x, y = np.ones((3, 1)), np.arange(6.0).reshape(3, 2)
    gradients = trainer.gradients(x, y)
    outputs = trainer.predict(x)
    assert outputs.shape == (3, 4)
    wanted = np.repeat(y, 2, axis=1)  # both quantiles of the first value, then of the second
    difference = wanted - outputs
    pinball = np.where(difference > 0, [0.1, 0.9, 0.1, 0.9], [-0.9, -0.1, -0.9, -0.1]) * difference
    assert gradients.loss == pytest.approx(pinball.sum(axis=1).mean(), rel=1e-14)
    with pytest.raises(
        ValueError, match=r"y must have the shape \(3, 2\), one value per 2 outputs"
    ):
        trainer.fit(x, np.ones((3, 4)))
    single = trainer_of(Quantile((0.1, 0.9)), "identity", n_outputs=2)
    single.fit(x, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"needs 2 outputs per target, one per quantile; .* has 3"):
        trainer_of(Quantile((0.1, 0.9)), "identity", n_outputs=3)


def test_r2_of_several_quantiles_is_the_medians() -> None:
    trainer = trainer_of(Quantile((0.01, 0.5, 0.99)), "identity", n_outputs=3)
    trainer.network.weights[0][...] = [[1.0, 2.0, 3.0]]
    x = np.arange(5.0)[:, None]
    assert trainer.evaluate(x, 2.0 * x).r2 == pytest.approx(1.0)
    assert trainer.score_name == "r2"


def test_hinge_separates_by_the_sign(backend_name: str) -> None:
    trainer = trainer_of(Hinge(), "identity", backend=backend_name, optimizer="adam")
    assert trainer.predicts_classes and trainer.score_name == "accuracy"
    trainer.network.weights[0][...] = 1.0
    x, y = np.array([[-2.0], [-0.1], [0.0], [0.3], [4.0]]), [0, 0, 1, 1, 0]
    assert trainer.predict(x).tolist() == [0, 0, 1, 1, 1]
    evaluation = trainer.evaluate(x, y)
    assert evaluation.accuracy == pytest.approx(0.8)
    assert evaluation.loss == pytest.approx((0.0 + 0.9 + 1.0 + 0.7 + 5.0) / 5)


@pytest.mark.parametrize(
    ("loss", "output", "bad", "text"),
    [
        (
            "binary_cross_entropy",
            "sigmoid",
            1.5,
            r"lie in \[0, 1\] for loss='binary_cross_entropy'",
        ),
        ("focal", "sigmoid", -0.5, r"lie in \[0, 1\] for loss='focal'; got -0.5"),
        ("hinge", "identity", -1.0, "be 0 or 1 for loss='hinge'; got -1"),
        ("hinge", "identity", 0.5, "be 0 or 1"),
        ("poisson", "exponential", -1.0, "be at least 0 for loss='poisson'; got -1"),
        ("gamma", "exponential", 0.0, "be above 0 for loss='gamma'; got 0"),
    ],
)
def test_targets_out_of_range(loss: str, output: str, bad: float, text: str) -> None:
    trainer = trainer_of(loss, output)
    with pytest.raises(ValueError, match=f"y must {text}"):
        trainer.fit(np.zeros((2, 1)), [1.0, bad])


def test_smoothing_keeps_the_network_from_being_too_sure(make_problem: Any) -> None:
    x, y = make_problem(60)
    surest = []
    for smoothing in (0.0, 0.1):
        network = fastmlp.Network([4, 16, 3], seed=0)
        loss = CategoricalCrossEntropy(label_smoothing=smoothing)
        trainer = fastmlp.Trainer(network, loss=loss, optimizer=fastmlp.Adam(0.01), seed=0)
        trainer.fit(x, y, epochs=300)
        assert trainer.evaluate(x, y).accuracy == 1.0
        surest.append(float(trainer.predict_proba(x).max(axis=1).mean()))
    assert surest[0] > 0.999 and surest[1] == pytest.approx(1.0 - 0.1 + 0.1 / 3, abs=0.02)


@pytest.mark.parametrize("name", NAMED_LOSSES)
def test_losses_are_saved_with_their_parameters(
    name: str, make_problem: Any, state_of: Any, tmp_path: Any
) -> None:
    others: dict[str, Any] = {
        "huber": Huber(0.3),
        "quantile": Quantile((0.1, 0.5, 0.9)),
        "focal": Focal(1.5),
        "categorical_focal": Focal(1.5),
        "smoothed_cross_entropy": CategoricalCrossEntropy(0.25),
        "smoothed_binary_cross_entropy": BinaryCrossEntropy(0.25),
    }
    row, loss = LOSSES[name], others.get(name, NAMED_LOSSES[name])
    network = fastmlp.Network([4, 5, 3], output=row.output, seed=0)
    trainer = fastmlp.Trainer(network, loss=loss, optimizer="adam", seed=0, backend="numpy")
    x, y = make_problem(20)
    if row.output != "softmax":
        y = np.eye(3)[y] + (row.targets == "positive")
    if name == "quantile":
        y = y[:, 0]
    trainer.fit(x, y)
    fastmlp.save(trainer, tmp_path / "trainer")
    loaded = fastmlp.load(tmp_path / "trainer", backend="numpy")
    assert loaded.loss == loss and loaded.plan.loss_parameters == trainer.plan.loss_parameters
    for each in (trainer, loaded):
        each.fit(x, y)
    assert state_of(loaded) == state_of(trainer)
