"""`Network`: layer widths, activations and parameters. Knows no backend."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .checks import check_integer, check_number, check_seed
from .custom import CustomActivation
from .errors import unknown_name
from .initializers import INITIALIZERS
from .kernels.contract import Normalization
from .kernels.formulas import ACTIVATIONS, scaled_input

OUTPUTS = ("softmax", *ACTIVATIONS)
DTYPES = ("float32", "float64")
NORMALIZATIONS = ("batch", "layer")
Activation = str | CustomActivation


class Network:
    """A multilayer perceptron: what it is, and the memory of its parameters.

    Layer l computes ``z = a_in @ weights[l] + biases[l]`` and ``a = activation(z)``. With a
    normalisation the hidden layers compute ``z = a_in @ weights[l]``, take the mean of z away,
    divide by ``sqrt(variance + 1e-5)``, and then ``a = activation(gammas[l] * z + biases[l])``: a
    bias before it would go with the mean, so `biases` come after it, as beta in the papers.

    Parameters
    ----------
    sizes : sequence of int
        The widths, input first: ``[784, 128, 10]`` has one hidden layer of 128 units.
    activation : str, CustomActivation, or a sequence of them, default "relu"
        The hidden activation, or one per hidden layer; a name in `fastmlp.ACTIVATIONS`.
    output : str or CustomActivation, default "softmax"
        The output activation: "softmax" (classes), "sigmoid" (yes or no, per output), "identity"
        (regression), or any other activation.
    init : str, default "auto"
        How the weights start: "he", "glorot", "lecun" (and "he_uniform", "glorot_normal",
        "lecun_uniform", "zeros"). "auto" takes what suits each layer's activation. Biases start
        at zero.
    seed : int or None, default None
        Seed of the initial weights; None draws fresh ones.
    dtype : {"float32", "float64"}, default "float32"
        The type of the parameters. A `Trainer` of another precision converts them.
    input_scale : float or array of shape (n_inputs,), default 1.0
        Inputs become ``(x - input_center) * input_scale`` as they are read; ``1 / 255`` for pixels
        in uint8. It is computed in float64 if the data are, and then converted to `dtype`.
    input_center : float or array of shape (n_inputs,), default 0.0
        Must be 0 for sparse inputs, whose zeros would not stay zeros.
    normalization : {"batch", "layer"} or None, default None
        "batch" (Ioffe and Szegedy, 2015): mean and variance are each unit's over the rows of a
        batch, all rows counting alike, whatever their sample weights. Training also keeps running
        estimates of them: after each batch they go 10% of the way to the batch's mean and variance
        (its unbiased estimate, by rows - 1). These are used to predict and to evaluate. In a batch
        of a single row all of z is its mean: the layer hands on ``activation(biases[l])``, and the
        estimates stay as they are.
        "layer" (Ba et al., 2016): they are each row's over the units of the layer, alike in
        training and prediction.
    group_sizes : sequence of int, optional
        For a softmax output that predicts several things at once: how many classes each of them
        has. With ``[784, 128, 5]`` and (3, 2), the first 3 outputs are one softmax and the last 2
        another, each trained with class numbers of its own. None is one softmax of all outputs.

    Attributes
    ----------
    parameters : ndarray, shape (n_parameters,)
        All weights, biases and gammas: one flat vector, layer by layer, each layer's weights row by
        row, then its biases, then its gammas, if it is normalised.
    weights, biases, gammas : tuple of ndarray
        Views of `parameters`: (fan_in, fan_out), (fan_out,) and (fan_out,) per layer; gammas are
        empty, (0,), where nothing is normalised. They start at 1.
    n_parameters : int
    statistics : ndarray, shape (n_statistics,)
        The running estimates of a batch normalisation, layer by layer, each layer's means and then
        its variances; empty without one. Not parameters: no optimizer changes them.
    running_means, running_variances : tuple of ndarray
        Views of `statistics`, (fan_out,) per layer; empty, (0,), where there are none. They start
        at 0 and 1.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what is described here, a softmax output has fewer than two
        classes, or group_sizes do not add up to the outputs.

    Examples
    --------
    >>> Network([784, 128, 10]).n_parameters
    101770
    >>> Network([3, 3, 1], activation="sigmoid", output="sigmoid").n_parameters
    16
    >>> Network([784, 128, 10], normalization="batch").n_parameters  # and 128 gammas
    101898
    """

    def __init__(
        self,
        sizes: Sequence[int],
        activation: Activation | Sequence[Activation] = "relu",
        output: Activation = "softmax",
        init: str = "auto",
        seed: int | None = None,
        *,
        dtype: str = "float32",
        input_scale: float | NDArray[Any] | Sequence[float] = 1.0,
        input_center: float | NDArray[Any] | Sequence[float] = 0.0,
        normalization: str | None = None,
        group_sizes: Sequence[int] | None = None,
    ) -> None:
        self._sizes = _check_sizes(sizes)
        hidden = _check_activations(activation, len(self.sizes) - 2)
        self._custom_activations = tuple(
            each for each in (*hidden, output) if isinstance(each, CustomActivation)
        )
        self._activations = tuple(map(_name_of, hidden))
        output = _name_of(output)
        if not isinstance(output, str) or output not in ("softmax", *ACTIVATIONS):
            raise unknown_name("output", output, OUTPUTS)
        if output == "softmax" and self.sizes[-1] == 1:
            raise ValueError(
                "output='softmax' needs at least 2 outputs, one per class (over a single output it "
                f"is always 1); got sizes={list(self.sizes)}. For yes or no use output='sigmoid', "
                "for values output='identity'"
            )
        self._output = output
        self._group_sizes = _check_group_sizes(group_sizes, output, self.sizes[-1])
        if not isinstance(init, str) or init not in ("auto", *INITIALIZERS):
            raise unknown_name("init", init, ("auto", *INITIALIZERS))
        self._init = init
        if seed is not None:
            seed = check_seed(seed)
        self._input_scale = _check_per_input("input_scale", input_scale, self.sizes[0])
        self._input_center = _check_per_input("input_center", input_center, self.sizes[0])
        self._layer_normalizations: tuple[Normalization | None, ...] = (
            *(_check_normalization(normalization),) * len(hidden),
            None,
        )
        self._parameters = _allocate(self._sizes, self.n_parameters, _check_dtype(dtype))
        self._statistics = np.zeros(self.statistics_slices[-1].stop, self.dtype)
        for gammas, variances in zip(self.gammas, self.running_variances, strict=True):
            gammas[...], variances[...] = 1.0, 1.0
        random = np.random.default_rng(seed)
        for (fan_in, fan_out), name, weights in zip(
            self.shapes, self.layer_activations, self.weights, strict=True
        ):
            suited = ACTIVATIONS[name].init if name in ACTIVATIONS else "glorot"
            weights[...] = INITIALIZERS[suited if init == "auto" else init](random, fan_in, fan_out)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths, input first."""
        return self._sizes

    @property
    def activations(self) -> tuple[str, ...]:
        """The activation of each hidden layer."""
        return self._activations

    @property
    def custom_activations(self) -> tuple[CustomActivation, ...]:
        """Those of the activations, the output's too, that are the user's own."""
        return self._custom_activations

    @property
    def output(self) -> str:
        """The output activation."""
        return self._output

    @property
    def group_sizes(self) -> tuple[int, ...]:
        """How many outputs each softmax takes, one after the other; one group is all outputs."""
        return self._group_sizes

    @property
    def init(self) -> str:
        """How the weights started."""
        return self._init

    @property
    def input_scale(self) -> float | NDArray[np.float64]:
        """What inputs are multiplied by: a number, or one per input, (n_inputs,)."""
        return self._input_scale

    @property
    def input_center(self) -> float | NDArray[np.float64]:
        """What is subtracted from inputs before that: a number, or one per input, (n_inputs,)."""
        return self._input_center

    @property
    def scales_inputs(self) -> bool:
        """Whether inputs are changed at all as they are read."""
        return bool(np.any(self._input_center != 0.0) or np.any(self._input_scale != 1.0))

    def scaled(self, X: NDArray[Any]) -> NDArray[Any]:  # noqa: N803 (the field's own name)
        """Return inputs as the first layer takes them, in the network's `dtype`.

        Parameters
        ----------
        X : ndarray of shape (rows, n_inputs)
        """
        kind = np.result_type(X.dtype, self.dtype)
        by = (np.asarray(each, kind) for each in (self._input_center, self._input_scale))
        return np.asarray(scaled_input(X.astype(kind, copy=False), *by)).astype(self.dtype)

    @property
    def normalization(self) -> Normalization | None:
        """How the hidden layers are normalised."""
        return self._layer_normalizations[0]

    @property
    def layer_normalizations(self) -> tuple[Normalization | None, ...]:
        """How each layer is normalised: the output layer is not, but may be that of `up_to`."""
        return self._layer_normalizations

    @property
    def parameters(self) -> NDArray[Any]:
        """All of them, (n_parameters,). Assigning copies the values into place."""
        return self._parameters

    @parameters.setter
    def parameters(self, values: object) -> None:
        array = np.asarray(values)
        if array.shape != self._parameters.shape or array.dtype.kind not in "fiub":
            raise ValueError(
                f"parameters must be {self.n_parameters:,} numbers in a flat array; got the shape "
                f"{array.shape} and dtype {array.dtype}"
            )
        self._parameters[...] = array

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """(fan_in, fan_out) of each layer."""
        return list(zip(self.sizes[:-1], self.sizes[1:], strict=True))

    @property
    def layer_activations(self) -> tuple[str, ...]:
        """The activation of each layer, the output's last."""
        return (*self.activations, self.output)

    @property
    def n_parameters(self) -> int:
        """How many there are: (fan_in + 1) * fan_out per layer, and fan_out more if normalised."""
        return int(self.gamma_slices[-1].stop)

    @property
    def slices(self) -> list[tuple[slice, slice]]:
        """Where each layer's weights and biases lie in `parameters`."""
        result, start = [], 0
        for (fan_in, fan_out), normalization in zip(
            self.shapes, self._layer_normalizations, strict=True
        ):
            middle, stop = start + fan_in * fan_out, start + (fan_in + 1) * fan_out
            result.append((slice(start, middle), slice(middle, stop)))
            start = stop + (0 if normalization is None else fan_out)
        return result

    @property
    def gamma_slices(self) -> list[slice]:
        """Where each layer's gammas lie in `parameters`; empty where nothing is normalised."""
        return [
            slice(biases.stop, biases.stop + (0 if normalization is None else fan_out))
            for (_, biases), (_, fan_out), normalization in zip(
                self.slices, self.shapes, self._layer_normalizations, strict=True
            )
        ]

    @property
    def statistics_slices(self) -> list[slice]:
        """Where each layer's running means and then variances lie in `statistics`."""
        result, start = [], 0
        for (_, fan_out), normalization in zip(
            self.shapes, self._layer_normalizations, strict=True
        ):
            stop = start + (2 * fan_out if normalization == "batch" else 0)
            result.append(slice(start, stop))
            start = stop
        return result

    @property
    def weights(self) -> tuple[NDArray[Any], ...]:
        """Views of `parameters`, (fan_in, fan_out) per layer; set with ``weights[0][...] = w``."""
        pairs = zip(self.slices, self.shapes, strict=True)
        return tuple(self._parameters[weights].reshape(shape) for (weights, _), shape in pairs)

    @property
    def biases(self) -> tuple[NDArray[Any], ...]:
        """Views of `parameters`, (fan_out,) per layer; set with ``biases[0][...] = b``."""
        return tuple(self._parameters[biases] for _, biases in self.slices)

    @property
    def gammas(self) -> tuple[NDArray[Any], ...]:
        """Views of `parameters`, (fan_out,) per layer, or (0,) where nothing is normalised."""
        return tuple(self._parameters[gammas] for gammas in self.gamma_slices)

    @property
    def statistics(self) -> NDArray[Any]:
        """The running means and variances of a batch normalisation, (n_statistics,)."""
        return self._statistics

    @property
    def running_means(self) -> tuple[NDArray[Any], ...]:
        """Views of `statistics`, (fan_out,) per layer, or (0,) where there are none."""
        parts = [self._statistics[part] for part in self.statistics_slices]
        return tuple(part[: len(part) // 2] for part in parts)

    @property
    def running_variances(self) -> tuple[NDArray[Any], ...]:
        """Views of `statistics`, (fan_out,) per layer, or (0,) where there are none."""
        parts = [self._statistics[part] for part in self.statistics_slices]
        return tuple(part[len(part) // 2 :] for part in parts)

    @property
    def learned(self) -> NDArray[Any]:
        """A copy of all that training changes: `parameters` and then `statistics`.

        Assigning such a copy puts it back.
        """
        return np.concatenate([self._parameters, self._statistics])

    @learned.setter
    def learned(self, values: NDArray[Any]) -> None:
        self._parameters[...] = values[: self.n_parameters]
        self._statistics[...] = values[self.n_parameters :]

    @property
    def dtype(self) -> str:
        """The type of the parameters, "float32" or "float64"."""
        return self.parameters.dtype.name

    def __setstate__(self, kept: dict[str, Any]) -> None:
        """Take memory of its own where a file is mapped read-only (joblib): training writes."""
        self.__dict__.update(kept)
        self._parameters = writable(self._parameters)
        self._statistics = writable(self._statistics)

    def convert(self, dtype: str) -> None:
        """Give the parameters another type; views taken before no longer follow."""
        if _check_dtype(dtype) != self.dtype:
            self._parameters = self._parameters.astype(dtype)
            self._statistics = self._statistics.astype(dtype)

    def up_to(self, layer: int) -> Network:
        """Return the layers up to hidden layer `layer` (0 is the first) as a Network.

        Its output is what that layer hands on. Its parameters are a view of this network's.

        Raises
        ------
        TypeError, ValueError
            If there is no such hidden layer.
        """
        last = check_integer("layer", layer, 0, len(self.activations) - 1)
        part = copy.copy(self)
        part._sizes = self._sizes[: last + 2]
        part._activations = self._activations[:last]
        part._output = self._activations[last]
        part._layer_normalizations = self._layer_normalizations[: last + 1]
        part._group_sizes = part._sizes[-1:]
        part._parameters = self._parameters[: part.n_parameters]
        part._statistics = self._statistics[: part.statistics_slices[-1].stop]
        return part

    def summary(self) -> str:
        """Return a table of the layers, their shapes and parameter counts."""
        rows = [("layer", "fan_in", "fan_out", "activation", "parameters")]
        for index, ((fan_in, fan_out), name, normalization) in enumerate(
            zip(self.shapes, self.layer_activations, self._layer_normalizations, strict=True),
            start=1,
        ):
            count = (fan_in + (1 if normalization is None else 2)) * fan_out
            kind = "output" if index == len(self.shapes) else "hidden"
            what = name if normalization is None else f"{normalization} norm, {name}"
            rows.append((f"{index} {kind}", f"{fan_in:,}", f"{fan_out:,}", what, f"{count:,}"))
        rows.append(("total", "", "", "", f"{self.n_parameters:,}"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for row in rows:
            cells = [
                cell.ljust(width) if column in (0, 3) else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            lines.append("  ".join(cells).rstrip())
        rule = "-" * max(map(len, lines))
        notes = []
        if self.normalization is not None:
            notes.append(
                "a normalised layer has fan_in * fan_out weights, fan_out biases (beta) and as "
                "many gammas"
            )
        if self._statistics.size:
            n = self._statistics.size
            notes.append(f"besides, {n:,} running means and variances, which no optimizer changes")
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], *notes])

    def __repr__(self) -> str:
        sizes = "-".join(map(str, self.sizes))
        hidden = ", ".join(dict.fromkeys(self.activations)) or "none"
        if self.normalization is not None:
            hidden = f"{hidden} with {self.normalization} normalization"
        if self.scales_inputs:
            sizes += ", inputs scaled"
        return (
            f"<Network {sizes}, hidden {hidden}, output {self.output}, "
            f"{self.n_parameters:,} parameters, {self.dtype}>"
        )


def _allocate(sizes: tuple[int, ...], n_parameters: int, dtype: str) -> NDArray[Any]:
    try:
        return np.zeros(n_parameters, dtype)
    except (MemoryError, ValueError):
        n_bytes = n_parameters * np.dtype(dtype).itemsize
        raise ValueError(
            f"sizes={list(sizes)} make {n_parameters:,} parameters, {n_bytes / 2**30:,.1f} GiB: "
            "more than this machine can allocate; take smaller layers"
        ) from None


def _check_sizes(sizes: Sequence[int]) -> tuple[int, ...]:
    expected = "at least two layer widths, such as [784, 128, 10]"
    if isinstance(sizes, (str, bytes)) or not hasattr(sizes, "__iter__"):
        raise TypeError(f"sizes must be a sequence of {expected}; got {type(sizes).__name__}")
    widths = tuple(check_integer(f"sizes[{i}]", size, 1) for i, size in enumerate(sizes))
    if len(widths) < 2:
        raise ValueError(f"sizes must hold {expected}; got {list(widths)}")
    return widths


def _check_per_input(argument: str, value: object, n_inputs: int) -> float | NDArray[np.float64]:
    """Return a finite number, or an array of one per input that is nobody else's."""
    expected = f"a finite number, or {n_inputs} of them, one per input"
    try:
        numbers = np.array(value)
    except ValueError:  # lists of different lengths
        numbers = np.array([None])
    if numbers.ndim == 0:
        return check_number(argument, value)
    if numbers.dtype.kind not in "fiu":
        raise TypeError(f"{argument} must be {expected}; got {value!r}")
    if numbers.shape != (n_inputs,):
        raise ValueError(
            f"{argument} must be {expected}; got an array of the shape {numbers.shape}"
        )
    numbers = numbers.astype(np.float64)
    if not np.isfinite(numbers).all():
        place = int(np.flatnonzero(~np.isfinite(numbers))[0])
        raise ValueError(f"{argument} must be {expected}; got {numbers[place]} at [{place}]")
    numbers.flags.writeable = False
    return numbers


def _name_of(activation: Activation) -> str:
    return activation.name if isinstance(activation, CustomActivation) else activation


def _check_activations(
    activation: Activation | Sequence[Activation], n_hidden: int
) -> tuple[Activation, ...]:
    if isinstance(activation, (str, CustomActivation)):
        if _name_of(activation) not in ACTIVATIONS:
            raise unknown_name("activation", activation, ACTIVATIONS)
        return (activation,) * n_hidden
    if not hasattr(activation, "__iter__"):
        raise TypeError(
            f"activation must be a name or a sequence of names; got {type(activation).__name__}"
        )
    names = tuple(activation)
    if len(names) != n_hidden:
        raise ValueError(
            f"activation must be one name or one per hidden layer ({n_hidden}); got {len(names)}"
        )
    for i, each in enumerate(names):
        if not isinstance(each, (str, CustomActivation)) or _name_of(each) not in ACTIVATIONS:
            raise unknown_name(f"activation[{i}]", each, ACTIVATIONS)
    return names


def _check_normalization(normalization: str | None) -> Normalization | None:
    if normalization == "batch" or normalization == "layer" or normalization is None:
        return normalization  # type: ignore[return-value]
    raise unknown_name("normalization, if not None,", normalization, NORMALIZATIONS)


def _check_group_sizes(
    group_sizes: Sequence[int] | None, output: str, n_outputs: int
) -> tuple[int, ...]:
    if group_sizes is None:
        return (n_outputs,)
    if isinstance(group_sizes, (str, bytes)) or not hasattr(group_sizes, "__iter__"):
        raise TypeError(
            "group_sizes must be a sequence of how many classes each group of outputs has, such as "
            f"(3, 2); got {type(group_sizes).__name__}"
        )
    sizes = tuple(check_integer(f"group_sizes[{i}]", each, 1) for i, each in enumerate(group_sizes))
    if sum(sizes) != n_outputs:
        raise ValueError(
            f"group_sizes must add up to the network's {n_outputs} outputs; got {list(sizes)}, "
            f"which make {sum(sizes)}"
        )
    if output != "softmax" and len(sizes) > 1:
        raise ValueError(
            f"group_sizes={list(sizes)} are of a softmax output, which each group has for itself; "
            f"got output={output!r}: leave them out"
        )
    return sizes


def _check_dtype(dtype: str) -> str:
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    return dtype


def writable(array: NDArray[Any]) -> NDArray[Any]:
    """Return the array, or a copy if nothing may be written into it."""
    return array if array.flags.writeable else array.copy()
