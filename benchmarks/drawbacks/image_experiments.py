"""Images: what a multilayer perceptron does not know about pixels, against a small CNN."""

from __future__ import annotations

import math
import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fastmlp import SGD, Network, Trainer
from fastmlp.kernels.contract import Array
from fastmlp.optimizers import Adam

from . import paragraphs
from .budgets import hidden_units
from .convolutional import Convolution, one_convolution, small_cnn
from .findings import Findings, Progress, part_of
from .image_data import (
    SIDE,
    Images,
    Labels,
    centred_digits,
    one_hot,
    photographs,
    varied_digits,
)
from .levels import Level
from .model import Model
from .perceptron import accuracy, train_perceptron
from .transforms import rotate_both_ways, scale, translate, translate_all_ways

CNN_CHANNELS, CNN_KERNELS = (8, 32), (5, 5)
CNN_RATE, CNN_BATCH = 0.004, 32
PERCEPTRON_EPOCHS = 30
TIMES_LARGER = 10
"""How many times the budget the larger perceptron gets."""
MOVED_COPIES, MOVED_EPOCHS = 10, 12
FARTHEST = 8
GROWTH_HIDDEN, GROWTH_CHANNELS, GROWTH_BATCH = 128, 8, 16
BYTES_PER_PARAMETER = 16
"""float32 parameter, gradient and the two states of Adam."""
PICTURED_UNITS = 12


@dataclass(frozen=True)
class Setup:
    """What every section gets."""

    level: Level
    seeds: Sequence[int]
    findings: Findings
    data_dir: str | os.PathLike[str] | None
    deadline: float = math.inf
    """Of the section, on the clock of `time.perf_counter`."""

    def seeds_in_time(self) -> Iterator[int]:
        """Yield the first seeds, and the others as long as one more is likely to be in time."""
        for count, seed in enumerate(self.seeds, start=1):
            start = time.perf_counter()
            yield seed
            now = time.perf_counter()
            if count >= self.level.fewest_seeds and now + (now - start) > self.deadline:
                return


def flat(images: Images) -> Images:
    """Return images as rows (rows, pixels)."""
    return images.reshape(len(images), -1)


def train_cnn(
    images: Images, labels: Labels, *, epochs: int, seed: int, done: Callable[[float], None]
) -> Model:
    """Train the CNN of the experiments with digits on images (rows, height, width)."""
    model = small_cnn(
        (*images.shape[1:], 1),
        10,
        channels=CNN_CHANNELS,
        kernels=CNN_KERNELS,
        hidden=None,
        seed=seed,
    )
    model.fit(
        [(images[..., None], one_hot(labels, 10))],
        epochs=epochs,
        batch_size=CNN_BATCH,
        optimizer=Adam(CNN_RATE),
        batch_done=done,
    )
    return model


def cnn_accuracy(model: Model, images: Images, labels: Labels) -> float:
    """Return the share of images (rows, height, width[, channels]) that are told right."""
    x = images if images.ndim == 4 else images[..., None]
    return float((model.outputs(x).argmax(axis=1) == labels).mean())


def partial_permutation(n: int, share: float, seed: int) -> NDArray[np.int64]:
    """Return a permutation of n places under which `share` of them, drawn at random, move."""
    random = np.random.default_rng([seed, n])
    moved = random.permutation(n)[: round(share * n)]
    permutation = np.arange(n)
    permutation[moved] = np.roll(moved, 1)
    return permutation


