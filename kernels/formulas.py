"""Every scalar formula of fastmlp, with its derivative: the one definition.

A formula is a function of numbers, written in a small subset of Python: assignment (also of a
tuple), ``+ - * /``, comparison, the conditional expression, calls to other formulas, ``return``.
Python runs it as it stands (in float64); the NumPy backend runs it over arrays; Numba compiles it;
`emit_c` writes it out as C. `subset` refuses what is outside the subset. So an activation, a loss
or an optimizer is added here, and only here: write its functions and add a row to its table
(`ACTIVATIONS`, `LOSSES`, `OPTIMIZERS`).

Rules that keep the bits the same in every backend:

- A function whose name ends in ``_float32`` or ``_float64`` is one variant; callers name it without
  the ending and each precision gets its own.
- Three primitives are supplied by each backend: `sqrt` (correctly rounded everywhere),
  `power_of_two` and `exponent`. Nothing else of libm is called: its last bits differ between
  systems.
- ``b if a < b else a`` keeps a NaN in ``a``; ``a if a > b else b`` would lose it.
- A NaN must not reach `power_of_two`: it converts to an integer.

This file imports only the standard library and nothing of fastmlp: the build runs it by itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

Formula = Callable[..., float]
TupleFormula = Callable[..., tuple[float, ...]]

# ---------------------------------------------------------------------------------------------
# Primitives: what a backend supplies.


def sqrt(x: float) -> float:
    """Return the correctly rounded square root."""
    return math.sqrt(x)


def power_of_two(n: float) -> float:
    """Return 2 to the power `n`; `n` is integral and the result is a normal number."""
    return math.ldexp(1.0, int(n))


def exponent(x: float) -> float:
    """Return the integer e with 2^e <= x < 2^(e + 1); `x` is a positive, normal number."""
    return float(math.frexp(x)[1] - 1)


PRIMITIVES = ("sqrt", "power_of_two", "exponent")


def random_bits(counter: Any) -> Any:
    """Return 32 bits that look random, 0 to 2**32 - 1, made of the lowest 32 bits of an integer.

    A bijection that mixes well (Wellons, "Prospecting for hash functions", 2018). Dropout draws
    with it: what is drawn depends on the place alone, not on who draws first. Integers are outside
    the subset: Python and NumPy (uint64) run this as it is, its C is a primitive of `emit_c`.
    """
    bits = counter & 0xFFFFFFFF
    bits = bits ^ (bits >> 16)
    bits = (bits * 0x7FEB352D) & 0xFFFFFFFF
    bits = bits ^ (bits >> 15)
    bits = (bits * 0x846CA68B) & 0xFFFFFFFF
    return bits ^ (bits >> 16)


def dropout_bits(key: Any, row: Any, unit: Any) -> Any:
    """Return the bits that decide over one unit of one row of a batch, whose key is `key`."""
    return random_bits(random_bits(key + row) + unit)


def dropout_threshold(rate: float) -> int:
    """Return what a unit's bits must reach for it to be kept: a share `rate` of them does not."""
    return min(int(rate * 4294967296.0), 0xFFFFFFFF)


# ---------------------------------------------------------------------------------------------
# Inputs.


def scaled_input(x: Any, center: Any, scale: Any) -> Any:
    """Return (x - center) * scale, an input as the first layer takes it.

    Computed in the wider of the data's type and the plan's, then converted to the plan's: what is
    large beside its own spread keeps its digits.
    """
    return (x - center) * scale


# ---------------------------------------------------------------------------------------------
# Elementary functions. All rest on exp(x) = 2**n * exp(r), |r| <= ln(2) / 2 (Cody and Waite, 1980);
# the polynomials are minimax (Remez), their errors below a quarter of the last place.


def exp_reduced_float32(x):
    """Return (n, expm1(r)) with x = n ln(2) + r, for `x` clamped to [-87.33, 88.37]."""
    x = -87.33 if x < -87.33 else x
    x = 88.37 if x > 88.37 else x
    # Adding and subtracting 1.5 * 2**23 rounds to an integer; the comparison turns NaN into 88.37.
    finite = x if x < 88.37 else 88.37
    n = (finite * 1.4426950408889634 + 12582912.0) - 12582912.0
    # ln(2) in two parts: n times the first part is exact.
    r = (x - n * 0.693359375) - n * -2.1219444005469057e-4
    q = 1.97892476564e-4
    q = q * r + 1.3945751982e-3
    q = q * r + 8.33350379785e-3
    q = q * r + 4.16662803345e-2
    q = q * r + 0.166666658198
    q = q * r + 0.500000007167
    return n, r + (r * r) * q


