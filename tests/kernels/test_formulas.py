"""The formulas against mpmath, the independent oracle: values, derivatives, limits, bits.

Errors are counted in ulp, units in the last place. Where a function goes through zero or a
derivative cancels, they are counted in the last place of max(|exact|, 1) instead: what reaches a
sum is then as good as the sum can hold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import mpmath
import numpy as np
import pytest

from fastmlp.kernels import formulas, python_backend
from fastmlp.kernels.numpy_backend import compile_formulas
from fastmlp.losses import NAMED_LOSSES

PRECISIONS = ("float32", "float64")
Exact = Callable[[Any], Any]

SELU_SCALE = mpmath.mpf("1.0507009873554804934193349852946")
SELU_ALPHA = mpmath.mpf("1.6732632423543772848170429916717")


def exact_softplus(z: Any) -> Any:
    return mpmath.log1p(mpmath.exp(z))


EXACT: dict[str, Exact] = {
    "identity": lambda z: z,
    "sigmoid": lambda z: 1 / (1 + mpmath.exp(-z)),
    "tanh": mpmath.tanh,
    "relu": lambda z: z if z > 0 else z * 0,
    "leaky_relu": lambda z: z if z > 0 else z / 100,
    "elu": lambda z: z if z > 0 else mpmath.expm1(z),
    "selu": lambda z: SELU_SCALE * (z if z > 0 else SELU_ALPHA * mpmath.expm1(z)),
    "gelu": lambda z: z * mpmath.erfc(-z / mpmath.sqrt(2)) / 2,
    "silu": lambda z: z / (1 + mpmath.exp(-z)),
    "softplus": exact_softplus,
    "mish": lambda z: z * mpmath.tanh(exact_softplus(z)),
    "exponential": mpmath.exp,
}

# Bounds found over the points of these tests, rounded up: ulp of the value (relative), and of the
# derivative (of max(|exact|, 1)).
BOUNDS = {
    "identity": (0.0, 0.0),
    "sigmoid": (2.0, 1.0),
    "tanh": (3.0, 3.0),
    "relu": (0.0, 0.0),
    "leaky_relu": (1.0, 0.5),
    "elu": (2.0, 1.0),
    "selu": (3.0, 2.0),
    "gelu": (20.0, 2.0),  # exp(-z^2 / 2): the rounding of z^2 / 2 counts z^2 / 2 times
    "silu": (3.0, 20.0),  # 1 - s loses digits for large z, and counts z times
    "softplus": (2.5, 1.0),
    "mish": (3.5, 20.0),
    "exponential": (1.0, 1.0),
}

# f(-inf), f(inf), f'(-inf), f'(inf).
LIMITS = {
    "identity": (-math.inf, math.inf, 1.0, 1.0),
    "sigmoid": (0.0, 1.0, 0.0, 0.0),
    "tanh": (-1.0, 1.0, 0.0, 0.0),
    "relu": (0.0, math.inf, 0.0, 1.0),
    "leaky_relu": (-math.inf, math.inf, 0.01, 1.0),
    "elu": (-1.0, math.inf, 0.0, 1.0),
    "selu": (-1.7580993408473766, math.inf, 0.0, 1.0507009873554805),
    "gelu": (0.0, math.inf, 0.0, 1.0),
    "silu": (0.0, math.inf, 0.0, 1.0),
    "softplus": (0.0, math.inf, 0.0, 1.0),
    "mish": (0.0, math.inf, 0.0, 1.0),
    "exponential": (0.0, math.inf, 0.0, math.inf),
}


def test_every_activation_has_an_oracle() -> None:
    assert set(EXACT) == set(BOUNDS) == set(LIMITS) == set(formulas.ACTIVATIONS)


@pytest.fixture(autouse=True)
def _fifty_digits() -> Any:
    with mpmath.workdps(50), np.errstate(all="ignore"):
        yield


def largest_error(got: np.ndarray, exact: Iterable[Any], at_least: float = 0.0) -> float:
    """Return the largest error in ulp of max(|exact|, at_least)."""
    real = got.dtype.type
    smallest = max(at_least, float(np.finfo(real).tiny))
    worst = 0.0
    for value, wanted in zip(got.tolist(), exact, strict=True):
        place = float(np.spacing(real(max(abs(float(wanted)), smallest))))
        worst = max(worst, float(abs(mpmath.mpf(value) - wanted)) / place)
    return worst


def points(precision: str, low: float, high: float, n: int = 150) -> np.ndarray:
    """Return points over the interval, and tiny ones of both signs."""
    random = np.random.default_rng(1)
    tiny = random.choice([-1.0, 1.0], n // 3) * np.exp(random.uniform(-40.0, 0.0, n // 3))
    values = np.concatenate([random.uniform(low, high, n), random.uniform(-1.0, 1.0, n), tiny])
    return values[(values >= low) & (values <= high)].astype(precision)


def exactly(function: Exact, at: np.ndarray) -> list[Any]:
    return [function(mpmath.mpf(value)) for value in at.tolist()]


def activation_and_derivative(name: str, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    compiled, row = compile_formulas(z.dtype.name), formulas.ACTIVATIONS[name]
    a = compiled[row.value.__name__](z)
    derivative = compiled[row.derivative.__name__](z if row.derivative_input == "z" else a)
    return a, np.broadcast_to(derivative, z.shape)


def test_exp_is_within_one_ulp_over_all_of_float32() -> None:
    x = np.linspace(-87.0, 88.0, 2_000_003).astype(np.float32)
    exact = np.exp(x.astype(np.float64))  # 2**29 times finer than float32
    errors = np.abs(compile_formulas("float32")["exp"](x) - exact)
    assert (errors / np.spacing(exact.astype(np.float32))).max() <= 1.0


ELEMENTARY: list[tuple[str, Exact, dict[str, tuple[float, float]], float]] = [
    ("exp", mpmath.exp, {"float32": (-87.0, 88.0), "float64": (-708.0, 709.0)}, 1.0),
    ("log", mpmath.log, {"float32": (1e-37, 1e4), "float64": (1e-300, 1e9)}, 2.0),
    ("expm1", mpmath.expm1, {"float32": (-87.0, 88.0), "float64": (-708.0, 709.0)}, 2.0),
    ("log1p_unit", mpmath.log1p, {"float32": (0.0, 1.0), "float64": (0.0, 1.0)}, 2.5),
    (
        "erfcx",
        lambda x: mpmath.exp(x * x) * mpmath.erfc(x),
        {"float32": (0.0, 10.0), "float64": (0.0, 28.0)},
        9.0,
    ),
]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize(("name", "exact", "range_", "bound"), ELEMENTARY)
def test_elementary_functions(
    name: str, exact: Exact, range_: dict[str, tuple[float, float]], bound: float, precision: str
) -> None:
    x = points(precision, *range_[precision], n=600)
    compiled = compile_formulas(precision)
    function = compiled.get(f"{name}_{precision}") or compiled[name]
    assert largest_error(function(x), exactly(exact, x)) <= bound


@pytest.mark.parametrize("precision", PRECISIONS)
def test_normal_cdf(precision: str) -> None:
    x = points(precision, -37.0, 9.0, n=600)
    exact = exactly(lambda v: mpmath.erfc(-v / mpmath.sqrt(2)) / 2, x)
    assert largest_error(compile_formulas(precision)["normal_cdf"](x), exact, at_least=1.0) <= 2.0


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", formulas.ACTIVATIONS)
def test_activation(name: str, precision: str) -> None:
    low = -6.0 if name == "gelu" else -80.0
    z = points(precision, low, 80.0)
    a, _ = activation_and_derivative(name, z)
    assert largest_error(a, exactly(EXACT[name], z)) <= BOUNDS[name][0]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", formulas.ACTIVATIONS)
def test_derivative(name: str, precision: str) -> None:
    z = points(precision, -80.0, 80.0, n=100)
    _, derivative = activation_and_derivative(name, z)
    exact = [mpmath.diff(EXACT[name], mpmath.mpf(value), h=1e-30) for value in z.tolist()]
    assert largest_error(derivative, exact, at_least=1.0) <= BOUNDS[name][1]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", formulas.ACTIVATIONS)
def test_limits_of_huge_values(name: str, precision: str) -> None:
    largest = np.finfo(precision).max
    for side, sign in enumerate((-1.0, 1.0)):
        z = np.array([sign * 1e5, sign * 1e30, sign * largest, sign * math.inf], precision)
        a, derivative = activation_and_derivative(name, z)
        for found, limit in ((a, LIMITS[name][side]), (derivative, LIMITS[name][2 + side])):
            if math.isfinite(limit):
                np.testing.assert_allclose(found, limit, rtol=1e-6, atol=1e-30)
            elif name == "exponential":
                assert (found > 1e38).all() and np.isfinite(found).all()  # exp saturates
            else:
                assert (found[:3] * limit > 0).all() and found[3] == limit


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", formulas.ACTIVATIONS)
def test_nan_stays_nan(name: str, precision: str) -> None:
    z = np.array([math.nan, 1.0], precision)
    a, derivative = activation_and_derivative(name, z)
    assert np.isnan(a).tolist() == [True, False]
    if formulas.ACTIVATIONS[name].derivative_input == "z":
        assert np.isnan(derivative).tolist() == [True, False]
    assert math.isnan(formulas.ACTIVATIONS[name].value(math.nan))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", formulas.ACTIVATIONS)
def test_zero_gives_no_negative_zero(name: str, precision: str) -> None:
    a, _ = activation_and_derivative(name, np.zeros(1, precision))
    assert not np.signbit(a[0])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_exp_saturates(precision: str) -> None:
    exp = compile_formulas(precision)["exp"]
    ends = exp(np.array([-math.inf, -1e30, 1e30, math.inf], precision))
    assert np.finfo(precision).tiny <= ends[0] == ends[1] < 1e-37
    assert 1e38 < ends[2] == ends[3] < np.inf
    assert np.isnan(exp(np.array([math.nan], precision))).all()


SPECIAL = [
    -math.inf,
    -1e300,
    -1e5,
    -90.0,
    -1.0,
    -1e-310,
    -0.0,
    0.0,
    1e-310,
    1.0,
    88.4,
    1e5,
    math.inf,
]


def bits(values: Any) -> list[int]:
    return np.asarray(values, np.float64).view(np.int64).tolist()


def all_values() -> np.ndarray:
    return np.concatenate([points("float64", -80.0, 80.0, n=300), SPECIAL])


@pytest.mark.parametrize("name", formulas.ACTIVATIONS)
def test_numpy_and_python_give_the_same_bits(name: str) -> None:
    row, z = formulas.ACTIVATIONS[name], all_values()
    a, derivative = activation_and_derivative(name, z)
    assert bits(a) == bits([row.value(v) for v in z.tolist()])
    source = z if row.derivative_input == "z" else a
    assert bits(derivative) == bits([float(row.derivative(v)) for v in source.tolist()])


def own_parameters(name: str) -> tuple[float, ...]:
    """Return what the loss takes after z and y, for one output of three."""
    return tuple(row[0] for row in NAMED_LOSSES[name].parameters(3))


@pytest.mark.parametrize("name", formulas.LOSSES)
def test_losses_give_the_same_bits_in_numpy_and_python(name: str) -> None:
    loss, z = formulas.LOSSES[name], points("float64", -80.0, 80.0)
    y, own = np.random.default_rng(2).uniform(size=z.shape), own_parameters(name)
    for formula in (loss.value, loss.slope):
        wanted = [formula(*pair, *own) for pair in zip(z.tolist(), y.tolist(), strict=True)]
        assert bits(compile_formulas("float64")[formula.__name__](z, y, *own)) == bits(wanted)


DECAYING = {"velocity", "m"}
"""States that are means of gradients."""


@pytest.mark.parametrize(
    "name", [name for name, each in formulas.OPTIMIZERS.items() if DECAYING & {*each.states}]
)
def test_means_of_no_gradient_come_to_zero(name: str) -> None:
    # What is below 2^-126 would stay there, and take many CPUs a hundred times as long.
    optimizer = formulas.OPTIMIZERS[name]
    hyperparameters = {
        "learning_rate": 0.1, "momentum": 0.9, "beta_1": 0.9, "beta_2": 0.99, "epsilon": 1e-8,
        "weight_decay": 0.0, "nesterov": True, "adam_learning_rate": 0.1,
    }  # fmt: skip
    given = [hyperparameters[each] for each in optimizer.hyperparameters]
    update = compile_formulas("float32")[optimizer.update.__name__]
    w, *states = (np.full(3, value, np.float32) for value in (1.0, *[1e-3] * len(optimizer.states)))
    for step in range(1, 7000):
        coefficients = optimizer.coefficients(float(step), *given)[: optimizer.n_coefficients]
        w, *states = update(w, np.zeros(3, np.float32), *states, *map(np.float32, coefficients))
        for state, values in zip(optimizer.states, states, strict=True):
            assert state not in DECAYING or ((values == 0.0) | (values >= 1e-30)).all()
    assert all((values == 0.0).all() for state, values in zip(optimizer.states, states, strict=True)
               if state in DECAYING)  # fmt: skip


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e-30, -1e-29])
def test_a_state_that_is_not_small_stays(value: float) -> None:
    assert np.array_equal(formulas.settled(value), value, equal_nan=True)


@pytest.mark.parametrize("name", formulas.STEPS)
def test_updates_give_the_same_bits_in_numpy_and_python(name: str) -> None:
    row = formulas.STEPS[name]
    columns = np.random.default_rng(3).uniform(0.1, 1.0, (2 + len(row.states), 50))
    coefficients = np.random.default_rng(4).uniform(0.1, 0.9, row.n_coefficients).tolist()
    found = compile_formulas("float64")[row.update.__name__](*columns, *coefficients)
    wanted = [row.update(*each, *coefficients) for each in columns.T.tolist()]
    assert bits(np.transpose(found)) == bits(wanted)


def exact_softmax(z: list[Any]) -> list[Any]:
    exponentials = [mpmath.exp(value) for value in z]
    return [value / sum(exponentials) for value in exponentials]


def exact_sigmoid(z: Any) -> Any:
    return 1 / (1 + mpmath.exp(-z))


def exact_pinball(z: Any, y: Any, tau: Any) -> Any:
    return max(tau * (y - z), (tau - 1) * (y - z))


def exact_huber(z: Any, y: Any, delta: Any) -> Any:
    distance = abs(z - y)
    return distance**2 / 2 if distance <= delta else delta * (distance - delta / 2)


def exact_focal(p: Any, y: Any, gamma: Any) -> Any:
    of_one = (1 - p) ** gamma * mpmath.log(p)
    return -y * of_one - (1 - y) * p**gamma * mpmath.log(1 - p)


def exact_smoothed_cross_entropy(p: Any, y: Any, keep: Any, rest: Any) -> Any:
    target = keep * y + rest
    return -target * mpmath.log(p) - (1 - target) * mpmath.log(1 - p)


# Of one output, from the textbooks: of z, or of the probability where the output has one.
EXACT_LOSSES: dict[str, Callable[..., Any]] = {
    "squared_error": lambda z, y: (z - y) ** 2 / 2,
    "absolute_error": lambda z, y: abs(z - y),
    "huber": exact_huber,
    "quantile": exact_pinball,
    "poisson": lambda z, y: y * mpmath.log(y / mpmath.exp(z)) - y + mpmath.exp(z),
    "gamma": lambda z, y: -mpmath.log(y / mpmath.exp(z)) + y / mpmath.exp(z) - 1,
    "hinge": lambda z, y: max(0, 1 - z * (2 * y - 1)),
    "binary_cross_entropy": lambda p, y: -y * mpmath.log(p) - (1 - y) * mpmath.log(1 - p),
    "smoothed_binary_cross_entropy": exact_smoothed_cross_entropy,
    "focal": exact_focal,
    "categorical_cross_entropy": lambda p, y: -y * mpmath.log(p),
    "categorical_focal": lambda p, y, gamma: -y * (1 - p) ** gamma * mpmath.log(p),
    "smoothed_cross_entropy": lambda p, y, keep, rest: -(keep * y + rest) * mpmath.log(p),
}


def exact_loss(name: str, z: list[Any], y: list[Any]) -> Any:
    output = formulas.LOSSES[name].output
    taken = exact_softmax(z) if output == "softmax" else z
    if output == "sigmoid":
        taken = [exact_sigmoid(z_k) for z_k in z]
    own = own_parameters(name)
    return sum(EXACT_LOSSES[name](*pair, *own) for pair in zip(taken, y, strict=True))


def test_every_loss_has_an_oracle_and_a_name() -> None:
    assert set(EXACT_LOSSES) == set(NAMED_LOSSES) == set(formulas.LOSSES)


@pytest.mark.parametrize("name", formulas.LOSSES)
def test_loss_and_the_way_back_through_its_output(name: str) -> None:
    random = np.random.default_rng(6)
    for _ in range(20):
        z = (random.normal(size=3) * 5.0).tolist()
        y = random.dirichlet(np.ones(3)).tolist()  # soft targets: the way back must be general
        own = NAMED_LOSSES[name].parameters(3)
        value, slope = python_backend.loss_and_slope(name, z, y, own)
        assert value == pytest.approx(float(exact_loss(name, z, y)), rel=1e-13, abs=1e-13)
        for k in range(3):

            def along(z_k: Any, k: int = k, z: list[Any] = z, y: list[Any] = y) -> Any:
                return exact_loss(name, [*z[:k], z_k, *z[k + 1 :]], y)

            exact = float(mpmath.diff(along, mpmath.mpf(z[k])))
            assert slope[k] == pytest.approx(exact, rel=1e-12, abs=1e-13)


@pytest.mark.parametrize("name", formulas.LOSSES)
def test_losses_of_huge_logits_are_finite(name: str) -> None:
    # The targets are on the other side, or as far as the loss lets them.
    low = 1e-3 if formulas.LOSSES[name].targets == "positive" else 0.0
    own = NAMED_LOSSES[name].parameters(2)
    for z, y in (([1e4, -1e4], [low, 1.0]), ([-1e4, 1e4], [1.0, low])):
        value, slope = python_backend.loss_and_slope(name, z, y, own)
        least = 0.5 if name == "quantile" else 0.9  # the median's slope; what smoothing leaves
        assert math.isfinite(value) and value >= least * 1e4
        assert all(map(math.isfinite, slope)) and max(map(abs, slope)) >= least


@pytest.mark.parametrize("name", formulas.LOSSES)
def test_losses_of_a_nan_are_nan(name: str) -> None:
    own = NAMED_LOSSES[name].parameters(2)
    value, _ = python_backend.loss_and_slope(name, [math.nan, 1.0], [1.0, 0.5], own)
    assert math.isnan(value)  # a diverged run must be seen


@pytest.mark.parametrize("name", ["poisson", "gamma", "hinge", "squared_error"])
def test_a_perfect_prediction_has_no_loss(name: str) -> None:
    z = {"hinge": 1.5, "squared_error": 1.0}.get(name, 0.0)
    assert python_backend.loss_and_slope(name, [z], [1.0]) == (0.0, [0.0])


def test_the_poisson_loss_of_no_events_is_the_rate() -> None:
    value, slope = python_backend.loss_and_slope("poisson", [0.3], [0.0])
    assert value == pytest.approx(math.exp(0.3)) and slope == [pytest.approx(math.exp(0.3))]


def test_losses_with_neutral_parameters_are_the_plain_ones() -> None:
    z, y, zeros, ones = [0.3, -1.2, 2.0], [0.2, 0.5, 0.3], [0.0] * 3, [1.0] * 3
    for name, own, plain in (
        ("focal", [zeros], "binary_cross_entropy"),
        ("categorical_focal", [zeros], "categorical_cross_entropy"),
        ("smoothed_cross_entropy", [ones, zeros], "categorical_cross_entropy"),
        ("smoothed_binary_cross_entropy", [ones, zeros], "binary_cross_entropy"),
        ("huber", [[1e9] * 3], "squared_error"),
    ):
        value, slope = python_backend.loss_and_slope(name, z, y, own)
        wanted, wanted_slope = python_backend.loss_and_slope(plain, z, y)
        assert value == pytest.approx(wanted, rel=1e-14), name
        assert slope == pytest.approx(wanted_slope, rel=1e-13), name


def test_softmax_rows_sum_to_one_and_are_shift_invariant() -> None:
    p, log_p = python_backend.softmax_and_log([1000.0, 1001.0, 999.0])
    q, _ = python_backend.softmax_and_log([0.0, 1.0, -1.0])
    assert p == q and sum(p) == pytest.approx(1.0, abs=1e-15)
    assert [math.exp(v) for v in log_p] == pytest.approx(p, rel=1e-14)


def test_optimizer_rows_describe_their_formulas() -> None:
    for name, row in formulas.OPTIMIZERS.items():
        hyperparameters = [0.1] * len(row.hyperparameters)
        assert len(row.coefficients(1, *hyperparameters)) == row.n_coefficients_in_all, name
        results = row.update(*[0.5] * (2 + len(row.states) + row.n_coefficients))
        assert len(results) == 1 + len(row.states), name


def test_a_matrix_has_steps_states_and_coefficients_of_its_own() -> None:
    for name, row in formulas.OPTIMIZERS.items():
        of_update, of_direction, of_step = row.coefficient_slices
        assert of_update == slice(0, row.n_coefficients), name
        if row.matrix is None:
            assert row.n_coefficients_in_all == row.n_coefficients, name
            continue
        for own, step in ((of_direction, row.matrix.direction), (of_step, row.matrix.step)):
            assert formulas.STEPS[step.update.__name__] == step, name
            assert own.stop - own.start == step.n_coefficients, name
            assert step.states == row.states[: len(step.states)], name
            results = step.update(*[0.5] * (2 + len(step.states) + step.n_coefficients))
            assert len(results) == 1 + len(step.states), name
        assert of_direction.start == of_update.stop and of_step.start == of_direction.stop, name


def test_newton_schulz_leads_singular_values_near_one() -> None:
    # What five steps make of singular values of 1% to all of the norm.
    first, *others = formulas.NEWTON_SCHULZ
    for start in np.geomspace(0.01, 1.0, 200).tolist():
        s = start
        for _ in range(formulas.NEWTON_SCHULZ_STEPS):
            s *= first + formulas.gram_polynomial(s**4, s**2, *others)[0]
        assert 0.65 < s < 1.25, start


def test_a_direction_is_stretched_where_the_layer_widens() -> None:
    assert formulas.stretched(9, 9) == formulas.stretched(9, 4) == 1.0
    assert formulas.stretched(4, 9) == 1.5