def permutation(setup: Setup, progress: Progress) -> None:
    """Train on digits whose pixels have changed places, in the same way in every image."""
    level, shares = setup.level, setup.level.permuted_shares
    epochs, rows = level.digit_epochs, level.digit_rows
    runs: dict[str, list[list[float]]] = defaultdict(list)
    part, n_parts = 0, len(setup.seeds) * len(shares)
    for seed in setup.seeds_in_time():
        x, y = varied_digits(rows, 2 * seed)
        x_test, y_test = varied_digits(level.digit_test_rows, 2 * seed + 1)
        scores: dict[str, list[float]] = defaultdict(list)
        for share in shares:
            order = partial_permutation(SIDE * SIDE, share, seed)
            moved, moved_test = (
                flat(images)[:, order].reshape(images.shape) for images in (x, x_test)
            )
            text = f"pixels permuted, seed {seed}"
            done = part_of(progress, part / n_parts, (part + 1) / n_parts, text)
            part += 1
            cnn = train_cnn(moved, y, epochs=epochs, seed=seed, done=done)
            small = hidden_units(cnn.n_parameters, SIDE * SIDE, 10)
            large = hidden_units(TIMES_LARGER * cnn.n_parameters, SIDE * SIDE, 10)
            perceptrons = [
                train_perceptron(
                    flat(moved), y, hidden=hidden, n_outputs=10, output="softmax",
                    epochs=PERCEPTRON_EPOCHS, seed=seed,
                )
                for hidden in (small, large)
            ]  # fmt: skip
            for label, trainer in zip(PERMUTATION_LABELS, perceptrons, strict=True):
                scores[label].append(accuracy(trainer, flat(moved_test), y_test))
            scores["CNN"].append(cnn_accuracy(cnn, moved_test, y_test))
            if seed == setup.seeds[0]:
                _draw_weights(setup.findings, share, perceptrons[1], cnn, order)
        for label, values in scores.items():
            runs[label].append(values)
        setup.findings.experiment(
            "permutation",
            title="The same permutation of the pixels in every image",
            question="Does a network use which pixels are neighbours?",
            x_label="share of the pixels that change places (%)",
            x=[100.0 * share for share in shares],
            y_label="test accuracy",
            runs=runs,
            paragraph=paragraphs.permutation,
        )
    said = f"{rows:,} images, {PERCEPTRON_EPOCHS} epochs"
    for label, trainer in zip(PERMUTATION_LABELS, perceptrons, strict=True):
        setup.findings.budget("pixels permuted", label, trainer.network.n_parameters, said)
    said = f"{rows:,} images, {epochs} epochs"
    setup.findings.budget("pixels permuted", "CNN", cnn.n_parameters, said)


PERMUTATION_LABELS = ("MLP", f"MLP, {TIMES_LARGER} times the parameters")


def _draw_weights(
    findings: Findings, share: float, trainer: Trainer, cnn: Model, order: NDArray[np.int64]
) -> None:
    """Write the first layers as pictures: of the plain images, and of wholly permuted ones."""
    if share not in (0.0, 1.0):
        return
    weights = trainer.network.weights[0][:, :PICTURED_UNITS].T  # (units, pixels)
    labels = [f"unit {unit + 1}" for unit in range(len(weights))]

    def draw(name: str, title: str, pixels: Array, paragraph: str) -> None:
        findings.picture(name, title, pixels.reshape(-1, SIDE, SIDE), labels, paragraph)

    if share == 0.0:
        draw("mlp_weights", "MLP: first-layer weights", weights, paragraphs.MLP_WEIGHTS)
        kernels = cnn.layers[0].parameters["w"].T.reshape(-1, CNN_KERNELS[0], CNN_KERNELS[0])
        names = [f"kernel {kernel + 1}" for kernel in range(len(kernels))]
        title = "CNN: first-layer kernels"
        findings.picture("cnn_kernels", title, kernels, names, paragraphs.CNN_KERNELS)
        return
    restored = np.empty_like(weights)
    restored[:, order] = weights
    title = "MLP trained on permuted pixels: first-layer weights"
    draw("mlp_weights_permuted", title, weights, paragraphs.MLP_WEIGHTS_PERMUTED)
    title = "The same weights, each put back to its pixel's own place"
    draw("mlp_weights_restored", title, restored, paragraphs.MLP_WEIGHTS_RESTORED)