def exp_reduced_float64(x):
    """Return (n, expm1(r)) with x = n ln(2) + r, for `x` clamped to [-708.39, 709.43]."""
    x = -708.39 if x < -708.39 else x
    x = 709.43 if x > 709.43 else x
    finite = x if x < 709.43 else 709.43
    n = (finite * 1.4426950408889634 + 6755399441055744.0) - 6755399441055744.0
    r = (x - n * 0.6931471803691238) - n * 1.9082149292705877e-10
    q = 2.082561528232626578e-9
    q = q * r + 2.5113225812353864256e-8
    q = q * r + 2.7557592441844409207e-7
    q = q * r + 2.7557231483960295095e-6
    q = q * r + 2.4801586903775340546e-5
    q = q * r + 1.9841269899724615354e-4
    q = q * r + 1.3888888889134217699e-3
    q = q * r + 8.3333333333157048165e-3
    q = q * r + 4.1666666666666035094e-2
    q = q * r + 0.16666666666666685144
    q = q * r + 0.50000000000000000494
    return n, r + (r * r) * q


exp_reduced = exp_reduced_float64


def exp(x):
    """Return e to the power `x`; saturates instead of overflowing or becoming subnormal."""
    n, p = exp_reduced(x)
    return power_of_two(n) * (1.0 + p)


def expm1(x):
    """Return exp(x) - 1 without the loss of digits near 0."""
    n, p = exp_reduced(x)
    scale = power_of_two(n)
    return scale * p + (scale - 1.0)


def log1p_unit_float32(u):
    """Return log(1 + u) for u in [-0.3, 1], as 2 atanh(u / (2 + u))."""
    s = u / (2.0 + u)
    t = s * s
    q = 0.12212426748054274832
    q = q * t + 0.10694988458903513074
    q = q * t + 0.14310520212726058693
    q = q * t + 0.1999933913341815558
    q = q * t + 0.33333339741542562765
    return 2.0 * (s + s * t * q)


def log1p_unit_float64(u):
    """Return log(1 + u) for u in [-0.3, 1], as 2 atanh(u / (2 + u))."""
    s = u / (2.0 + u)
    t = s * s
    q = 0.08256336376175296329
    q = q * t + 0.034827483731743301906
    q = q * t + 0.054902721241345018005
    q = q * t + 0.05857344706301663223
    q = q * t + 0.06668465480406411104
    q = q * t + 0.07692221921538447375
    q = q * t + 0.09090911772625818757
    q = q * t + 0.11111111058092214431
    q = q * t + 0.14285714286331708237
    q = q * t + 0.19999999999996289426
    q = q * t + 0.33333333333333342061
    return 2.0 * (s + s * t * q)


log1p_unit = log1p_unit_float64


def log(x):
    """Return the natural logarithm of a positive, normal `x` below 2^126."""
    e = exponent(x)
    m = x * power_of_two(-e)
    # x = m 2^e with m between sqrt(1/2) and sqrt(2): the logarithm of x near 1 keeps its digits.
    e = e + 1.0 if m > 1.4142135623730951 else e
    m = 0.5 * m if m > 1.4142135623730951 else m
    return e * 0.6931471805599453 + log1p_unit(m - 1.0)


def erfcx_float32(x):
    """Return exp(x * x) * erfc(x) for x in [0, 10]: a polynomial in t = 3 / (3 + x)."""
    t = 3.0 / (3.0 + x)
    q = 0.057040965319058069057
    q = q * t - 0.2993730934180353221
    q = q * t + 0.55283587779996258626
    q = q * t - 0.4642043544232252394
    q = q * t + 0.42289174183083958135
    q = q * t - 0.012482396618720656349
    q = q * t + 0.19586557893094374606
    q = q * t + 0.17060775726440736905
    q = q * t + 0.18878759171646692359
    q = q * t + 0.18803033321390776973
    return t * q


def erfcx_float64(x):
    """Return exp(x * x) * erfc(x) for x in [0, 28]: a polynomial in t = 4 / (4 + x)."""
    t = 4.0 / (4.0 + x)
    q = 0.00095258324722923934034
    q = q * t - 0.010144494728206104265
    q = q * t + 0.047517461230066449113
    q = q * t - 0.1264047645860876816
    q = q * t + 0.20290346310682573374
    q = q * t - 0.18021844210496830186
    q = q * t + 0.019228795586891649585
    q = q * t + 0.19716427264917396075
    q = q * t - 0.34275140816960061925
    q = q * t + 0.34458765730184437611
    q = q * t - 0.25156707675013550938
    q = q * t + 0.15037525123631483192
    q = q * t - 0.047199894967487346165
    q = q * t + 0.05187543000394048001
    q = q * t + 0.038258067600389276585
    q = q * t + 0.063984371711048608548
    q = q * t + 0.080795179110230470136
    q = q * t + 0.099074482330307728433
    q = q * t + 0.11501009563682345186
    q = q * t + 0.12782453149850678674
    q = q * t + 0.13663964667962222647
    q = q * t + 0.1410473964999654189
    q = q * t + 0.14104739587730487576
    return t * q


erfcx = erfcx_float64


def absolute(x):
    """Return |x|."""
    return -x if x < 0.0 else x


