"""`QuantizedNetwork`: a trained network in int8, for prediction only.

Weights become int8 with a scale per output, what the layers hand on becomes uint8 with a scale and
a zero point per layer (Jacob et al., 2018, "Quantization and training of neural networks for
efficient integer-arithmetic-only inference"). Scales come from the smallest and the largest value
that each layer takes for sample rows; pixels in uint8 are the steps themselves, and lose nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .backend import int8_backend
from .data import Features, check_dense, check_features
from .errors import FormatError
from .kernels.formulas import ACTIVATIONS, LOSSES
from .kernels.quantized import LARGEST_STEP, LARGEST_WEIGHT, MOST_INPUTS, Int8Layer
from .persistence import INT8_FORMAT, VERSION, read_archive, write_archive
from .plan import resolve_threads
from .rows import Rows

if TYPE_CHECKING:
    from .trainer import Trainer

INPUT_LIMIT = float(np.finfo(np.float32).max)


class QuantizedNetwork:
    """A network in int8, as `Trainer.quantize` makes it and `QuantizedNetwork.load` reads it.

    Its predictions are the same bits for any number of threads, on every instruction set and in the
    NumPy reference, which serves, with a warning, where the compiled extension is missing.

    Parameters
    ----------
    layers : sequence of Int8Layer
        From the first to the last, each as wide as the next one takes.
    decides_at : float or None, default None
        An output from here on predicts a 1, one below it a 0; None for values, and for a softmax
        output, whose largest one is the class.
    n_threads : int or None, default None
        None takes OMP_NUM_THREADS, else the CPUs that the process may use.

    Raises
    ------
    ValueError, TypeError
        If the layers do not fit each other, or an argument is not what is described here.

    Attributes
    ----------
    layers : tuple of Int8Layer
    sizes : tuple of int
        The widths, input first.
    n_bytes : int
        How much memory weights, factors and biases take.
    backend_name, isa : str
        What runs it, and whose instruction multiplies.

    Examples
    --------
    >>> from fastmlp import Network, Trainer
    >>> from fastmlp.datasets import synthetic_digits
    >>> X, y = synthetic_digits(2000)
    >>> trainer = Trainer(Network([784, 64, 10], input_scale=1 / 255, seed=0), seed=0)
    >>> history = trainer.fit(X, y, epochs=3)
    >>> quantized = trainer.quantize(X[:500])
    >>> quantized.n_bytes, trainer.network.parameters.nbytes
    (51408, 203560)
    >>> bool((quantized.predict(X) == trainer.predict(X)).mean() > 0.99)
    True
    """

    def __init__(
        self,
        layers: Sequence[Int8Layer],
        decides_at: float | None = None,
        n_threads: int | None = None,
    ) -> None:
        _check_layers(layers)
        self.layers = tuple(layers)
        self.decides_at = decides_at
        self._n_threads = resolve_threads(n_threads)
        self._n_inputs, self._n_outputs = self.sizes[0], self.sizes[-1]
        self._bind()

    def _bind(self) -> None:
        backend = int8_backend()
        self.backend_name, self.isa = backend.name, backend.int8_isa or backend.isa
        self._engine = backend.compile_int8(self.layers, self._n_threads)
        self._lock = threading.Lock()  # an engine's buffers serve one call at a time

    @property
    def sizes(self) -> tuple[int, ...]:
        """The widths, input first."""
        widths = [layer.weights.shape[1] for layer in self.layers]
        return (self.layers[0].weights.shape[0], *widths)

    @property
    def n_bytes(self) -> int:
        """How much memory weights, factors and biases take."""
        return sum(layer.n_bytes for layer in self.layers)

    def predict(self, X: object) -> NDArray[Any]:  # noqa: N803 (the field's own name)
        """Predict classes or values, as the Trainer's `predict` does.

        Parameters
        ----------
        X : array of shape (rows, n_inputs)

        Returns
        -------
        ndarray
            Class numbers (rows,) int64, or 0 and 1, or values in float32; of the shape (rows,) for
            one output and (rows, n_outputs) for more.

        Raises
        ------
        ValueError, TypeError
            If X does not fit.
        """
        outputs = self.predict_proba(X)
        if self.layers[-1].activation == "softmax":
            return np.asarray(outputs.argmax(axis=1))
        if self.decides_at is not None:
            outputs = (outputs >= self.decides_at).astype(np.int64)
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def predict_proba(self, X: object) -> NDArray[np.float32]:  # noqa: N803
        """Return the network's outputs, (rows, n_outputs) float32.

        Parameters
        ----------
        X : array of shape (rows, n_inputs)
            float32, float64 and uint8 are read as they are. What lies outside of the range that the
            sample had counts as its lowest or highest value.

        Raises
        ------
        ValueError, TypeError
            If X does not fit.
        """
        n_inputs = self._n_inputs
        x = check_features(X, n_inputs, limit=None)  # the engine looks at the values
        out = np.empty((len(x), self._n_outputs), np.float32)
        if len(x) <= ROWS_PER_CALL and isinstance(x, np.ndarray):  # quickly, for single rows
            with self._lock:
                finite = self._engine.predict(x, out)
        else:
            finite = True
            for rows, part in _parts(x, n_inputs):
                with self._lock:
                    finite = self._engine.predict(part, out[rows]) and finite
        if not finite:
            for _rows, part in _parts(x, n_inputs):
                check_dense(part, n_inputs, "X", INPUT_LIMIT)  # says which value it is
        return out

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write it to a file, which is replaced at once or not at all."""
        header = {
            "format": INT8_FORMAT,
            "version": VERSION,
            "decides_at": self.decides_at,
            "layers": [
                {"activation": each.activation, "step": each.step, "zero_point": each.zero_point}
                for each in self.layers
            ],
        }
        arrays = {
            f"{name}_{index}": getattr(layer, name)
            for index, layer in enumerate(self.layers)
            for name in ("weights", "factors", "biases")
        }
        write_archive(path, header, **arrays)

    @classmethod
    def load(
        cls, path: str | os.PathLike[str], *, n_threads: int | None = None
    ) -> QuantizedNetwork:
        """Read what `save` wrote; its predictions are the same bits.

        Raises
        ------
        FormatError
            If the file is damaged, of another kind or of a newer version.
        OSError
            If it cannot be read.
        ValueError, TypeError
            If `n_threads` is not valid.
        """
        resolve_threads(n_threads)
        header, arrays = read_archive(Path(path), INT8_FORMAT)
        try:
            layers = [
                Int8Layer(
                    weights=arrays[f"weights_{index}"],
                    factors=arrays[f"factors_{index}"],
                    biases=arrays[f"biases_{index}"],
                    activation=given["activation"],
                    step=float(given["step"]),
                    zero_point=int(given["zero_point"]),
                )
                for index, given in enumerate(header["layers"])
            ]
            decides_at = header["decides_at"]
            _check_layers(layers)
            if len(arrays) != 1 + 3 * len(layers):
                raise ValueError(f"it has {len(arrays) - 1} arrays for {len(layers)} layers")
            if decides_at is not None:
                decides_at = float(decides_at)
        except Exception as error:  # a header that was tampered with raises almost anything
            raise FormatError(f"{path}: it does not describe a network in int8: {error}") from error
        return cls(layers, decides_at, n_threads)

    def __repr__(self) -> str:
        sizes = "-".join(map(str, self.sizes))
        hidden = ", ".join(dict.fromkeys(layer.activation for layer in self.layers[:-1])) or "none"
        in_float32 = 4 * sum(layer.weights.size + layer.biases.size for layer in self.layers)
        return (
            f"<QuantizedNetwork {sizes}, hidden {hidden}, output {self.layers[-1].activation}, "
            f"int8, {self.n_bytes:,} bytes (float32: {in_float32:,}), {self.backend_name} "
            f"({self.isa})>"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what is kept in a pickle or a copy; an engine is made again where it is loaded."""
        kept = self.__dict__.copy()
        del kept["_engine"], kept["_lock"]
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.__dict__.update(kept)
        self._bind()


def quantize(trainer: Trainer, X_sample: object) -> QuantizedNetwork:  # noqa: N803
    """Return the trainer's network in int8; see `Trainer.quantize`."""
    network = trainer.network
    # Whatever else a network may have besides weights and biases has no place in an `Int8Layer`.
    n_known = sum(w.size + b.size for w, b in zip(network.weights, network.biases, strict=True))
    if len(network.group_sizes) > 1:
        raise ValueError(
            f"a network whose output has several softmax groups ({list(network.group_sizes)}) "
            "cannot be quantized: in int8 there is one; predict in float32, with the Trainer"
        )
    if network.custom_activations or n_known != network.parameters.size:
        names = ", ".join(each.name for each in network.custom_activations)
        what = f"activations of your own ({names})" if names else "more than weights and biases"
        raise ValueError(
            f"a network with {what} cannot be quantized: in int8 there are weights, biases and "
            "fastmlp's own activations alone; predict in float32, with the Trainer"
        )
    scale = np.ravel(network.input_scale)
    # A layer has one step for all of its inputs, and those of the first one are of X itself.
    if np.any(network.input_center) or np.any(scale != scale[0]):
        raise ValueError(
            "a network with an input_center, or a different input_scale for each input, cannot be "
            "quantized: in int8 all inputs share one step; predict in float32, with the Trainer, "
            "or train with one input_scale on rows that are scaled before "
            "(sklearn.preprocessing.StandardScaler)"
        )
    _check_parameters(network.weights, network.biases)
    x = check_features(X_sample, network.sizes[0], "X_sample", INPUT_LIMIT)
    steps = [_input_step(x, network.sizes[0])]
    for index, name in enumerate(network.activations):
        values = trainer.hidden(x, index)
        what = f"what hidden layer {index} ({name}) hands on for X_sample"
        steps.append(_step(what, float(values.min()), float(values.max())))
    layers = []
    for index, (w, b, name) in enumerate(
        zip(network.weights, network.biases, network.layer_activations, strict=True)
    ):
        step, zero_point = steps[index]
        # Symmetric, so that a weight of 0 is 0. Of an output whose weights are all 0, any will do.
        largest = np.abs(w).max(axis=0).astype(np.float64)
        weight_steps = np.where(largest > 0.0, largest, 1.0) / LARGEST_WEIGHT
        of_input = step * float(scale[0]) if index == 0 else step
        with np.errstate(over="ignore", under="ignore"):
            factors = (of_input * weight_steps).astype(np.float32)
            layers.append(
                Int8Layer(
                    weights=np.rint(w / weight_steps).astype(np.int8),
                    factors=factors,
                    biases=b.astype(np.float32),
                    activation=name,
                    step=step,
                    zero_point=zero_point,
                )
            )
    return QuantizedNetwork(layers, LOSSES[trainer.plan.loss].decides_at, trainer.plan.n_threads)


ROWS_PER_CALL = 2**16
"""How many rows one engine call predicts, so that Ctrl-C comes through."""


def _parts(x: Features, n_inputs: int) -> Iterator[tuple[slice, NDArray[Any]]]:
    """Cut rows into parts that one engine call works on, dense."""
    step, dense = ROWS_PER_CALL, isinstance(x, Rows)
    if isinstance(x, Rows):
        step = min(step, x.most_rows())
    for start in range(0, len(x), step):
        rows = slice(start, start + step)
        yield rows, check_dense(x[rows], n_inputs, "X", INPUT_LIMIT) if dense else x[rows]


def _check_parameters(weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> None:
    for index, (w, b) in enumerate(zip(weights, biases, strict=True)):
        if not (np.isfinite(w).all() and np.isfinite(b).all()):
            raise ValueError(
                f"network.parameters must be finite to be quantized; got NaN or infinity in layer "
                f"{index}"
            )
        if not w.any():
            raise ValueError(
                f"the weights of layer {index} are all 0, which leaves nothing to quantize: train "
                "the network first"
            )
        if len(w) > MOST_INPUTS:
            raise ValueError(
                f"a layer must have at most {MOST_INPUTS:,} inputs to be quantized, so that its "
                f"sums fit 32 bits; layer {index} has {len(w):,}"
            )


def _input_step(x: Features, n_inputs: int) -> tuple[float, int]:
    """Return the step and the zero point of the network's inputs; pixels in uint8 are steps."""
    low, high, are_pixels = 0.0, 0.0, True
    for _rows, part in _parts(x, n_inputs):
        are_pixels = are_pixels and part.dtype == np.uint8
        low, high = min(low, float(part.min())), max(high, float(part.max()))
    return (1.0, 0) if are_pixels else _step("X_sample", low, high)


def _step(what: str, low: float, high: float) -> tuple[float, int]:
    """Return the step and the zero point for values from `low` to `high`, and 0 among them."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / LARGEST_STEP
    if not np.isfinite(step):
        raise ValueError(
            f"{what} must be finite, to be divided into {LARGEST_STEP} steps; got values from "
            f"{low:g} to {high:g}: predict in float32, or in float64"
        )
    if step < SMALLEST_STEP:  # nothing but 0, whatever a step is
        return 1.0, 0
    return step, round(-low / step)


SMALLEST_STEP = 1e-30
"""A smaller one has no reciprocal in float32, or none with all its digits."""


def _check_layers(layers: Sequence[Int8Layer]) -> None:
    """Refuse layers that the engines could not run, made here or read from a file."""
    if not layers:
        raise ValueError("there are no layers")
    fan_out = layers[0].weights.shape[0]
    for index, layer in enumerate(layers):
        is_last = index == len(layers) - 1
        expected = {
            "weights": ((fan_out, layer.weights.shape[-1]), np.int8),
            "factors": ((layer.weights.shape[-1],), np.float32),
            "biases": ((layer.weights.shape[-1],), np.float32),
        }
        for name, (shape, dtype) in expected.items():
            array = getattr(layer, name)
            if array.shape != shape or array.dtype != dtype or 0 in shape:
                raise ValueError(
                    f"{name} of layer {index} must have the shape {shape} and dtype "
                    f"{np.dtype(dtype)}; got {array.shape} and {array.dtype}"
                )
            if not np.isfinite(array).all():
                raise ValueError(
                    f"{name} of layer {index} must be finite in float32; got "
                    f"{array[~np.isfinite(array)][0]}: the network's numbers are too large for int8"
                )
        fan_out = layer.weights.shape[1]
        if layer.activation not in ACTIVATIONS and not (is_last and layer.activation == "softmax"):
            raise ValueError(f"unknown activation {layer.activation!r} of layer {index}")
        if len(layer.weights) > MOST_INPUTS or layer.weights.min() < -LARGEST_WEIGHT:
            raise ValueError(f"the sums of layer {index} may not fit 32 bits")
        if not (
            SMALLEST_STEP <= layer.step <= INPUT_LIMIT and 0 <= layer.zero_point <= LARGEST_STEP
        ):
            raise ValueError(
                f"layer {index} must have a positive step and a zero point from 0 to "
                f"{LARGEST_STEP}; got {layer.step!r} and {layer.zero_point!r}"
            )
