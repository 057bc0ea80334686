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
from .kernels.formulas import ACTIVATIONS

OUTPUTS = ("softmax", *ACTIVATIONS)
DTYPES = ("float32", "float64")
Activation = str | CustomActivation


class Network:
    """A multilayer perceptron: what it is, and the memory of its parameters.

    Layer l computes ``z = a_in @ weights[l] + biases[l]`` and ``a = activation(z)``.

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
    input_scale : float, default 1.0
        Inputs are multiplied by it as they are read; ``1 / 255`` for pixels in uint8.

    Attributes
    ----------
    parameters : ndarray, shape (n_parameters,)
        All weights and biases: one flat vector, layer by layer, each layer's weights row by row
        and then its biases.
    weights, biases : tuple of ndarray
        Views of `parameters`: (fan_in, fan_out) and (fan_out,) per layer.
    n_parameters : int

    Raises
    ------
    ValueError, TypeError
        If an argument is not what is described here, or a softmax output has fewer than two
        classes.

    Examples
    --------
    >>> Network([784, 128, 10]).n_parameters
    101770
    >>> Network([3, 3, 1], activation="sigmoid", output="sigmoid").n_parameters
    16
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
        input_scale: float = 1.0,
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
        if not isinstance(init, str) or init not in ("auto", *INITIALIZERS):
            raise unknown_name("init", init, ("auto", *INITIALIZERS))
        self._init = init
        if seed is not None:
            seed = check_seed(seed)
        self._input_scale = check_number("input_scale", input_scale, -1e30, 1e30)
        self._parameters = _allocate(self._sizes, self.n_parameters, _check_dtype(dtype))
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
    def init(self) -> str:
        """How the weights started."""
        return self._init

    @property
    def input_scale(self) -> float:
        """What inputs are multiplied by."""
        return self._input_scale

    @property
    def parameters(self) -> NDArray[Any]:
        """All weights and biases, (n_parameters,). Assigning copies the values into place."""
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
        """How many weights and biases there are: the sum of (fan_in + 1) * fan_out."""
        return sum((fan_in + 1) * fan_out for fan_in, fan_out in self.shapes)

    @property
    def slices(self) -> list[tuple[slice, slice]]:
        """Where each layer's weights and biases lie in `parameters`."""
        result, start = [], 0
        for fan_in, fan_out in self.shapes:
            middle, stop = start + fan_in * fan_out, start + (fan_in + 1) * fan_out
            result.append((slice(start, middle), slice(middle, stop)))
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
    def dtype(self) -> str:
        """The type of the parameters, "float32" or "float64"."""
        return self.parameters.dtype.name

    def convert(self, dtype: str) -> None:
        """Give the parameters another type; views taken before no longer follow."""
        if _check_dtype(dtype) != self.dtype:
            self._parameters = self._parameters.astype(dtype)

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
        part._parameters = self._parameters[: part.n_parameters]
        return part

    def summary(self) -> str:
        """Return a table of the layers, their shapes and parameter counts."""
        rows = [("layer", "fan_in", "fan_out", "activation", "parameters")]
        for index, ((fan_in, fan_out), name) in enumerate(
            zip(self.shapes, self.layer_activations, strict=True), start=1
        ):
            count = (fan_in + 1) * fan_out
            kind = "output" if index == len(self.shapes) else "hidden"
            rows.append((f"{index} {kind}", f"{fan_in:,}", f"{fan_out:,}", name, f"{count:,}"))
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
        return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1]])

    def __repr__(self) -> str:
        sizes = "-".join(map(str, self.sizes))
        hidden = ", ".join(dict.fromkeys(self.activations)) or "none"
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


def _check_dtype(dtype: str) -> str:
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES)
    return dtype