def transforms(setup: Setup, progress: Progress) -> None:
    """Train on centred digits, test on moved, turned and resized ones."""
    level = setup.level
    rows, epochs = level.digit_rows, level.digit_epochs
    tests: dict[str, tuple[Sequence[float], Callable[[Images, float], Images]]] = {
        "translation": (level.shifts, translate_all_ways),
        "rotation": (level.angles, rotate_both_ways),
        "scale": (level.factors, scale),
    }
    runs: dict[str, dict[str, list[list[float]]]] = {name: defaultdict(list) for name in tests}
    for index, seed in enumerate(setup.seeds_in_time()):
        x, y = centred_digits(rows, 2 * seed)
        x_test, y_test = centred_digits(level.digit_test_rows, 2 * seed + 1)
        start, stop = index / len(setup.seeds), (index + 0.8) / len(setup.seeds)
        done = part_of(progress, start, stop, f"digits moved and turned, seed {seed}")
        cnn = train_cnn(x, y, epochs=epochs, seed=seed, done=done)
        hidden = hidden_units(cnn.n_parameters, SIDE * SIDE, 10)
        trainer = train_perceptron(
            flat(x), y, hidden=hidden, n_outputs=10, output="softmax",
            epochs=PERCEPTRON_EPOCHS, seed=seed,
        )  # fmt: skip
        x_moved, y_moved = moved_copies(x, y, seed)
        larger = hidden_units(TIMES_LARGER * cnn.n_parameters, SIDE * SIDE, 10)
        of_moved = train_perceptron(
            flat(x_moved), y_moved, hidden=larger, n_outputs=10, output="softmax",
            epochs=MOVED_EPOCHS, seed=seed,
        )  # fmt: skip
        for name, (values, transform) in tests.items():
            changed = [transform(x_test, value) for value in values]
            found = runs[name]
            found["MLP"].append([accuracy(trainer, flat(each), y_test) for each in changed])
            if name == "translation":
                found[MOVED_LABEL].append(
                    [accuracy(of_moved, flat(each), y_test) for each in changed]
                )
            found["CNN"].append([cnn_accuracy(cnn, each, y_test) for each in changed])
            title, question, x_label = TRANSFORM_TEXTS[name]
            setup.findings.experiment(
                name,
                title=title,
                question=question,
                x_label=x_label,
                x=list(values),
                y_label="test accuracy",
                runs=found,
                paragraph=getattr(paragraphs, name),
            )
    said = f"{rows:,} images, {PERCEPTRON_EPOCHS} epochs"
    count = trainer.network.n_parameters
    setup.findings.budget("digits moved, turned, resized", "MLP", count, said)
    said = f"{len(x_moved):,} images, {MOVED_EPOCHS} epochs"
    count = of_moved.network.n_parameters
    setup.findings.budget("digits moved", MOVED_LABEL, count, said)
    said = f"{rows:,} images, {epochs} epochs"
    setup.findings.budget("digits moved, turned, resized", "CNN", cnn.n_parameters, said)


MOVED_LABEL = f"MLP, {TIMES_LARGER} times the parameters, trained on moved digits"
TRANSFORM_TEXTS = {
    "translation": (
        "Digits moved away from the middle",
        "Does a network that learned a digit in the middle know it elsewhere?",
        "moved by (pixels)",
    ),
    "rotation": (
        "Digits turned",
        "Does it know a digit that is turned?",
        "turned by (degrees)",
    ),
    "scale": (
        "Digits made larger or smaller",
        "Does it know a digit of another size?",
        "size, relative to training",
    ),
}


def moved_copies(images: Images, labels: Labels, seed: int) -> tuple[Images, Labels]:
    """Return MOVED_COPIES of each image, each moved by up to 8 pixels, down or up and sideways."""
    random = np.random.default_rng([seed, len(images)])
    copies = []
    for _ in range(MOVED_COPIES):
        # A few moves serve many images each: one array operation per move.
        moved = np.empty_like(images)
        groups = random.integers(0, 32, len(images))
        for group in range(32):
            down, right = random.integers(-FARTHEST, FARTHEST + 1, 2)
            # Along one axis, as in the test.
            down, right = (down, 0) if group % 2 else (0, right)
            moved[groups == group] = translate(images[groups == group], float(down), float(right))
        copies.append(moved)
    return np.concatenate(copies), np.tile(labels, MOVED_COPIES)


