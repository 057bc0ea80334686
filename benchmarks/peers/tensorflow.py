"""TensorFlow with Keras layers: a whole epoch in one function, compiled by XLA."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem, Rows
from .peer import Model, Peer, flat

ACTIVATIONS = ("relu", "sigmoid", "tanh", "gelu", "silu", "selu", "elu", "softplus", "mish")


class TensorFlowModel(Model):
    """A Sequential of Dense layers; the loop over the batches is part of the graph."""

    def __init__(self, problem: Problem, rows: Rows, n_threads: int) -> None:
        super().__init__(problem, rows)
        import tensorflow

        self.tf = tf = tensorflow
        if tf.config.threading.get_intra_op_parallelism_threads() != n_threads:
            tf.config.threading.set_intra_op_parallelism_threads(n_threads)
            tf.config.threading.set_inter_op_parallelism_threads(1)
        layers = [tf.keras.Input(problem.sizes[:1])]
        layers += [
            tf.keras.layers.Dense(width, activation=problem.activation)
            for width in problem.sizes[1:-1]
        ]
        layers.append(tf.keras.layers.Dense(problem.sizes[-1]))
        self.module = tf.keras.Sequential(layers)
        self.x_tensor = tf.constant(self.x)
        targets = self.y.astype(np.float32)[:, None] if self.is_binary else self.y
        self.y_tensor = tf.constant(targets)
        self.epoch = tf.function(self.run_epoch, jit_compile=True)
        self.forward = tf.function(self.probabilities, jit_compile=True)
        self.reset()

    def step(self, rows: Any) -> None:
        """Change the weights by the batch of these rows (batch,)."""
        tf = self.tf
        x, y = tf.gather(self.x_tensor, rows), tf.gather(self.y_tensor, rows)
        with tf.GradientTape() as tape:
            z = self.module(x, training=True)
            if self.is_binary:
                losses = tf.nn.sigmoid_cross_entropy_with_logits(y, z)
            else:
                losses = tf.nn.sparse_softmax_cross_entropy_with_logits(y, z)
            loss = tf.reduce_mean(losses)
        variables = self.module.trainable_variables
        for variable, gradient in zip(variables, tape.gradient(loss, variables), strict=True):
            variable.assign_sub(self.problem.learning_rate * gradient)

    def run_epoch(self, order: Any) -> None:
        """Train on all rows in this order."""
        batch = min(self.problem.batch_size, order.shape[0])
        n_batches = order.shape[0] // batch
        batches = self.tf.reshape(order[: n_batches * batch], (n_batches, batch))
        for number in self.tf.range(n_batches):
            self.step(batches[number])
        if n_batches * batch < order.shape[0]:
            self.step(order[n_batches * batch :])

    def probabilities(self, x: Any) -> Any:
        """Return the outputs (rows, n_outputs)."""
        z = self.module(x)
        return self.tf.sigmoid(z) if self.is_binary else self.tf.nn.softmax(z)

    def load(self, weights: Sequence[NDArray[Any]], biases: Sequence[NDArray[Any]]) -> None:
        pairs = zip(weights, biases, strict=True)
        self.module.set_weights([part for pair in pairs for part in pair])

    def train(self, order: NDArray[np.int64]) -> None:
        self.epoch(self.tf.constant(order))
        self.module.trainable_variables[-1].numpy()  # wait until it is done

    def warm_up(self, n_rows: int) -> None:
        self.train(np.arange(n_rows))  # it compiles for the number of batches
        self.reset()

    def predict(self, x: NDArray[np.float32]) -> NDArray[Any]:
        found: NDArray[Any] = self.forward(self.tf.constant(x)).numpy()
        return found

    def parameters(self) -> NDArray[Any]:
        arrays = self.module.get_weights()
        return flat(arrays[::2], arrays[1::2])


class TensorFlow(Peer):
    """TensorFlow, an epoch per call."""

    name = "tensorflow"
    option = "tensorflow"
    title = "TensorFlow, Keras layers"
    compiles_slowly = True
    packages = ("tensorflow",)
    distributions = ("tensorflow",)

    def version(self) -> str:
        import importlib.metadata

        for distribution in ("tensorflow", "tensorflow-cpu"):
            try:
                return importlib.metadata.version(distribution)
            except importlib.metadata.PackageNotFoundError:
                continue
        return ""

    def environment(self, n_threads: int) -> dict[str, str]:
        # Its XLA runs on a pool of its own, which is sized as JAX's is.
        return {"CUDA_VISIBLE_DEVICES": "", "TF_CPP_MIN_LOG_LEVEL": "3", "NPROC": str(n_threads)}

    def refuses_training(self, problem: Problem) -> str:
        known = problem.activation in ACTIVATIONS
        return "" if known else f"no activation is listed for {problem.activation}"

    def model(self, problem: Problem, rows: Rows, n_threads: int) -> Model:
        return TensorFlowModel(problem, rows, n_threads)