def normal_cdf(x):
    """Return the cumulative distribution of the standard normal: erfc(-x / sqrt(2)) / 2."""
    tail = 0.5 * exp(-0.5 * x * x) * erfcx(absolute(x) * 0.7071067811865476)
    return tail if x < 0.0 else 1.0 - tail


def bounded(x):
    """Return `x` within [-700, 700], where every activation has reached its limit.

    A huge ``z`` times a factor that should be 0 must give 0; but `exp` saturates at about 1e-38 in
    float32, so that 1e38 times it would not, and infinity times 0 is NaN.
    """
    x = -700.0 if x < -700.0 else x
    return 700.0 if x > 700.0 else x


def bounded_below(x):
    """Return `x`, but at least -700."""
    return -700.0 if x < -700.0 else x


# ---------------------------------------------------------------------------------------------
# Activations: a = f(z). A derivative is written in ``z`` or in ``a``, whichever is cheaper; the
# name of its argument says which one, and so which one an engine must keep for the way back.


def identity(z):
    """Return `z`."""
    return z


def identity_derivative(a):
    """Return 1."""
    return 1.0


def sigmoid(z):
    """Return 1 / (1 + exp(-z))."""
    return 1.0 / (1.0 + exp(-z))


def sigmoid_derivative(a):
    """Return a (1 - a)."""
    return a * (1.0 - a)


def tanh(z):
    """Return the hyperbolic tangent, through expm1(-2 |z|) so that small `z` keep their digits."""
    e = expm1(-2.0 * absolute(z))
    t = (0.0 - e) / (2.0 + e)  # 0 - e, not -e: tanh(0) is then 0 and not -0
    return -t if z < 0.0 else t


def tanh_derivative(a):
    """Return 1 - a^2."""
    return 1.0 - a * a


def relu(z):
    """Return max(0, z); NaN stays NaN."""
    return 0.0 if z < 0.0 else z


def relu_derivative(a):
    """Return 1 where a > 0, else 0."""
    return 1.0 if a > 0.0 else 0.0


def leaky_relu(z):
    """Return z where z > 0, else 0.01 z (Maas et al., 2013)."""
    return 0.01 * z if z < 0.0 else z


def leaky_relu_derivative(a):
    """Return 1 where a > 0, else 0.01."""
    return 1.0 if a > 0.0 else 0.01


def elu(z):
    """Return z where z > 0, else exp(z) - 1 (Clevert et al., 2015)."""
    return expm1(z) if z < 0.0 else z


def elu_derivative(a):
    """Return 1 where a >= 0, else exp(z) = a + 1."""
    return a + 1.0 if a < 0.0 else 1.0


def selu(z):
    """Return the self-normalising elu: 1.0507 z, or 1.0507 * 1.6733 expm1(z) (Klambauer, 2017)."""
    return 1.7580993408473766 * expm1(z) if z < 0.0 else 1.0507009873554805 * z


def selu_derivative(a):
    """Return 1.0507, or a + 1.0507 * 1.6733 where a < 0."""
    return a + 1.7580993408473766 if a < 0.0 else 1.0507009873554805


def gelu(z):
    """Return z times the normal distribution's cdf at z, exactly (Hendrycks and Gimpel, 2016)."""
    return bounded_below(z) * normal_cdf(z)


def gelu_derivative(z):
    """Return cdf(z) + z pdf(z)."""
    return normal_cdf(z) + bounded(z) * (0.3989422804014327 * exp(-0.5 * z * z))


def silu(z):
    """Return z sigmoid(z), also called swish."""
    return bounded_below(z) * sigmoid(z)


def silu_derivative(z):
    """Return s (1 + z (1 - s)) with s = sigmoid(z)."""
    s = sigmoid(z)
    return s * (1.0 + bounded(z) * (1.0 - s))


def softplus(z):
    """Return log(1 + exp(z)), stable for large |z|."""
    positive = 0.0 if z < 0.0 else z
    return positive + log1p_unit(exp(-absolute(z)))


def softplus_derivative(a):
    """Return sigmoid(z) = 1 - exp(-a)."""
    return -expm1(-a)


def tanh_of_softplus(z):
    """Return tanh(log(1 + exp(z))), in powers of exp(-|z|) so that nothing overflows."""
    e = exp(-absolute(z))
    # With E = exp(z): (E^2 + 2 E) / (E^2 + 2 E + 2); for z > 0 divided through by E^2.
    negative_side = (e * e + 2.0 * e) / (e * e + 2.0 * e + 2.0)
    positive_side = (1.0 + 2.0 * e) / (1.0 + 2.0 * e + 2.0 * (e * e))
    return negative_side if z < 0.0 else positive_side


def mish(z):
    """Return z tanh(softplus(z)) (Misra, 2019)."""
    return bounded_below(z) * tanh_of_softplus(z)


def mish_derivative(z):
    """Return t + z (1 - t^2) sigmoid(z) with t = tanh(softplus(z))."""
    t = tanh_of_softplus(z)
    return t + bounded(z) * ((1.0 - t * t) * sigmoid(z))


def exponential(z):
    """Return exp(z): a rate, of events or of growth."""
    return exp(z)


