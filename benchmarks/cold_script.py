"""What one contender does in a process of its own, for benchmarks/cold_start.py.

Run as a file, with one argument, a task in JSON; answers in lines of JSON. It imports nothing but
the standard library until it knows whose turn it is: imports are part of what is measured.

Every contender follows the same recipe (network, batches, optimizer, learning rate per epoch), each
written in the way that is quickest in its library. Weights start from He's initialisation (He et
al., 2015), except where the library has only its own (scikit-learn: Glorot).
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Callable
from typing import Any

MOMENTUM = 0.9

Task = dict[str, Any]
Run = tuple[Callable[[float], object], Callable[[Any], Any]]
"""A function that trains an epoch at a learning rate, and one from inputs to classes."""


def with_fastmlp(task: Task) -> Callable[[Any, Any], Run]:
    """Fastmlp, on the backend of the task."""
    from fastmlp import SGD, Network, Trainer
    from fastmlp.backend import get_backend

    get_backend(task["backend"])

    def build(x: Any, y: Any) -> Run:
        network = Network(task["sizes"], "relu", init="he", seed=task["seed"], input_scale=1 / 255)
        trainer = Trainer(
            network,
            optimizer=SGD(0.1, momentum=MOMENTUM, nesterov=True),
            batch_size=task["batch_size"],
            backend=task["backend"],
            n_threads=task["n_threads"],
            seed=task["seed"],
        )

        def train(learning_rate: float) -> None:
            trainer.optimizer = SGD(learning_rate, momentum=MOMENTUM, nesterov=True)
            trainer.fit(x, y, epochs=1)

        return train, trainer.predict

    return build


def with_sklearn(task: Task) -> Callable[[Any, Any], Run]:
    """scikit-learn's MLPClassifier, one `partial_fit` per epoch."""
    import numpy as np
    from sklearn.neural_network import MLPClassifier

    def build(x: Any, y: Any) -> Run:
        scale = np.float32(1 / 255)
        x = x * scale  # float32: a sixth of the time that float64 takes, half its memory
        model = MLPClassifier(
            task["sizes"][1:-1],
            activation="relu",
            solver="sgd",
            alpha=0.0,
            batch_size=task["batch_size"],
            momentum=MOMENTUM,
            nesterovs_momentum=True,
            random_state=task["seed"],
        )
        classes = np.arange(task["sizes"][-1])

        def train(learning_rate: float) -> None:
            model.learning_rate_init = learning_rate
            if hasattr(model, "_optimizer"):  # it has no public way to change the rate
                model._optimizer.learning_rate = learning_rate
            model.partial_fit(x, y, classes=classes)

        return train, lambda rows: model.predict(rows * scale)

    return build


def with_torch(task: Task) -> Callable[[Any, Any], Run]:
    """PyTorch, eager: compiling would take longer than the training."""
    import torch

    if task["n_threads"] is not None:
        torch.set_num_threads(task["n_threads"])
    torch.manual_seed(task["seed"])

    def build(x: Any, y: Any) -> Run:
        inputs = torch.from_numpy(x).float().mul_(1 / 255)
        labels = torch.from_numpy(y)
        layers: list[Any] = []
        for fan_in, fan_out in zip(task["sizes"][:-1], task["sizes"][1:], strict=True):
            layer = torch.nn.Linear(fan_in, fan_out)
            torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            torch.nn.init.zeros_(layer.bias)
            layers += [layer, torch.nn.ReLU()]
        model = torch.nn.Sequential(*layers[:-1])
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=MOMENTUM, nesterov=True)
        loss_of = torch.nn.functional.cross_entropy

        def train(learning_rate: float) -> None:
            optimizer.param_groups[0]["lr"] = learning_rate
            for rows in torch.randperm(len(inputs)).split(task["batch_size"]):
                optimizer.zero_grad(set_to_none=True)
                loss_of(model(inputs[rows]), labels[rows]).backward()
                optimizer.step()

        def predict(rows: Any) -> Any:
            with torch.inference_mode():
                return model(torch.from_numpy(rows).float().mul_(1 / 255)).argmax(1).numpy()

        return train, predict

    return build