def growth(setup: Setup, progress: Progress) -> None:
    """Measure the first layer as the image grows."""
    level = setup.level
    digits, labels = varied_digits(level.growth_rows, 0)
    names = ("parameters", "seconds", "memory")
    runs: dict[str, dict[str, list[list[float]]]] = {name: {} for name in names}
    table = []
    for index, side in enumerate(level.sides):
        progress(index / len(level.sides), f"images of {side} x {side} pixels")
        factor = side // SIDE
        images = digits.repeat(factor, axis=1).repeat(factor, axis=2)
        dense = _measure_dense(flat(images), labels, level.growth_repeats)
        convolution = _measure_convolution(images, labels, level.growth_repeats)
        for label, measured in (("MLP", dense), ("CNN", convolution)):
            n_parameters, seconds, maps = measured
            held = n_parameters * BYTES_PER_PARAMETER
            _add_column(runs["parameters"], label, [n_parameters])
            _add_column(runs["seconds"], label, seconds)
            _add_column(runs["memory"], f"{label}: parameters", [held])
            _add_column(runs["memory"], f"{label}: a batch on its way", [maps])
            spent = float(np.median(seconds))
            table.append((f"{side} x {side}", label, n_parameters, round(spent, 4), held, maps))
        for name in names:
            title, question, y_label = GROWTH_TEXTS[name]
            setup.findings.experiment(
                f"growth_{name}",
                title=title,
                question=question,
                x_label="height and width of the image (pixels)",
                x=list(level.sides[: index + 1]),
                y_label=y_label,
                runs=runs[name],
                paragraph=getattr(paragraphs, f"growth_{name}"),
            )
    setup.findings.table(
        "growth",
        "The first layer as the image grows",
        (
            "image", "model", "parameters", "seconds per 1,000 images (median)",
            "bytes of parameters, gradients and Adam's states", "bytes of a batch of 16 on its way",
        ),
        table,
    )  # fmt: skip
    said = f"{level.growth_rows:,} images, timed epochs only"
    for label, name in (
        ("MLP", f"MLP, first layer of {GROWTH_HIDDEN} units, at {SIDE} x {SIDE}"),
        ("CNN", f"CNN, first layer of {GROWTH_CHANNELS} kernels of 5 x 5"),
    ):
        count = int(runs["parameters"][label][0][0])
        setup.findings.budget("image grows (not equal)", name, count, said)


GROWTH_TEXTS = {
    "parameters": (
        "Parameters of the first layer as the image grows",
        "What does a larger picture cost in parameters?",
        "parameters of the first layer",
    ),
    "seconds": (
        "Training time as the image grows",
        "What does it cost in time?",
        "seconds per 1,000 images and epoch",
    ),
    "memory": (
        "Memory of the first layer as the image grows",
        "What does it cost in memory?",
        "bytes",
    ),
}


def _add_column(runs: dict[str, list[list[float]]], label: str, values: Sequence[float]) -> None:
    """Append one x to every repetition of a series."""
    rows = runs.setdefault(label, [[] for _ in values])
    for row, value in zip(rows, values, strict=True):
        row.append(float(value))


def _measure_dense(x: Images, labels: Labels, repeats: int) -> tuple[int, list[float], int]:
    """Return parameters, seconds of epochs of 1,000 images, bytes of a batch: of a dense layer."""
    network = Network([x.shape[1], GROWTH_HIDDEN, 10], seed=0)
    trainer = Trainer(network, optimizer=SGD(0.01), batch_size=GROWTH_BATCH, seed=0)
    seconds = _time_epochs(lambda: trainer.fit(x, labels).stop_reason, repeats, len(x))
    batch = GROWTH_BATCH * (x.shape[1] + GROWTH_HIDDEN) * 4
    return (x.shape[1] + 1) * GROWTH_HIDDEN, seconds, batch