def exponential_derivative(a):
    """Return exp(z) = a."""
    return a


@dataclass(frozen=True)
class Activation:
    """An activation: its formula, its derivative, and the initialisation that suits it."""

    value: Formula
    derivative: Formula
    init: Literal["he", "glorot", "lecun"]

    @property
    def derivative_input(self) -> str:
        """``"z"`` or ``"a"``: what the derivative is written in."""
        return self.derivative.__code__.co_varnames[0]


ACTIVATIONS: dict[str, Activation] = {
    "identity": Activation(identity, identity_derivative, init="glorot"),
    "sigmoid": Activation(sigmoid, sigmoid_derivative, init="glorot"),
    "tanh": Activation(tanh, tanh_derivative, init="glorot"),
    "relu": Activation(relu, relu_derivative, init="he"),
    "leaky_relu": Activation(leaky_relu, leaky_relu_derivative, init="he"),
    "elu": Activation(elu, elu_derivative, init="he"),
    "selu": Activation(selu, selu_derivative, init="lecun"),
    "gelu": Activation(gelu, gelu_derivative, init="he"),
    "silu": Activation(silu, silu_derivative, init="he"),
    "softplus": Activation(softplus, softplus_derivative, init="he"),
    "mish": Activation(mish, mish_derivative, init="he"),
    "exponential": Activation(exponential, exponential_derivative, init="glorot"),
}

# ---------------------------------------------------------------------------------------------
# Losses, of one output and its target. `value` and `slope` (its derivative) take what `of` names:
#   "logits"       z itself: the output activation `output` is merged in, so that dz is stable;
#   "log_softmax"  log p of a row's softmax. The way back through the softmax is the same for every
#                  such loss and belongs to the backends: dz_k = slope_k - p_k * sum_j slope_j.
# What they take after (z, y) are the loss's parameters: a number each, which may differ from output
# to output. The loss of a row is the sum over its outputs; of a batch, the (weighted) mean over its
# rows.


def binary_cross_entropy(z, y):
    """Return -y log s - (1 - y) log(1 - s) with s = sigmoid(z), as softplus(z) - y z."""
    return softplus(z) - y * z


def binary_cross_entropy_slope(z, y):
    """Return dL/dz = sigmoid(z) - y."""
    return sigmoid(z) - y


def smoothed_binary_cross_entropy(z, y, keep, rest):
    """Return softplus(z) - (keep y + rest) z (Szegedy et al., 2016)."""
    return binary_cross_entropy(z, keep * y + rest)


def smoothed_binary_cross_entropy_slope(z, y, keep, rest):
    """Return dL/dz = sigmoid(z) - (keep y + rest)."""
    return binary_cross_entropy_slope(z, keep * y + rest)


def categorical_cross_entropy(log_p, y):
    """Return -y log p."""
    return -(y * log_p)


def categorical_cross_entropy_slope(log_p, y):
    """Return dL/d(log p) = -y."""
    return -y


def squared_error(z, y):
    """Return (z - y)^2 / 2; the half makes dL/dz = z - y."""
    return 0.5 * ((z - y) * (z - y))


def squared_error_slope(z, y):
    """Return dL/dz = z - y."""
    return z - y


def absolute_error(z, y):
    """Return |z - y|."""
    return absolute(z - y)


def absolute_error_slope(z, y):
    """Return the sign of z - y."""
    return sign(z - y)


def clamped(x, limit):
    """Return `x` within [-limit, limit]."""
    x = -limit if x < -limit else x
    return limit if x > limit else x


def huber(z, y, delta):
    """Return (z - y)^2 / 2 up to delta, and from there on a straight line (Huber, 1964)."""
    slope = clamped(z - y, delta)
    return slope * ((z - y) - 0.5 * slope)


def huber_slope(z, y, delta):
    """Return dL/dz = z - y, but at most delta either way."""
    return clamped(z - y, delta)


def quantile(z, y, tau):
    """Return tau (y - z) where z is too low, (1 - tau) (z - y) where it is too high."""
    return tau * (y - z) if z < y else (1.0 - tau) * (z - y)


def quantile_slope(z, y, tau):
    """Return dL/dz = -tau where z < y, else 1 - tau (Koenker and Bassett, 1978)."""
    return -tau if z < y else 1.0 - tau


def poisson(z, y):
    """Return y log(y / r) - y + r, half of Poisson's deviance for the rate r = exp(z)."""
    at_least = 1e-30 if y < 1e-30 else y  # y log y is 0 at y = 0
    return (exp(z) - y * z) + (y * log(at_least) - y)


def poisson_slope(z, y):
    """Return dL/dz = exp(z) - y."""
    return exp(z) - y


def gamma(z, y):
    """Return log(r / y) + y / r - 1, half of the gamma deviance for the mean r = exp(z)."""
    return (z - log(y)) + (y * exp(-z) - 1.0)


def gamma_slope(z, y):
    """Return dL/dz = 1 - y exp(-z)."""
    return 1.0 - y * exp(-z)


