"""The measurement that the gradients are held against."""

from __future__ import annotations

import numpy as np
import pytest

from fastmlp import Network
from fastmlp.explain.finite_difference import (
    TOLERANCES,
    FiniteDifference,
    has_kink_at_zero,
    relative_differences,
)


@pytest.fixture
def linear() -> Network:
    network = Network([2, 1], output="identity", dtype="float64", init="zeros")
    network.parameters[...] = [0.5, -0.25, 0.125]
    return network


def test_a_loss_known_by_hand(linear: Network) -> None:
    x, y = np.array([[2.0, -4.0]]), np.array([[1.0]])
    difference = FiniteDifference(linear, x, y, "squared_error")
    # z = 1 + 1 + 0.125, dL/dz = 1.125, dL/dw = x dL/dz
    assert difference.loss_at(2, 0.125) == pytest.approx(0.5 * 1.125**2)
    np.testing.assert_allclose(
        difference.all_slopes([x[0]]), [2 * 1.125, -4 * 1.125, 1.125], rtol=1e-9
    )


def test_parameters_are_put_back_and_the_network_is_left_alone(linear: Network) -> None:
    before = linear.parameters.copy()
    difference = FiniteDifference(linear, np.ones((1, 2)), np.ones((1, 1)), "squared_error")
    difference.all_slopes([np.ones(2)])
    np.testing.assert_array_equal(difference.network.parameters, before)
    np.testing.assert_array_equal(linear.parameters, before)


def test_large_inputs_are_measured_as_well(linear: Network) -> None:
    network = Network([2, 1], output="sigmoid", dtype="float64", init="zeros")
    network.parameters[...] = [1e-3, -1e-3, 0.1]
    x = np.array([[3000.0, 2500.0]])
    measured = FiniteDifference(network, x, np.array([[1.0]]), "binary_cross_entropy").all_slopes(
        [x[0]]
    )
    dz = 1 / (1 + np.exp(-0.6)) - 1
    np.testing.assert_allclose(measured, [3000 * dz, 2500 * dz, dz], rtol=1e-7)


def test_a_wrong_gradient_is_seen() -> None:
    right = np.array([0.5, -0.25, 0.0, 1e-6])
    assert relative_differences(right, right).max() == 0.0
    for wrong in ([0.5001, -0.25, 0.0, 1e-6], [0.5, 0.25, 0.0, 1e-6], [0.5, -0.25, 1e-4, 1e-6]):
        assert relative_differences(np.array(wrong), right).max() > TOLERANCES["float64"]


def test_rounding_noise_in_a_zero_is_not_a_difference() -> None:
    found = relative_differences(np.array([0.5, 0.0]), np.array([0.5, 1e-11]))
    assert found.max() < TOLERANCES["float64"]


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("relu", True),
        ("leaky_relu", True),
        ("selu", True),
        ("elu", False),
        ("tanh", False),
        ("gelu", False),
        ("identity", False),
        ("softmax", False),
    ],
)
def test_kinks(activation: str, expected: bool) -> None:
    assert has_kink_at_zero(activation) is expected