def _measure_convolution(
    images: Images, labels: Labels, repeats: int
) -> tuple[int, list[float], int]:
    """Return the same of a convolution of 8 kernels of 5 x 5 pixels."""
    model = one_convolution((*images.shape[1:], 1), 10, GROWTH_CHANNELS, seed=0)
    groups = [(images[..., None], one_hot(labels, 10))]

    def epoch() -> str:
        model.fit(groups, epochs=1, batch_size=GROWTH_BATCH, optimizer=SGD(0.01))
        return ""

    seconds = _time_epochs(epoch, repeats, len(images))
    layer = model.layers[0]
    assert isinstance(layer, Convolution)
    batch = layer.forward(images[:GROWTH_BATCH, ..., None]).nbytes + layer.patches.nbytes
    return sum(part.size for part in layer.parameters.values()), seconds, batch


def _time_epochs(epoch: Callable[[], str], repeats: int, n_rows: int) -> list[float]:
    """Return what 1,000 images would take, by repeated epochs; a first one is not counted."""
    seconds = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        if epoch() == "interrupted":
            raise KeyboardInterrupt
        seconds.append((time.perf_counter() - start) * 1000 / n_rows)
    return seconds[1:]


def photographs_experiment(setup: Setup, progress: Progress) -> None:
    """Compare test accuracies on CIFAR-10, by the number of images trained on."""
    level = setup.level
    data, reason = photographs(
        max(level.photograph_rows), level.photograph_test_rows, setup.data_dir
    )
    if reason:
        setup.findings.skip("CIFAR-10", reason)
    counts = [rows for rows in level.photograph_rows if rows <= len(data.x_train)]
    counts = counts or [len(data.x_train)]
    total, before = len(setup.seeds) * sum(counts), 0
    runs: dict[str, list[list[float]]] = defaultdict(list)
    for seed in setup.seeds_in_time():
        scores: dict[str, list[float]] = {"MLP": [], "CNN": []}
        for rows in counts:
            random = np.random.default_rng([seed, rows])
            chosen = random.permutation(len(data.x_train))[:rows]
            x, y = data.x_train[chosen], data.y_train[chosen]
            text = f"{data.title}, {rows:,} images, seed {seed}"
            done = part_of(progress, before / total, (before + rows) / total, text)
            before += rows
            cnn = small_cnn(
                (32, 32, 3), 10, channels=(12, 24), kernels=(3, 4), hidden=64, seed=seed
            )
            cnn.fit(
                [(x, one_hot(y, 10))],
                epochs=level.photograph_epochs,
                batch_size=CNN_BATCH,
                optimizer=Adam(PHOTOGRAPH_RATE),
                batch_done=done,
            )
            hidden = hidden_units(cnn.n_parameters, x[0].size, 10)
            trainer = train_perceptron(
                flat(x), y, hidden=hidden, n_outputs=10, output="softmax",
                epochs=data.perceptron_epochs, seed=seed,
            )  # fmt: skip
            scores["MLP"].append(accuracy(trainer, flat(data.x_test), data.y_test))
            scores["CNN"].append(cnn_accuracy(cnn, data.x_test, data.y_test))
        for label, values in scores.items():
            runs[label].append(values)
        setup.findings.experiment(
            "photographs",
            title=f"Accuracy by the number of training images: {data.title}",
            question=f"And on colour pictures ({data.note}), with the same number of parameters?",
            x_label="training images",
            x=counts,
            y_label="test accuracy",
            runs=runs,
            paragraph=paragraphs.photographs(data.title, data.note),
        )
    images = f"up to {max(counts):,} images"
    said = f"{images}, {data.perceptron_epochs} epochs"
    setup.findings.budget(data.title, "MLP", trainer.network.n_parameters, said)
    said = f"{images}, {level.photograph_epochs} epochs"
    setup.findings.budget(data.title, "CNN", cnn.n_parameters, said)


PHOTOGRAPH_RATE = 0.003