def hinge(z, y):
    """Return max(0, 1 - m) with the margin m = z for y = 1, m = -z for y = 0."""
    missing = 1.0 - (2.0 * y - 1.0) * z
    return 0.0 if missing < 0.0 else missing


def hinge_slope(z, y):
    """Return dL/dz = 1 - 2 y where the margin is below 1, else 0."""
    sign = 2.0 * y - 1.0
    return -sign if sign * z < 1.0 else 0.0


def sigmoid_and_logs(z):
    """Return s = sigmoid(z), 1 - s and the logarithms of both, over one exp."""
    e = exp(-absolute(z))
    larger = 1.0 / (1.0 + e)
    smaller = e * larger
    tail = log1p_unit(e)
    above = 0.0 if z < 0.0 else z
    s = smaller if z < 0.0 else larger
    rest = larger if z < 0.0 else smaller
    return s, rest, -(above - z) - tail, -above - tail


def focal(z, y, gamma):
    """Return cross-entropy times (1 - p)^gamma, p what the right answer has (Lin et al., 2017)."""
    _s, _rest, log_s, log_rest = sigmoid_and_logs(z)
    of_one = exp(gamma * log_rest) * log_s
    return -y * of_one - (1.0 - y) * (exp(gamma * log_s) * log_rest)


def focal_slope(z, y, gamma):
    """Return dL/dz, written for y = 1 and y = 0 and mixed by y."""
    s, rest, log_s, log_rest = sigmoid_and_logs(z)
    of_one = exp(gamma * log_rest) * (gamma * s * bounded_below(log_s) - rest)
    of_zero = exp(gamma * log_s) * (s - gamma * rest * bounded_below(log_rest))
    return y * of_one + (1.0 - y) * of_zero


def smoothed_cross_entropy(log_p, y, keep, rest):
    """Return -t log p with the target t = keep y + rest (Szegedy et al., 2016)."""
    return -((keep * y + rest) * log_p)


def smoothed_cross_entropy_slope(log_p, y, keep, rest):
    """Return dL/d(log p) = -(keep y + rest)."""
    return -(keep * y + rest)


def log_of_rest(log_p):
    """Return log(1 - p), at least -69, where p is 1 to the last digit."""
    rest = -expm1(log_p)
    return log(1e-30 if rest < 1e-30 else rest)


def categorical_focal(log_p, y, gamma):
    """Return -y (1 - p)^gamma log p."""
    return -y * log_p * exp(gamma * log_of_rest(log_p))


def categorical_focal_slope(log_p, y, gamma):
    """Return dL/d(log p) = y (gamma p (1 - p)^(gamma - 1) log p - (1 - p)^gamma)."""
    log_rest = log_of_rest(log_p)
    growing = gamma * log_p * exp(log_p + (gamma - 1.0) * log_rest)
    return y * (growing - exp(gamma * log_rest))


@dataclass(frozen=True)
class Loss:
    """A loss: its formula, its slope, what they are written in, and the output merged in.

    `targets` says which values y may have: "share" is [0, 1], "binary" 0 or 1. An output from
    `decides_at` on predicts a 1, one below it a 0; None: outputs are values (or a softmax's).
    """

    value: Formula
    slope: Formula
    of: Literal["logits", "log_softmax"]
    output: Literal["identity", "sigmoid", "softmax", "exponential"]
    targets: Literal["any", "share", "binary", "not negative", "positive"] = "any"
    decides_at: float | None = None

    @property
    def parameters(self) -> tuple[str, ...]:
        """What `value` and `slope` take after z (or log p) and y."""
        code = self.value.__code__
        return code.co_varnames[2 : code.co_argcount]

    @property
    def predicts_classes(self) -> bool:
        """Whether the outputs stand for classes rather than values."""
        return self.output == "softmax" or self.decides_at is not None


# The first loss of an output is its default.
LOSSES: dict[str, Loss] = {
    "binary_cross_entropy": Loss(
        binary_cross_entropy,
        binary_cross_entropy_slope,
        of="logits",
        output="sigmoid",
        targets="share",
        decides_at=0.5,
    ),
    "categorical_cross_entropy": Loss(
        categorical_cross_entropy,
        categorical_cross_entropy_slope,
        of="log_softmax",
        output="softmax",
    ),
    "squared_error": Loss(squared_error, squared_error_slope, of="logits", output="identity"),
    "absolute_error": Loss(absolute_error, absolute_error_slope, of="logits", output="identity"),
    "huber": Loss(huber, huber_slope, of="logits", output="identity"),
    "quantile": Loss(quantile, quantile_slope, of="logits", output="identity"),
    "poisson": Loss(
        poisson, poisson_slope, of="logits", output="exponential", targets="not negative"
    ),
    "gamma": Loss(gamma, gamma_slope, of="logits", output="exponential", targets="positive"),
    "hinge": Loss(
        hinge, hinge_slope, of="logits", output="identity", targets="binary", decides_at=0.0
    ),
    "focal": Loss(
        focal, focal_slope, of="logits", output="sigmoid", targets="share", decides_at=0.5
    ),
    "categorical_focal": Loss(
        categorical_focal, categorical_focal_slope, of="log_softmax", output="softmax"
    ),
    "smoothed_cross_entropy": Loss(
        smoothed_cross_entropy, smoothed_cross_entropy_slope, of="log_softmax", output="softmax"
    ),
    "smoothed_binary_cross_entropy": Loss(
        smoothed_binary_cross_entropy,
        smoothed_binary_cross_entropy_slope,
        of="logits",
        output="sigmoid",
        targets="share",
        decides_at=0.5,
    ),
}

