"""The optimizers' settings, names and coefficients."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from fastmlp import (
    SGD,
    Adagrad,
    Adam,
    AdamW,
    Lion,
    Muon,
    Nadam,
    Network,
    RMSprop,
    StepDecay,
    Trainer,
)
from fastmlp.kernels import formulas
from fastmlp.optimizers import NAMED_OPTIMIZERS, check_optimizer


def test_every_formula_has_a_name() -> None:
    assert {each.formula_name for each in NAMED_OPTIMIZERS.values()} == set(formulas.OPTIMIZERS)
    for name, optimizer in NAMED_OPTIMIZERS.items():
        assert optimizer.formula_name == name == check_optimizer(name).formula_name


def test_sgd_chooses_its_formula() -> None:
    assert SGD().formula_name == "sgd"
    assert SGD(momentum=0.9).formula_name == "momentum"
    assert SGD(momentum=0.9, nesterov=True).formula_name == "nesterov"


@pytest.mark.parametrize("step", [1, 2, 1000])
def test_adams_bias_correction(step: int) -> None:
    optimizer = Adam(learning_rate=0.01, beta_1=0.8, beta_2=0.99, epsilon=1e-7)
    (row,) = optimizer.coefficients(step, 1)
    assert row[0] == pytest.approx(0.01 / (1 - 0.8**step), rel=1e-15)
    assert row[1] == pytest.approx(1 / np.sqrt(1 - 0.99**step), rel=1e-15)
    assert row[2:].tolist() == [0.8, 1 - 0.8, 0.99, 1 - 0.99, 1e-7]


@pytest.mark.parametrize("name", NAMED_OPTIMIZERS)
def test_a_table_of_steps_is_the_steps_one_by_one(name: str) -> None:
    optimizer = NAMED_OPTIMIZERS[name]
    table = optimizer.coefficients(5, 4)
    one_by_one = [optimizer.coefficients(step, 1)[0] for step in range(5, 9)]
    assert table.shape == (4, optimizer.formula.n_coefficients_in_all) and table.dtype == np.float64
    assert np.array_equal(table, one_by_one)


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: SGD(-0.1), ValueError, r"learning_rate must be a finite number in \[0.*got -0.1"),
        (lambda: SGD(float("nan")), ValueError, "learning_rate"),
        (lambda: SGD("0.1"), TypeError, "learning_rate must be.*got str"),
        (lambda: SGD(10**400), ValueError, "learning_rate must be a finite number"),
        (lambda: SGD(0.1, 1.1), ValueError, r"momentum must be .* in \[0, 1\]; got 1.1"),
        (lambda: SGD(nesterov=True), ValueError, "nesterov=True needs momentum > 0"),
        (lambda: SGD(momentum=0.5, nesterov="yes"), TypeError, "nesterov must be True or False"),
        (lambda: Adam(beta_1=1.0), ValueError, r"beta_1 must be .* in \[0, 1\); got"),
        (lambda: Adam(beta_2=-0.1), ValueError, r"beta_2 must be .* in \[0, 1\); got"),
        (lambda: Adam(epsilon=0.0), ValueError, r"epsilon must be .* in \[1e-30, 1\]; got"),
        (lambda: AdamW(weight_decay=-1.0), ValueError, "weight_decay must be"),
        (lambda: RMSprop(rho=2.0), ValueError, r"rho must be .* in \[0, 1\); got"),
        (lambda: Adagrad(epsilon=-1.0), ValueError, "epsilon must be"),
        (lambda: Nadam(beta_2=1.0), ValueError, r"beta_2 must be .* in \[0, 1\); got"),
        (lambda: Lion(weight_decay=-1.0), ValueError, "weight_decay must be"),
        (lambda: Muon(momentum=1.0), ValueError, r"momentum must be .* in \[0, 1\); got 1.0"),
        (lambda: Muon(nesterov=1), TypeError, "nesterov must be True or False; got 1"),
        (lambda: Muon(weight_decay=-1.0), ValueError, "weight_decay must be"),
        (lambda: Muon(adam_learning_rate=-1.0), ValueError, "adam_learning_rate must be .*got -1"),
        (lambda: Muon(beta_1=1.0), ValueError, r"beta_1 must be .* in \[0, 1\); got"),
        (lambda: check_optimizer("adm"), ValueError, "optimizer must be.*Did you mean 'adam'"),
        (lambda: check_optimizer("Adam"), ValueError, "got 'Adam'. Did you mean 'adam'"),
        (lambda: check_optimizer(3), TypeError, "optimizer must be one of.*got int"),
    ],
)
def test_bad_settings(make: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        make()


def test_settings_make_the_same_optimizer_again() -> None:
    for optimizer in (SGD(0.2, 0.5, True), AdamW(0.1, weight_decay=0.3), Muon(nesterov=False)):
        assert type(optimizer)(**optimizer.settings()) == optimizer
    with pytest.raises(dataclasses.FrozenInstanceError):
        SGD().learning_rate = 1.0  # type: ignore[misc]


@pytest.mark.parametrize("optimizer", [AdamW(0.1, weight_decay=0.5), Lion(0.1, weight_decay=0.5)])
def test_weight_decay_shrinks_without_a_gradient(optimizer: Any) -> None:
    trainer = Trainer(Network([2, 2], seed=0), optimizer=optimizer, batch_size=4, seed=0)
    before = trainer.network.weights[0].copy()
    trainer.fit(np.zeros((4, 2)), [0, 1, 0, 1])  # zero inputs: no gradient of the weights
    np.testing.assert_allclose(trainer.network.weights[0], before * 0.95, rtol=1e-6)


def test_muon_is_about_the_weights_between_hidden_layers() -> None:
    for sizes, wanted in (((2, 3, 4, 5, 2), (1, 2)), ((2, 3, 4, 2), (1,))):
        assert Trainer(Network(sizes), optimizer="muon").plan.matrix_layers == wanted
    assert Trainer(Network((2, 3, 4, 2)), optimizer="adamw").plan.matrix_layers == ()


@pytest.mark.parametrize("sizes", [(2, 2), (2, 5, 2)])
def test_muon_without_such_weights_is_adamw_and_says_so(sizes: Any) -> None:
    parameters = []
    for optimizer in (
        Muon(adam_learning_rate=0.01, weight_decay=0.1),
        AdamW(0.01, weight_decay=0.1),
    ):
        network = Network(sizes, seed=0)
        if isinstance(optimizer, Muon):
            with pytest.warns(UserWarning, match="Muon has a rule.*has none.*trained by AdamW"):
                trainer = Trainer(network, optimizer=optimizer, batch_size=2, seed=0)
        else:
            trainer = Trainer(network, optimizer=optimizer, batch_size=2, seed=0)
        trainer.fit(np.eye(2), [0, 1], epochs=3)
        parameters.append(network.parameters)
    assert np.array_equal(*parameters)


def test_muons_two_rates_are_schedules_of_their_own() -> None:
    optimizer = Muon(
        lambda epoch: 0.1 / (1 + epoch), adam_learning_rate=StepDecay(0.01, every=1.0, factor=0.5)
    )
    table = optimizer.coefficients(1, 3, np.array([0.0, 1.0, 2.0]))
    assert table[:, -1].tolist() == pytest.approx([0.1, 0.05, 0.1 / 3])
    bias = 1.0 - 0.9 ** np.arange(1, 4)
    assert (table[:, 1] * bias).tolist() == pytest.approx([0.01, 0.005, 0.0025])
