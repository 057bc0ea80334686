"""`Network`: counts, views, initial weights, descriptions, bad input."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastmlp import ACTIVATIONS, Network


@pytest.mark.parametrize(
    ("sizes", "count"), [([784, 128, 10], 101_770), ([3, 3, 2], 20), ([5, 2], 12)]
)
def test_counts(sizes: list[int], count: int) -> None:
    network = Network(sizes)
    assert network.n_parameters == count == network.parameters.size


def test_the_small_example_has_16_parameters() -> None:
    assert Network([3, 3, 1], activation="sigmoid", output="sigmoid").n_parameters == 16


@given(st.lists(st.integers(1, 12), min_size=2, max_size=5).filter(lambda s: s[-1] > 1))
def test_views_tile_the_flat_vector_and_write_through(sizes: list[int]) -> None:
    network = Network(sizes, dtype="float64")
    network.parameters[...] = np.arange(network.n_parameters)
    parts = []
    for w, b, shape in zip(network.weights, network.biases, network.shapes, strict=True):
        assert w.shape == shape and b.shape == shape[1:]
        parts += [w.ravel(), b]
    assert np.array_equal(np.concatenate(parts), network.parameters)
    network.weights[-1][0, 0] = -1.0
    network.biases[0][-1] = -2.0
    assert {-1.0, -2.0} <= set(network.parameters.tolist())
    for view in (*network.weights, *network.biases):
        assert np.shares_memory(view, network.parameters)


def test_seeds() -> None:
    first, second = Network([9, 8, 7], seed=1), Network([9, 8, 7], seed=1)
    assert first.parameters.tobytes() == second.parameters.tobytes()
    assert first.parameters.tobytes() != Network([9, 8, 7], seed=2).parameters.tobytes()
    assert Network([9, 8, 7]).parameters.tobytes() != Network([9, 8, 7]).parameters.tobytes()


def test_precisions_start_from_the_same_weights() -> None:
    single, double = Network([9, 7], seed=1), Network([9, 7], seed=1, dtype="float64")
    assert np.array_equal(single.parameters, double.parameters.astype(np.float32))


@pytest.mark.parametrize(
    ("activation", "variance"), [("relu", 2 / 400), ("tanh", 2 / 700), ("selu", 1 / 400)]
)
def test_auto_initialisation_suits_the_activation(activation: str, variance: float) -> None:
    network = Network([400, 300, 2], activation=activation, seed=0)
    weights = network.weights[0]
    assert weights.var() == pytest.approx(variance, rel=0.03)
    assert abs(weights.mean()) < 4 * math.sqrt(variance / weights.size)
    assert not network.biases[0].any()


def test_convert_changes_the_type_and_keeps_the_values() -> None:
    network = Network([4, 3], seed=0)
    before = network.parameters
    network.convert("float32")
    assert network.parameters is before
    network.convert("float64")
    assert network.dtype == "float64" and np.array_equal(network.parameters, before)


def test_summary_and_repr() -> None:
    network = Network([784, 128, 10])
    lines = network.summary().splitlines()
    assert lines[0].split() == ["layer", "fan_in", "fan_out", "activation", "parameters"]
    assert lines[2].split() == ["1", "hidden", "784", "128", "relu", "100,480"]
    assert lines[3].split() == ["2", "output", "128", "10", "softmax", "1,290"]
    assert lines[-1].split() == ["total", "101,770"]
    assert repr(network) == (
        "<Network 784-128-10, hidden relu, output softmax, 101,770 parameters, float32>"
    )
    assert "hidden none" in repr(Network([2, 2]))


def test_one_activation_per_hidden_layer() -> None:
    network = Network([2, 3, 4, 2], activation=["relu", "tanh"])
    assert network.layer_activations == ("relu", "tanh", "softmax")


BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"sizes": [3]}, ValueError, r"sizes must hold at least two layer widths.*got \[3\]"),
    ({"sizes": []}, ValueError, r"sizes must hold at least two"),
    ({"sizes": 3}, TypeError, "sizes must be a sequence.*got int"),
    ({"sizes": "34"}, TypeError, "sizes must be a sequence.*got str"),
    ({"sizes": [3, 0]}, ValueError, r"sizes\[1\] must be an integer >= 1; got 0"),
    ({"sizes": [3, -2]}, ValueError, r"sizes\[1\] .*got -2"),
    ({"sizes": [3, 2.0]}, TypeError, r"sizes\[1\] .*got float"),
    ({"sizes": [3, True]}, TypeError, r"sizes\[1\] .*got bool"),
    ({"sizes": [3, None]}, TypeError, r"sizes\[1\] .*got NoneType"),
    ({"sizes": [3, 1]}, ValueError, "output='softmax' needs at least 2 outputs.*sigmoid"),
    ({"activation": "rleu"}, ValueError, "activation must be one of.*Did you mean 'relu'"),
    ({"activation": "softmax"}, ValueError, "activation must be one of"),
    ({"activation": ["relu", "relu"]}, ValueError, r"one per hidden layer \(1\); got 2"),
    ({"activation": ["sigmod"]}, ValueError, r"activation\[0\].*Did you mean 'sigmoid'"),
    ({"activation": 3}, TypeError, "activation must be a name.*got int"),
    ({"output": "sofmax"}, ValueError, "output must be one of.*Did you mean 'softmax'"),
    ({"output": None}, TypeError, "output must be one of.*got NoneType"),
    ({"init": "hee"}, ValueError, "init must be one of.*Did you mean 'he'"),
    ({"seed": -1}, ValueError, "seed must be an integer >= 0; got -1"),
    ({"seed": 1.5}, TypeError, "seed must be an integer"),
    ({"dtype": "float16"}, ValueError, "dtype must be one of"),
    ({"dtype": np.float32}, TypeError, "dtype must be one of 'float32', 'float64'"),
    ({"input_scale": math.nan}, ValueError, "input_scale must be a finite number"),
    ({"input_scale": "1"}, TypeError, "input_scale must be a finite number"),
    ({"normalization": "bach"}, ValueError, "normalization.*'batch', 'layer'.*mean 'batch'"),
    ({"normalization": 1}, TypeError, "normalization, if not None, must be one of.*got int"),
    ({"normalization": False}, TypeError, "normalization, if not None, must be.*got bool"),
    ({"input_scale": [1.0, 2.0]}, ValueError, r"or 3 of them, one per input; got .* \(2,\)"),
    ({"input_scale": np.ones((3, 1))}, ValueError, r"input_scale must be .*shape \(3, 1\)"),
    ({"input_scale": [[1.0], 2.0, 3.0]}, TypeError, "input_scale must be a finite number, or 3"),
    ({"input_center": ["a", "b", "c"]}, TypeError, "input_center must be a finite number, or 3"),
    ({"input_center": [0, 1, math.inf]}, ValueError, r"input_center must be.*got inf at \[2\]"),
    ({"input_center": math.inf}, ValueError, "input_center must be a finite number"),
    ({"group_sizes": 2}, TypeError, "group_sizes must be a sequence.*got int"),
    ({"group_sizes": (2.0,)}, TypeError, r"group_sizes\[0\] must be an integer.*got float"),
    ({"group_sizes": (2, 0)}, ValueError, r"group_sizes\[1\] must be an integer >= 1; got 0"),
    ({"group_sizes": (2, 1)}, ValueError, r"add up to the network's 2 outputs; got \[2, 1\].*3"),
    ({"group_sizes": (1, 1), "output": "sigmoid"}, ValueError, "of a softmax.*output='sigmoid'"),
]


@pytest.mark.parametrize(("arguments", "error", "text"), BAD)
def test_bad_input(arguments: dict[str, Any], error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        Network(**{"sizes": [3, 4, 2], **arguments})


anything = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 10**30), st.floats(), st.text(max_size=5),
    st.binary(max_size=3), st.lists(st.one_of(st.integers(-2, 5), st.text(max_size=3)), max_size=3),
)  # fmt: skip


@given(
    st.sampled_from(
        [
            "sizes",
            "activation",
            "output",
            "init",
            "seed",
            "dtype",
            "input_scale",
            "input_center",
            "normalization",
            "group_sizes",
        ]
    ),
    anything,
)
def test_nothing_but_value_and_type_errors_that_name_the_argument(name: str, value: Any) -> None:
    try:
        network = Network(**{"sizes": [3, 4, 2], name: value})
    except (ValueError, TypeError) as error:
        assert name in str(error)
    else:
        assert np.isfinite(network.parameters).all()


def test_groups_of_outputs() -> None:
    network = Network([3, 4, 5], group_sizes=[3, 2])
    assert network.group_sizes == (3, 2)
    assert network.up_to(0).group_sizes == (4,)
    assert Network([3, 4, 5]).group_sizes == (5,)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_is_an_output(name: str) -> None:
    assert Network([3, 1], output=name).output == name


def test_assigning_parameters_copies_into_place() -> None:
    network = Network([3, 2], seed=0)
    before, view = network.parameters, network.weights[0]
    network.parameters = np.arange(8.0)
    assert network.parameters is before
    np.testing.assert_array_equal(view.ravel(), np.arange(6.0))


@pytest.mark.parametrize("values", [np.zeros(5), np.zeros((2, 4)), "abcdefgh", list("abcdefgh")])
def test_parameters_of_another_shape_or_kind_are_refused(values: object) -> None:
    network = Network([3, 2], seed=0)
    before = network.parameters.copy()
    with pytest.raises(ValueError, match=r"parameters must be 8 numbers in a flat array; got"):
        network.parameters = values
    np.testing.assert_array_equal(network.parameters, before)


def test_replacing_an_array_of_weights_is_an_error() -> None:
    with pytest.raises(TypeError):
        Network([3, 2]).weights[0] = np.zeros((3, 2))  # type: ignore[index]


@pytest.mark.parametrize(
    "name",
    [
        *("sizes", "activations", "output", "init", "input_scale", "input_center"),
        *("normalization", "statistics"),
    ],
)
def test_the_description_cannot_be_changed(name: str) -> None:
    with pytest.raises(AttributeError):
        setattr(Network([3, 2]), name, None)


def test_scaled_inputs() -> None:
    scale = np.array([2.0, 0.5])
    network = Network([2, 2], input_scale=scale, input_center=[1, -1])
    scale[0] = 99.0  # the network's own are its own
    assert network.input_scale.tolist() == [2.0, 0.5]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="read-only"):
        network.input_center[0] = 3.0  # type: ignore[index]
    found = network.scaled(np.array([[1, 2], [3, 4]], np.uint8))
    assert found.tolist() == [[0.0, 1.5], [4.0, 2.5]] and found.dtype == np.float32
    assert "<Network 2-2, inputs scaled," in repr(network)
    plain = Network([2, 2], input_scale=np.ones(2))
    assert not plain.scales_inputs and "scaled" not in repr(plain)


def test_a_network_too_large_for_memory_says_how_large() -> None:
    with pytest.raises(ValueError, match=r"parameters, .* GiB: more than this machine"):
        Network([2_000_000_000, 2_000_000_000])


# ---------------------------------------------------------------------------------------------
# Normalisation


def test_without_normalization_there_is_nothing_more() -> None:
    network = Network([4, 3, 2])
    assert network.normalization is None and network.layer_normalizations == (None, None)
    assert network.n_parameters == 5 * 3 + 4 * 2 and network.statistics.shape == (0,)
    assert all(each.shape == (0,) for each in (*network.gammas, *network.running_means))


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_a_normalised_layer_has_gammas_after_its_biases(normalization: str) -> None:
    network = Network([4, 3, 5, 2], normalization=normalization, seed=0)
    plain = Network([4, 3, 5, 2], seed=0)
    assert network.normalization == normalization
    assert network.layer_normalizations == (normalization, normalization, None)
    assert network.n_parameters == plain.n_parameters + 3 + 5
    parts = zip(network.weights, network.biases, network.gammas, strict=True)
    flat = np.concatenate([np.ravel(part) for layer in parts for part in layer])
    np.testing.assert_array_equal(flat, network.parameters)
    for mine, theirs in zip(network.weights, plain.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)  # the same seed draws the same weights
    assert [each.tolist() for each in network.gammas] == [[1.0] * 3, [1.0] * 5, []]
    network.gammas[1][...] = 7.0
    assert (network.parameters == 7.0).sum() == 5


def test_a_batch_normalisation_has_statistics() -> None:
    network = Network([4, 3, 5, 2], normalization="batch", dtype="float64")
    assert network.statistics.shape == (16,) and network.statistics.dtype == "float64"
    assert [each.tolist() for each in network.running_means] == [[0.0] * 3, [0.0] * 5, []]
    assert [each.tolist() for each in network.running_variances] == [[1.0] * 3, [1.0] * 5, []]
    network.running_variances[0][...] = 4.0
    assert network.statistics[3:6].tolist() == [4.0] * 3
    assert Network([4, 3, 2], normalization="layer").statistics.shape == (0,)
    network.convert("float32")
    assert network.statistics.dtype == "float32" and network.statistics[3] == 4.0


def test_what_was_learned_comes_back() -> None:
    network = Network([4, 3, 2], normalization="batch", seed=0)
    kept, parameters = network.learned, network.parameters
    assert kept.shape == (network.n_parameters + 6,) and not np.shares_memory(kept, parameters)
    network.parameters[...], network.statistics[...] = 1.0, 2.0
    network.learned = kept
    assert network.parameters is parameters
    np.testing.assert_array_equal(network.learned, kept)


def test_a_part_of_a_normalised_network_shares_its_memory() -> None:
    network = Network([4, 3, 5, 2], normalization="batch", seed=0)
    part = network.up_to(1)
    assert part.sizes == (4, 3, 5) and part.layer_normalizations == ("batch", "batch")
    assert part.n_parameters == network.n_parameters - 12
    for view, whole in zip(
        (part.parameters, part.statistics), (network.parameters, network.statistics), strict=True
    ):
        assert np.shares_memory(view, whole)
    assert network.up_to(0).statistics.shape == (6,)


def test_summary_and_repr_name_the_normalisation() -> None:
    network = Network([784, 128, 10], normalization="batch")
    lines = network.summary().splitlines()
    assert lines[2].split() == ["1", "hidden", "784", "128", "batch", "norm,", "relu", "100,608"]
    assert lines[3].split() == ["2", "output", "128", "10", "softmax", "1,290"]
    assert lines[5].split() == ["total", "101,898"]
    assert "gammas" in lines[6] and "256 running means and variances" in lines[7]
    assert "hidden relu with batch normalization, output softmax, 101,898" in repr(network)
    assert "running" not in Network([4, 3, 2], normalization="layer").summary()