def with_jax(task: Task) -> Callable[[Any, Any], Run]:
    """JAX: an epoch is one compiled scan; the rows of an incomplete last batch are left out."""
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_platforms", "cpu")
    batch_size = task["batch_size"]

    def forward(parameters: Any, x: Any) -> Any:
        a = x.astype(jnp.float32) * (1 / 255)
        for w, b in parameters[:-1]:
            a = jax.nn.relu(a @ w + b)
        w, b = parameters[-1]
        return a @ w + b

    def loss_of(parameters: Any, x: Any, y: Any) -> Any:
        log_p = jax.nn.log_softmax(forward(parameters, x))
        return -jnp.mean(jnp.take_along_axis(log_p, y[:, None], axis=1))

    def run_epoch(state: Any, x: Any, y: Any, key: Any, learning_rate: Any) -> Any:
        def step(state: Any, rows: Any) -> Any:
            parameters, velocity = state
            gradients = jax.grad(loss_of)(parameters, x[rows], y[rows])
            velocity = jax.tree.map(lambda v, g: MOMENTUM * v + g, velocity, gradients)
            parameters = jax.tree.map(
                lambda p, v, g: p - learning_rate * (MOMENTUM * v + g),
                parameters, velocity, gradients,
            )  # fmt: skip
            return (parameters, velocity), None

        n_batches = len(x) // batch_size
        order = jax.random.permutation(key, len(x))[: n_batches * batch_size]
        return jax.lax.scan(step, state, order.reshape(n_batches, batch_size))[0]

    epoch = jax.jit(run_epoch)
    classes_of = jax.jit(lambda parameters, x: forward(parameters, x).argmax(1))

    def build(x: Any, y: Any) -> Run:
        key = jax.random.key(task["seed"])
        parameters = []
        for fan_in, fan_out in zip(task["sizes"][:-1], task["sizes"][1:], strict=True):
            key, own = jax.random.split(key)
            w = jax.random.normal(own, (fan_in, fan_out)) * (2 / fan_in) ** 0.5
            parameters.append((w, jnp.zeros(fan_out)))
        state = [(parameters, jax.tree.map(jnp.zeros_like, parameters)), key]
        inputs, labels = jnp.asarray(x), jnp.asarray(y, jnp.int32)

        def train(learning_rate: float) -> None:
            state[1], own = jax.random.split(state[1])
            state[0] = jax.block_until_ready(epoch(state[0], inputs, labels, own, learning_rate))

        import numpy as np

        return train, lambda rows: np.asarray(classes_of(state[0][0], jnp.asarray(rows)))

    return build


LIBRARIES = {
    "fastmlp": with_fastmlp,
    "sklearn": with_sklearn,
    "torch": with_torch,
    "jax": with_jax,
}


def load(task: Task) -> tuple[Any, Any, Any, Any]:
    """Read the data: uint8 (rows, features) and int64 (rows,), for training and for the test."""
    import numpy as np

    with np.load(task["data"]) as file:
        return file["x_train"], file["y_train"], file["x_test"], file["y_test"]


def answer(**fields: object) -> None:
    """Write a line for the process that waits."""
    print(json.dumps(fields), flush=True)


def reach_accuracy(task: Task) -> None:
    """Train epoch by epoch and tell the test accuracy after each, up to the last target."""
    build = LIBRARIES[task["library"]](task)
    x, y, x_test, y_test = load(task)
    train, predict = build(x, y)
    for number, learning_rate in enumerate(task["learning_rates"]):
        train(learning_rate)
        accuracy = float((predict(x_test) == y_test).mean())
        answer(epoch=number + 1, accuracy=accuracy)
        if accuracy >= task["enough"]:
            return


def use_memory(task: Task) -> None:
    """Train one epoch; tell by how much the memory in use grew at most since the imports."""
    build = LIBRARIES[task["library"]](task)
    # So that the peak is not that of the imports (Linux; needs no privilege).
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = memory_in_use()[0]
    x, y, _, _ = load(task)
    train, _ = build(x, y)
    start = time.perf_counter()
    train(task["learning_rates"][0])
    seconds = time.perf_counter() - start
    answer(before=before, peak=memory_in_use()[1], seconds=seconds)


def memory_in_use() -> tuple[int, int]:
    """Return the bytes in use and the most so far; without /proc the latter twice.

    `getrusage` comes second: on Linux it begins with the peak of the process that started this one.
    """
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            sizes = dict(line.split(":", 1) for line in file)
        return int(sizes["VmRSS"].split()[0]) * 1024, int(sizes["VmHWM"].split()[0]) * 1024
    except (OSError, KeyError):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        peak *= 1 if sys.platform == "darwin" else 1024
        return peak, peak


JOBS = {"accuracy": reach_accuracy, "memory": use_memory}


def main(arguments: list[str]) -> None:
    """Do the task that the first argument describes."""
    task = json.loads(arguments[0])
    JOBS[task["job"]](task)


if __name__ == "__main__":
    main(sys.argv[1:])
