"""The multilayer perceptron of the experiments: fastmlp's own network and trainer."""

from __future__ import annotations

from fastmlp import Network, Trainer
from fastmlp.kernels.contract import Array
from fastmlp.optimizers import Adam


def train_perceptron(
    x: Array,
    y: Array,
    *,
    hidden: int,
    n_outputs: int,
    output: str,
    epochs: int,
    seed: int,
    learning_rate: float = 0.003,
) -> Trainer:
    """Train one hidden layer (relu) with Adam on rows x (rows, n_inputs), in batches of 32.

    Raises
    ------
    KeyboardInterrupt
        After Ctrl-C: half a training must not pass for a result.
    """
    network = Network([x.shape[1], hidden, n_outputs], output=output, seed=seed)
    trainer = Trainer(network, optimizer=Adam(learning_rate), batch_size=32, seed=seed)
    if trainer.fit(x, y, epochs=epochs).stop_reason == "interrupted":
        raise KeyboardInterrupt
    return trainer


def accuracy(trainer: Trainer, x: Array, y: Array) -> float:
    """Return the share of rows (rows, n_inputs) that are told right."""
    return float((trainer.predict(x) == y).mean())
