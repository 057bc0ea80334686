"""The kernels: products in the shapes of training, formulas, one step, one update."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.backend import get_backend
from fastmlp.datasets import Dataset
from fastmlp.kernels.formulas import ACTIVATIONS, LOSSES
from fastmlp.losses import DEFAULT_LOSSES, NAMED_LOSSES
from fastmlp.optimizers import NAMED_OPTIMIZERS

from .case import Case, Level, Prepared, Setting
from .problem import SEED, Problem

BATCH_SIZE = 128
HIDDEN = 128
STEP = Problem((784, HIDDEN, 10), BATCH_SIZE)
N_PARAMETERS = STEP.network().n_parameters
REFERENCE_ROWS = 16
WARM_UP_ROWS = 8
"""Enough rows to make a backend compile everything, few enough for the reference."""

# Name, title, shape (rows, inner, columns), and the lowest level.
PRODUCTS: tuple[tuple[str, str, tuple[int, int, int], Level], ...] = (
    ("matmul", "forward", (BATCH_SIZE, 784, HIDDEN), "quick"),
    ("matmul_weight_gradient", "weight gradient", (784, BATCH_SIZE, HIDDEN), "default"),
    ("matmul_input_gradient", "input gradient", (BATCH_SIZE, HIDDEN, 784), "default"),
    ("matmul_forward_512", "forward, 512 units", (BATCH_SIZE, 512, 512), "default"),
    ("matmul_weight_gradient_512", "weight gradient, 512", (512, BATCH_SIZE, 512), "full"),
    ("matmul_forward_2048", "forward, 2048 units", (512, 2048, 2048), "full"),
    ("matmul_weight_gradient_2048", "weight gradient, 2048", (2048, 512, 2048), "full"),
    ("matmul_small", "forward, table", (32, 20, 64), "default"),
)


def _random(shape: tuple[int, ...], precision: str) -> NDArray[Any]:
    return np.random.default_rng(SEED).standard_normal(shape).astype(precision)


def _prepare_product(setting: Setting, data: Dataset, *, inner: int, columns: int) -> Prepared:
    backend = get_backend(setting.contender)
    a = _random((setting.rows, inner), setting.precision)
    b = _random((inner, columns), setting.precision)
    return Prepared(
        call=lambda: backend.matmul(a, b),
        warm_up=lambda: backend.matmul(a[:WARM_UP_ROWS], b),
    )


def _prepare_activation(setting: Setting, data: Dataset, *, name: str) -> Prepared:
    backend = get_backend(setting.contender)
    z = _random((setting.rows, HIDDEN), setting.precision)
    return Prepared(
        call=lambda: backend.activation(name, z),
        warm_up=lambda: backend.activation(name, z[:WARM_UP_ROWS]),
    )


def _prepare_derivative(setting: Setting, data: Dataset, *, name: str) -> Prepared:
    backend = get_backend(setting.contender)
    z = _random((setting.rows, HIDDEN), setting.precision)
    a = np.asarray(backend.activation(name, z), setting.precision)
    return Prepared(
        call=lambda: backend.activation_derivative(name, z, a),
        warm_up=lambda: backend.activation_derivative(name, z[:WARM_UP_ROWS], a[:WARM_UP_ROWS]),
    )


def _prepare_loss(setting: Setting, data: Dataset, *, name: str) -> Prepared:
    backend = get_backend(setting.contender)
    z = _random((setting.rows, 10), setting.precision)
    targets = np.eye(10, dtype=setting.precision)[np.arange(setting.rows) % 10]
    if LOSSES[name].targets == "positive":
        targets += np.asarray(1, setting.precision)
    own = NAMED_LOSSES[name].parameters(10)
    return Prepared(
        call=lambda: backend.loss(name, z, targets, own),
        warm_up=lambda: backend.loss(name, z[:WARM_UP_ROWS], targets[:WARM_UP_ROWS], own),
    )


def _prepare_backpropagation(setting: Setting, data: Dataset) -> Prepared:
    rows = STEP.rows(data)
    trainer = STEP.trainer(setting.contender, setting.precision, setting.n_threads, 1 / 255)
    network, plan, state = trainer.network, trainer.plan, trainer.optimizer_state
    engine = get_backend(setting.contender).compile(
        plan, network.parameters, state, network.statistics
    )
    x = rows.x_train[: setting.rows]
    y = rows.y_train[: setting.rows].astype(np.int32)
    return Prepared(
        call=lambda: engine.gradients(x, y, None),
        warm_up=lambda: engine.gradients(x[:WARM_UP_ROWS], y[:WARM_UP_ROWS], None),
    )


def _prepare_update(setting: Setting, data: Dataset, *, name: str) -> Prepared:
    """Step by step with the same gradient; `rows` counts parameters."""
    backend = get_backend(setting.contender)
    optimizer = NAMED_OPTIMIZERS[name]
    n = setting.rows
    w, g = _random((2, n), setting.precision)
    state = np.zeros((len(optimizer.formula.states), n), setting.precision)
    coefficients = optimizer.coefficients(1, 1)[0].tolist()

    def warm_up() -> None:
        few = slice(WARM_UP_ROWS)
        backend.update(name, w[few].copy(), g[few], state[:, few].copy(), coefficients)

    return Prepared(lambda: backend.update(name, w, g, state, coefficients), warm_up)


def _products() -> Iterator[Case]:
    for name, title, (rows, inner, columns), level in PRODUCTS:
        yield Case(
            name,
            "kernels",
            f"{title} {rows}x{inner} @ {inner}x{columns}",
            f"Product of two matrices: {title} of a layer for a batch.",
            rows=rows,
            prepare=partial(_prepare_product, inner=inner, columns=columns),
            level=level,
            reference_rows=min(REFERENCE_ROWS, rows) if rows * inner * columns < 2**25 else 0,
            parameters={"rows": rows, "inner": inner, "columns": columns},
            flops=2 * rows * inner * columns,
            dimensions="default" if name == "matmul" else "full",
        )


def _formulas() -> Iterator[Case]:
    shape = {"rows": BATCH_SIZE, "columns": HIDDEN}
    for name in ACTIVATIONS:
        yield Case(
            name,
            "kernels",
            f"{name} {BATCH_SIZE}x{HIDDEN}",
            "An activation, element by element, of a hidden layer for a batch.",
            rows=BATCH_SIZE,
            prepare=partial(_prepare_activation, name=name),
            level="quick" if name == "sigmoid" else "default",
            reference_rows=REFERENCE_ROWS,
            parameters=shape | {"activation": name},
        )
        yield Case(
            f"{name}_derivative",
            "kernels",
            f"{name}' {BATCH_SIZE}x{HIDDEN}",
            "The derivative of an activation, element by element, of a hidden layer for a batch.",
            rows=BATCH_SIZE,
            prepare=partial(_prepare_derivative, name=name),
            reference_rows=REFERENCE_ROWS,
            parameters=shape | {"activation": name},
        )
    for name, loss in LOSSES.items():
        yield Case(
            name,
            "kernels",
            f"{loss.output} + {name} {BATCH_SIZE}x10".replace("identity + ", ""),
            "Losses and slopes of a batch of outputs, the output activation merged in.",
            rows=BATCH_SIZE,
            prepare=partial(_prepare_loss, name=name),
            level="default" if name in DEFAULT_LOSSES.values() else "full",
            reference_rows=REFERENCE_ROWS,
            parameters={"rows": BATCH_SIZE, "columns": 10, "loss": name, "output": loss.output},
        )


def _steps() -> Iterator[Case]:
    yield Case(
        "backpropagation",
        "kernels",
        f"backpropagation {STEP.name}",
        "Loss and all gradients of a batch of 128 images, forward and back; no update.",
        rows=BATCH_SIZE,
        prepare=_prepare_backpropagation,
        level="quick",
        reference_rows=2 * REFERENCE_ROWS,
        parameters=STEP.parameters,
        flops=STEP.training_flops(BATCH_SIZE),
        dimensions="full",
    )
    for name, optimizer in NAMED_OPTIMIZERS.items():
        alone = " Its orthogonal steps are not in it." if optimizer.formula.matrix else ""
        yield Case(
            f"update_{name}",
            "kernels",
            f"{name} update",
            f"One optimizer step of the {N_PARAMETERS:,} parameters of {STEP.name}.{alone}",
            rows=N_PARAMETERS,
            prepare=partial(_prepare_update, name=name),
            reference_rows=4096,
            parameters={"parameters": N_PARAMETERS, "optimizer": name},
        )


KERNELS = (*_products(), *_formulas(), *_steps())