# ---------------------------------------------------------------------------------------------
# Normalisation of weighted sums: of each unit over the rows of a batch (Ioffe and Szegedy, 2015),
# or of each row over the units of a layer (Ba et al., 2016). Means and variances are sums, and
# belong to the backends; the variance is the mean square of what is left without the mean.


def normalization_factor(variance):
    """Return 1 / sqrt(variance + epsilon), epsilon being 1e-5."""
    return 1.0 / sqrt(variance + 1e-5)


def normalized(z, mean, factor):
    """Return (z - mean) / sqrt(variance + epsilon), of which `factor` is the second half."""
    return (z - mean) * factor


def scaled_and_shifted(x, gamma, beta):
    """Return gamma x + beta: what the activation takes, of a normalised `x`."""
    return gamma * x + beta


def normalization_slope(slope, x, mean_slope, mean_product, factor):
    """Return factor (slope - mean(slope) - x mean(slope x)), x being normalised, for dL/dz.

    `slope` is dL/dx. What is the same for all that a mean is over may be in `factor` instead: so is
    gamma for a unit of a batch. Both papers; section 3 of the first one derives it.
    """
    return factor * ((slope - mean_slope) - x * mean_product)


def running_estimate(running, found):
    """Return the estimate of a mean or a variance after another batch: 10% of the way to it."""
    return 0.9 * running + 0.1 * found


NORMALIZATION_FORMULAS = (
    normalization_factor,
    normalized,
    scaled_and_shifted,
    normalization_slope,
    running_estimate,
)

# ---------------------------------------------------------------------------------------------
# What is done to a gradient before the optimizer's update.


def sign(x):
    """Return -1, 0 or 1."""
    return -1.0 if x < 0.0 else 1.0 if x > 0.0 else 0.0


def adjusted_gradient(w, g, l1, l2, limit):
    """Return the gradient with that of the penalty l1 |w| + l2 w^2 / 2, within [-limit, limit]."""
    g = g + (l2 * w + l1 * sign(w))
    g = -limit if g < -limit else g
    return limit if g > limit else g


# ---------------------------------------------------------------------------------------------
# int8: numbers as 256 steps of one size (Jacob et al., 2018); see quantized.py.


def rounded_float32(x):
    """Return the integer nearest to `x`, of two the even one, for |x| < 2^22."""
    return (x + 12582912.0) - 12582912.0


def rounded_float64(x):
    """Return the integer nearest to `x`, of two the even one, for |x| < 2^51."""
    return (x + 6755399441055744.0) - 6755399441055744.0


rounded = rounded_float64


def quantized(x, steps_per_unit, zero_point):
    """Return which of 0 to 255 is nearest to `x`, where `zero_point` stands for 0; 0 for NaN."""
    step = x * steps_per_unit + zero_point
    step = step if step > 0.0 else 0.0
    step = step if step < 255.0 else 255.0
    return rounded(step)


def dequantized(total, factor, bias):
    """Return z of a sum of products of integers."""
    return total * factor + bias


# ---------------------------------------------------------------------------------------------
# Optimizers. `coefficients` turns the step's number (from 1) and the hyperparameters into the few
# numbers that `update` needs; it is not a formula of the subset: it runs in float64, once for many
# steps at a time (`step` and `learning_rate` may be arrays). `update` takes one parameter `w`, its
# gradient `g`, its states and the coefficients, and returns the new parameter and states.


def sgd_coefficients(step, learning_rate):
    """Gradient descent needs the learning rate alone."""
    return (learning_rate,)


def sgd(w, g, learning_rate):
    """Return w - learning_rate g."""
    return (w - learning_rate * g,)


def settled(x):
    """Return x; 0 if it is smaller than 1e-30.

    A mean of gradients that are zero decays to numbers below 2^-126, and stays there: nine tenths
    of the smallest of them are rounded to itself. Some CPUs take a hundred times as long for such
    a number, and an epoch three times, once 5% of the states have come there.
    """
    return 0.0 if absolute(x) < 1e-30 else x


def momentum_coefficients(step, learning_rate, momentum):
    """Return the two hyperparameters as they are."""
    return learning_rate, momentum


def momentum(w, g, velocity, learning_rate, decay):
    """Step along a decaying sum of gradients (Polyak, 1964)."""
    velocity = settled(decay * velocity - learning_rate * g)
    return w + velocity, velocity


