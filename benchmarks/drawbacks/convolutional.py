"""A convolutional network from scratch: convolution, max pooling, and the models made of them.

Images are (rows, height, width, channels). A convolution copies the patch under each position of
its kernel into a row of a matrix (im2col) and is then one matrix product; channels come last so
that the copies run over contiguous memory.
"""

from __future__ import annotations

import numpy as np

from fastmlp.initializers import INITIALIZERS
from fastmlp.kernels.contract import Array

from .model import Activation, Dense, Layer, Model

ImageShape = tuple[int, int, int]
"""Height, width, channels."""


class Convolution(Layer):
    """y[r, c] = sum of (patch of x at r, c) * kernel, plus a bias, at every place where it fits.

    Parameters
    ----------
    channels_in, channels_out : int
    kernel : int
        Height and width of the kernel, in pixels. The output is smaller than the input by
        ``kernel - 1``.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel: int) -> None:
        super().__init__()
        self.kernel = kernel
        # The rows of w are ordered as a patch is in memory: row, column, channel.
        self.shapes = {"w": (kernel * kernel * channels_in, channels_out), "b": (channels_out,)}

    def initialize(self, random: np.random.Generator) -> None:
        self.parameters["w"][...] = INITIALIZERS["he"](random, *self.shapes["w"])

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        self.patches = patches_of(x, self.kernel)  # (rows * height_out * width_out, fan_in)
        rows, height, width, _ = x.shape
        shape = (rows, height - self.kernel + 1, width - self.kernel + 1, -1)
        return (self.patches @ self.parameters["w"] + self.parameters["b"]).reshape(shape)

    def backward(self, dy: Array, needs_dx: bool) -> Array:
        rows, height, width, channels_out = dy.shape
        flat = dy.reshape(-1, channels_out)
        np.matmul(self.patches.T, flat, out=self.gradients["w"])
        np.sum(flat, axis=0, out=self.gradients["b"])
        if not needs_dx:
            return dy
        # Every pixel lies in up to kernel * kernel patches: their derivatives add up.
        d_patches = (flat @ self.parameters["w"].T).reshape(
            rows, height, width, self.kernel, self.kernel, -1
        )
        dx = np.zeros(self.x_shape, dy.dtype)
        for row in range(self.kernel):
            for column in range(self.kernel):
                part = dx[:, row : row + height, column : column + width]
                part += d_patches[:, :, :, row, column]
        return dx


def patches_of(x: Array, kernel: int) -> Array:
    """Return every patch of x (rows, height, width, channels) as a row of a matrix.

    The result is (rows * height_out * width_out, kernel * kernel * channels).
    """
    x = np.ascontiguousarray(x)
    rows, height, width, channels = x.shape
    of_row, of_height, of_width, _ = x.strides
    # A line of a patch, kernel * channels numbers, is contiguous: one axis, copied in one go.
    view = np.lib.stride_tricks.as_strided(
        x,
        (rows, height - kernel + 1, width - kernel + 1, kernel, kernel * channels),
        (of_row, of_height, of_width, of_height, x.itemsize),
        writeable=False,
    )
    return view.reshape(-1, kernel * kernel * channels)


class MaxPool(Layer):
    """The largest value of each window of `window` x `window` pixels; windows do not overlap.

    Rows and columns beyond the last whole window are left out.
    """

    def __init__(self, window: int) -> None:
        super().__init__()
        self.window = window

    def initialize(self, random: np.random.Generator) -> None:
        """Nothing to do: there are no parameters."""

    def _parts(self, x: Array) -> list[Array]:
        """Return views of x: the first pixel of every window, the second, and so on."""
        window = self.window
        height, width = (x.shape[1] // window) * window, (x.shape[2] // window) * window
        return [
            x[:, row:height:window, column:width:window]
            for row in range(window)
            for column in range(window)
        ]

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        first, *others = self._parts(x)
        largest = first.copy()  # (rows, height_out, width_out, channels)
        self.winner = np.zeros(largest.shape, np.int16)
        for index, part in enumerate(others, start=1):
            np.copyto(self.winner, index, where=part > largest)
            np.maximum(largest, part, out=largest)
        return largest

    def backward(self, dy: Array, needs_dx: bool) -> Array:
        dx = np.zeros(self.x_shape, dy.dtype)
        for index, part in enumerate(self._parts(dx)):
            np.multiply(dy, self.winner == index, out=part)
        return dx


class GlobalMaxPool(Layer):
    """The largest value of each channel's map, (rows, channels): what is seen, and not where."""

    def initialize(self, random: np.random.Generator) -> None:
        """Nothing to do: there are no parameters."""

    def forward(self, x: Array) -> Array:
        self.x_shape = x.shape
        pixels = x.reshape(len(x), -1, x.shape[3])  # (rows, height * width, channels)
        self.winner = pixels.argmax(axis=1)[:, None]
        return np.take_along_axis(pixels, self.winner, axis=1)[:, 0]

    def backward(self, dy: Array, needs_dx: bool) -> Array:
        rows, height, width, channels = self.x_shape
        dx = np.zeros((rows, height * width, channels), dy.dtype)
        np.put_along_axis(dx, self.winner, dy[:, None], axis=1)
        return dx.reshape(self.x_shape)


def small_cnn(
    image: ImageShape,
    n_classes: int,
    *,
    channels: tuple[int, int],
    kernels: tuple[int, int],
    hidden: int | None,
    seed: int,
    dtype: str = "float32",
) -> Model:
    """Make a network of two convolutions.

    convolution - pool by 2 - relu - convolution - pool - relu - [dense - relu -] dense. Pooling
    before relu gives the same as after it, for a quarter of the work.

    Parameters
    ----------
    image : tuple of int
        Height, width and channels of the input.
    n_classes : int
    channels, kernels : tuple of int
        Channels that each convolution makes, and the side of its kernel.
    hidden : int or None
        Units of the dense hidden layer, over a map pooled by 2. With None the second pooling takes
        the largest value of the whole map: what is seen counts, where it is does not.
    seed : int
    dtype : {"float32", "float64"}, default "float32"
    """
    height, width, channels_in = image
    first, second = channels
    height, width = ((side - kernels[0] + 1) // 2 for side in (height, width))
    height, width = (side - kernels[1] + 1 for side in (height, width))
    layers: list[Layer] = [
        Convolution(channels_in, first, kernels[0]),
        MaxPool(2),
        Activation("relu"),
        Convolution(first, second, kernels[1]),
    ]
    if hidden is None:
        layers += [GlobalMaxPool(), Activation("relu"), Dense(second, n_classes)]
    else:
        n_features = (height // 2) * (width // 2) * second
        layers += [MaxPool(2), Activation("relu"), Dense(n_features, hidden, init="he")]
        layers += [Activation("relu"), Dense(hidden, n_classes)]
    return Model(layers, "categorical_cross_entropy", seed, dtype)


def one_convolution(image: ImageShape, n_classes: int, channels: int, seed: int) -> Model:
    """Make the smallest network with a convolution (5 x 5), for measuring that layer."""
    layers = [
        Convolution(image[2], channels, 5),
        GlobalMaxPool(),
        Activation("relu"),
        Dense(channels, n_classes),
    ]
    return Model(layers, "categorical_cross_entropy", seed)