def nesterov(w, g, velocity, learning_rate, decay):
    """Momentum that looks one step ahead (Sutskever et al., 2013, as commonly rewritten)."""
    velocity = settled(decay * velocity - learning_rate * g)
    return w + (decay * velocity - learning_rate * g), velocity


def adam_coefficients(step, learning_rate, beta_1, beta_2, epsilon):
    """Return the corrected step size, 1 / sqrt of the second bias correction, and the betas."""
    step_size = learning_rate / (1.0 - beta_1**step)
    second_correction = (1.0 - beta_2**step) ** -0.5
    return step_size, second_correction, beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, epsilon


def adam(w, g, m, v, step_size, second_correction, beta_1, rest_1, beta_2, rest_2, epsilon):
    """Step by the mean over the root of the mean square of the gradients (Kingma and Ba, 2014)."""
    m = settled(beta_1 * m + rest_1 * g)
    v = beta_2 * v + rest_2 * (g * g)
    return w - step_size * m / (sqrt(v) * second_correction + epsilon), m, v


def adamw_coefficients(step, learning_rate, beta_1, beta_2, epsilon, weight_decay):
    """Return Adam's coefficients after 1 - learning_rate * weight_decay."""
    keep = 1.0 - learning_rate * weight_decay
    return (keep, *adam_coefficients(step, learning_rate, beta_1, beta_2, epsilon))


def adamw(w, g, m, v, keep, step_size, second_correction, beta_1, rest_1, beta_2, rest_2, epsilon):
    """Adam with decoupled weight decay (Loshchilov and Hutter, 2017)."""
    m = settled(beta_1 * m + rest_1 * g)
    v = beta_2 * v + rest_2 * (g * g)
    return keep * w - step_size * m / (sqrt(v) * second_correction + epsilon), m, v


def rmsprop_coefficients(step, learning_rate, rho, epsilon):
    """Return the hyperparameters, and 1 - rho."""
    return learning_rate, rho, 1.0 - rho, epsilon


def rmsprop(w, g, v, learning_rate, rho, rest, epsilon):
    """Step by the gradient over the root of its mean square (Tieleman and Hinton, 2012)."""
    v = rho * v + rest * (g * g)
    return w - learning_rate * g / (sqrt(v) + epsilon), v


def adagrad_coefficients(step, learning_rate, epsilon):
    """Return the hyperparameters as they are."""
    return learning_rate, epsilon


def adagrad(w, g, v, learning_rate, epsilon):
    """Step by the gradient over the root of the sum of its squares (Duchi et al., 2011)."""
    v = v + g * g
    return w - learning_rate * g / (sqrt(v) + epsilon), v


def nadam_coefficients(step, learning_rate, beta_1, beta_2, epsilon):
    """Return the corrected step sizes of the mean and of the gradient, then as for Adam."""
    of_mean = learning_rate * beta_1 / (1.0 - beta_1 ** (step + 1.0))
    of_gradient = learning_rate * (1.0 - beta_1) / (1.0 - beta_1**step)
    second_correction = (1.0 - beta_2**step) ** -0.5
    rest_1, rest_2 = 1.0 - beta_1, 1.0 - beta_2
    return of_mean, of_gradient, second_correction, beta_1, rest_1, beta_2, rest_2, epsilon


def nadam(
    w, g, m, v, of_mean, of_gradient, second_correction, beta_1, rest_1, beta_2, rest_2, epsilon
):
    """Adam whose mean looks one step ahead, as Nesterov's does (Dozat, 2016)."""
    m = settled(beta_1 * m + rest_1 * g)
    v = beta_2 * v + rest_2 * (g * g)
    ahead = of_mean * m + of_gradient * g
    return w - ahead / (sqrt(v) * second_correction + epsilon), m, v


def lion_coefficients(step, learning_rate, beta_1, beta_2, weight_decay):
    """Return 1 - learning_rate * weight_decay, the learning rate, the betas and 1 - beta."""
    keep = 1.0 - learning_rate * weight_decay
    return keep, learning_rate, beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2


def lion(w, g, m, keep, learning_rate, beta_1, rest_1, beta_2, rest_2):
    """Step by the sign of the mean of the gradients, decayed (Chen et al., 2023)."""
    direction = sign(beta_1 * m + rest_1 * g)
    m = settled(beta_2 * m + rest_2 * g)
    return keep * w - learning_rate * direction, m


# Some optimizers make a step orthogonal: a weight matrix between two hidden layers moves by the
# same in all directions. The singular values of X (rows, columns), rows >= columns, of norm 1,
# come near 1 by an odd polynomial, applied NEWTON_SCHULZ_STEPS times:
#     G = X^T X,  X <- X (first I + second G + third G G)
# (Newton and Schulz; with Jordan's factors, 2024, they soon lie between 0.7 and 1.2). A wide X is
# transposed before and after. The products are the backends' own.

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
NEWTON_SCHULZ_STEPS = 5
SMALLEST_NORM = 1e-35
"""A matrix whose norm is not above it has no direction: it becomes 0 instead of being divided."""


def gram_polynomial(square, gram, second, third):
    """Return the polynomial of G, with ``square = G G``, but for what it has on the diagonal."""
    return (second * gram + third * square,)


def muon_coefficients(
    step,
    learning_rate,
    momentum,
    nesterov,
    weight_decay,
    adam_learning_rate,
    beta_1,
    beta_2,
    epsilon,
):
    """Return AdamW's coefficients, those of `muon_direction`, then those of `muon_matrix`."""
    of_adam = adamw_coefficients(step, adam_learning_rate, beta_1, beta_2, epsilon, weight_decay)
    of_mean, of_gradient = (momentum, 1.0 - momentum) if nesterov else (1.0, 0.0)
    keep = 1.0 - learning_rate * weight_decay
    return (*of_adam, momentum, 1.0 - momentum, of_mean, of_gradient, keep, learning_rate)


def muon_direction(direction, g, m, decay, rest, of_mean, of_gradient):
    """Return the mean of the gradients, or (Nesterov's) where it will be; and the mean."""
    m = settled(decay * m + rest * g)
    return of_mean * m + of_gradient * g, m


def muon_matrix(w, direction, keep, learning_rate):
    """Step along the orthogonal direction, decayed (Jordan, 2024)."""
    return (keep * w - learning_rate * direction,)


def stretched(fan_in: int, fan_out: int) -> float:
    """Return what a matrix's orthogonal direction is multiplied by: more, if it widens."""
    return math.sqrt(max(1.0, fan_out / fan_in))


@dataclass(frozen=True)
class Step:
    """A step of single numbers: its formula and the names of its states."""

    update: TupleFormula
    states: tuple[str, ...] = field(default=(), kw_only=True)

    @property
    def n_coefficients(self) -> int:
        """How many numbers `update` takes after w, g and the states."""
        return self.update.__code__.co_argcount - 2 - len(self.states)


@dataclass(frozen=True)
class MatrixUpdate:
    """What an optimizer does to a weight matrix between two hidden layers, not to other parameters.

    `direction` makes of the gradient what becomes orthogonal (its first argument, in the place of
    w, counts for nothing); that, times ``scale(fan_in, fan_out)``, is `step`'s gradient.
    """

    direction: Step
    step: Step
    scale: Callable[[int, int], float]


@dataclass(frozen=True)
class Optimizer(Step):
    """An optimizer: its update, its states, the coefficients of a step; and for matrices, or None.

    `coefficients` returns those of `update`, then those of the direction and the step of `matrix`,
    whose states are the first ones of `states`.
    """

    coefficients: TupleFormula
    matrix: MatrixUpdate | None = None

    @property
    def hyperparameters(self) -> tuple[str, ...]:
        """What `coefficients` takes after the step's number."""
        code = self.coefficients.__code__
        return code.co_varnames[1 : code.co_argcount]

    @property
    def coefficient_slices(self) -> tuple[slice, slice, slice]:
        """Where the coefficients of the update, the direction and the matrix's step lie."""
        n = self.n_coefficients
        matrix = self.matrix
        of_direction = n if matrix is None else n + matrix.direction.n_coefficients
        end = n if matrix is None else of_direction + matrix.step.n_coefficients
        return slice(0, n), slice(n, of_direction), slice(of_direction, end)

    @property
    def n_coefficients_in_all(self) -> int:
        """How many numbers `coefficients` returns."""
        return int(self.coefficient_slices[-1].stop)


OPTIMIZERS: dict[str, Optimizer] = {
    "sgd": Optimizer(sgd, sgd_coefficients),
    "momentum": Optimizer(momentum, momentum_coefficients, states=("velocity",)),
    "nesterov": Optimizer(nesterov, momentum_coefficients, states=("velocity",)),
    "adam": Optimizer(adam, adam_coefficients, states=("m", "v")),
    "adamw": Optimizer(adamw, adamw_coefficients, states=("m", "v")),
    "rmsprop": Optimizer(rmsprop, rmsprop_coefficients, states=("v",)),
    "adagrad": Optimizer(adagrad, adagrad_coefficients, states=("v",)),
    "nadam": Optimizer(nadam, nadam_coefficients, states=("m", "v")),
    "lion": Optimizer(lion, lion_coefficients, states=("m",)),
    "muon": Optimizer(
        adamw,
        muon_coefficients,
        states=("m", "v"),
        matrix=MatrixUpdate(Step(muon_direction, states=("m",)), Step(muon_matrix), stretched),
    ),
}

# Everything that runs over single numbers, by name: what the backends compile.
STEPS: dict[str, Step] = {
    **OPTIMIZERS,
    **{
        step.update.__name__: step
        for optimizer in OPTIMIZERS.values()
        if optimizer.matrix is not None
        for step in (optimizer.matrix.direction, optimizer.matrix.step)
    },
    "gram_polynomial": Step(gram_polynomial),
}
