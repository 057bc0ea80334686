"""What is seen in each experiment, and why, in plain words with the numbers of the run.

Each function takes an experiment as `findings` writes it. A sentence that says what was seen is
chosen by the numbers; one that says why is only said of what was seen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Experiment = dict[str, Any]

NOTICEABLE = 0.02
"""Accuracies closer than this are called the same."""


def mean_of(experiment: Experiment, label: str, at: int) -> float:
    """Return the mean of a series at an x, by its index."""
    for series in experiment["series"]:
        if series["label"] == label:
            return float(series["mean"][at])
    raise KeyError(label)


def percent(value: float) -> str:
    """Return a share as text: ``97.3%``."""
    return f"{100 * value:.1f}%"


def seeds_of(experiment: Experiment) -> str:
    """Return how many runs the means are of."""
    count = len(experiment["series"][0]["runs"])
    return "one run" if count == 1 else f"the mean of {count} runs"


def same(experiment: Experiment, label: str, at: int, other: int) -> bool:
    """Return whether two means differ by no more than is noticeable, or than the runs differ."""
    (series,) = (each for each in experiment["series"] if each["label"] == label)
    spread = max(series["high"][i] - series["low"][i] for i in (at, other))
    return bool(abs(series["mean"][at] - series["mean"][other]) <= max(NOTICEABLE, spread))


def _change(experiment: Experiment, label: str, at: int, other: int) -> str:
    """Say how an accuracy changes from one x to another."""
    before, after = mean_of(experiment, label, at), mean_of(experiment, label, other)
    told = f"from {percent(before)} to {percent(after)}"
    if abs(before - after) <= NOTICEABLE:
        return f"hardly changes ({told})"
    if same(experiment, label, at, other):
        return f"changes by no more than it does from run to run ({told})"
    return f"{'rises' if after > before else 'falls'} {told}"


def permutation(experiment: Experiment) -> str:
    """Of the permutation of pixels."""
    mlp = mean_of(experiment, "MLP", 0), mean_of(experiment, "MLP", -1)
    cnn = mean_of(experiment, "CNN", 0), mean_of(experiment, "CNN", -1)
    text = (
        "All images are scrambled in the same way. The MLP's accuracy "
        f"{_change(experiment, 'MLP', 0, -1)}, the CNN's {_change(experiment, 'CNN', 0, -1)} "
        f"({seeds_of(experiment)}). "
    )
    if same(experiment, "MLP", 0, -1):
        text += (
            "To the MLP every pixel is just a numbered input; in which order they come makes no "
            "difference, so it never knew which pixels are neighbours. "
        )
    if cnn[0] > cnn[1] and not same(experiment, "CNN", 0, -1):
        text += (
            "The CNN is built on neighbourhood: it looks for small patterns of adjacent pixels, "
            "and scrambling tears them apart. "
        )
    if cnn[0] - mlp[0] > NOTICEABLE:
        text += (
            f"With the pixels in order that knowledge is worth {100 * (cnn[0] - mlp[0]):.1f} "
            "percentage points to the CNN, for the same number of parameters."
        )
    else:
        text += "With the pixels in order the CNN was not better here."
    larger = [s["label"] for s in experiment["series"] if "times" in s["label"]]
    if larger:
        value = mean_of(experiment, larger[0], 0)
        text += f" (The {larger[0].replace(', ', ' with ')} reaches {percent(value)}.)"
    return text


def _first_below(experiment: Experiment, label: str, limit: float) -> float | None:
    """Return the first x at which a series is below a limit."""
    for index, x in enumerate(experiment["x"]):
        if mean_of(experiment, label, index) < limit:
            return float(x)
    return None


def translation(experiment: Experiment) -> str:
    """Of digits moved away from the middle."""
    x = experiment["x"]
    middle = x.index(2) if 2 in x else len(x) // 2
    mlp, cnn = ([mean_of(experiment, name, i) for i in (0, middle, -1)] for name in ("MLP", "CNN"))
    text = (
        f"Trained on centred digits, the MLP tells {percent(mlp[0])} of new centred digits right, "
        f"{percent(mlp[1])} when they are moved by {x[middle]:g} pixels and {percent(mlp[2])} at "
        f"{x[-1]:g}; the CNN {percent(cnn[0])}, {percent(cnn[1])} and {percent(cnn[2])} "
        f"({seeds_of(experiment)}; guessing gives 10%). "
    )
    if mlp[0] - mlp[2] > NOTICEABLE:
        text += (
            "The MLP has separate weights for each pixel: a stroke in a place where training never "
            "had one meets weights that never learned about it. "
        )
    if cnn[1] - mlp[1] > NOTICEABLE:
        text += (
            "The CNN uses the same small kernels everywhere and keeps the strongest answer of the "
            "whole picture, so that it depends less on the place"
        )
        text += "; near the edge that ends too. " if cnn[0] - cnn[2] > 0.1 else ". "
    label = next(each["label"] for each in experiment["series"] if "moved" in each["label"])
    moved, first = mean_of(experiment, label, -1), mean_of(experiment, label, 0)
    text += (
        "Shown the digits in many places, and with ten times the parameters, an MLP gets "
        f"{percent(first)} right in the middle and {percent(moved)} at {x[-1]:g} pixels"
    )
    if moved - mlp[2] > NOTICEABLE:
        text += ": it can learn other places, but each one anew, with more weights and examples"
    return text + "."


def _robustness(experiment: Experiment, what: str, trained: int, why: str) -> str:
    """Compare the accuracies at the x where both are worst hit with those at the trained one."""
    mlp, cnn = (
        [mean_of(experiment, name, i) for i in range(len(experiment["x"]))]
        for name in ("MLP", "CNN")
    )
    worst = min(range(len(mlp)), key=lambda i: mlp[i])
    text = (
        f"The MLP goes from {percent(mlp[trained])} to {percent(mlp[worst])} and the CNN from "
        f"{percent(cnn[trained])} to {percent(cnn[worst])} {what.format(experiment['x'][worst])} "
        f"({seeds_of(experiment)}). "
    )
    ahead = sum(c - m for m, c in zip(mlp, cnn, strict=True)) / len(mlp)
    if abs(ahead) < NOTICEABLE:
        text += "On average over what was tried the two are alike. "
    else:
        text += (
            f"On average over what was tried the {'CNN' if ahead > 0 else 'MLP'} is ahead by "
            f"{100 * abs(ahead):.1f} percentage points. "
        )
    if cnn[trained] - cnn[worst] > NOTICEABLE:
        text += why
    return text.strip()


def rotation(experiment: Experiment) -> str:
    """Of turned digits."""
    why = (
        "The CNN suffers as well: its kernels are shared over places, but nothing in it is shared "
        "over angles. What neither network is built for must be in the training images."
    )
    return _robustness(experiment, "for digits turned by {:g} degrees", 0, why)


def scale(experiment: Experiment) -> str:
    """Of digits of another size."""
    distances = [abs(x - 1.0) for x in experiment["x"]]
    why = (
        "The CNN suffers as well: a kernel fits strokes of one thickness and curves of one size, "
        "and nothing in it is shared over sizes."
    )
    trained = distances.index(min(distances))
    return _robustness(experiment, "for digits {:g} times as large", trained, why)


def _growth(experiment: Experiment, label: str) -> tuple[float, float, float]:
    first, last = mean_of(experiment, label, 0), mean_of(experiment, label, -1)
    return first, last, last / first


def _pixels(experiment: Experiment) -> str:
    x = experiment["x"]
    return (
        f"from {x[0]} x {x[0]} to {x[-1]} x {x[-1]} pixels ({(x[-1] / x[0]) ** 2:g} times as many)"
    )


def growth_parameters(experiment: Experiment) -> str:
    """Of the parameters."""
    first, last, _ = _growth(experiment, "MLP")
    of_cnn = mean_of(experiment, "CNN", -1)
    return (
        f"As the image grows {_pixels(experiment)}, the MLP's first layer of 128 units goes from "
        f"{first:,.0f} to {last:,.0f} parameters, because every unit has a weight for every pixel; "
        f"the convolution has {of_cnn:,.0f}, whatever the image: a kernel is as large as the "
        "pattern it looks for. Every one of those weights must be learned from examples."
    )


def growth_seconds(experiment: Experiment) -> str:
    """Of the time."""
    mlp, cnn = _growth(experiment, "MLP"), _growth(experiment, "CNN")
    text = (
        f"An epoch of 1,000 images takes the MLP {mlp[0]:.3g} s and then {mlp[1]:.3g} s "
        f"({mlp[2]:.3g} times), the CNN {cnn[0]:.3g} s and then {cnn[1]:.3g} s ({cnn[2]:.3g} "
        f"times), as the image grows {_pixels(experiment)}. "
    )
    return text + (
        "Compare how each grows, not one with the other: the MLP runs on fastmlp's fastest "
        "backend, the CNN on NumPy, and it computes something at every pixel where the MLP "
        "multiplies each pixel by each unit's weight. A convolution saves parameters, not time."
    )


def growth_memory(experiment: Experiment) -> str:
    """Of the memory."""
    mega = 2**20
    mlp = mean_of(experiment, "MLP: parameters", -1) / mega
    cnn = mean_of(experiment, "CNN: parameters", -1) / mega
    mlp_batch = mean_of(experiment, "MLP: a batch on its way", -1) / mega
    cnn_batch = mean_of(experiment, "CNN: a batch on its way", -1) / mega
    side = experiment["x"][-1]
    text = (
        f"At {side} x {side} pixels the MLP's first layer holds {mlp:,.1f} MiB (each parameter "
        "with its gradient and Adam's two states) and a batch of 16 images on its way needs "
        f"{mlp_batch:,.1f} MiB; the convolution's parameters hold {cnn:,.3f} MiB, its batch "
        f"{cnn_batch:,.1f} MiB. "
    )
    return text + (
        "The memory is in different places: the MLP's in what it has learned, which has to be "
        "stored and shipped; the CNN's in its maps and copied patches, which are thrown away after "
        "each batch (and which libraries that convolve without copying keep smaller)."
    )


def photographs(title: str, note: str) -> Callable[[Experiment], str]:
    """Of CIFAR-10, or of what stands in for it."""

    def paragraph(experiment: Experiment) -> str:
        mlp, cnn = mean_of(experiment, "MLP", -1), mean_of(experiment, "CNN", -1)
        text = (
            f"On {title} ({note}), trained on {experiment['x'][-1]:,} images, the MLP reaches "
            f"{percent(mlp)} and the CNN {percent(cnn)} ({seeds_of(experiment)}; guessing gives "
            "10%), with the same number of parameters. "
        )
        if cnn - mlp > NOTICEABLE:
            return text + (
                "The CNN spends few weights on edges and colours that are looked for everywhere, "
                "and has the rest for what they mean together; the MLP must learn every edge again "
                "for every place. Both would gain from more images."
            )
        if mlp - cnn > NOTICEABLE:
            return text + "In this run, with so few images, the MLP was ahead."
        return text + "In this run, with so few images, the two are alike."

    return paragraph


def _steps_index(experiment: Experiment, steps: int) -> int:
    """Return the index of the longest x that is not longer than `steps`."""
    return max(i for i, x in enumerate(experiment["x"]) if x <= steps)


def adding(longest: int) -> Callable[[Experiment], str]:
    """Of the adding problem; `longest` is the greatest length trained on."""

    def paragraph(experiment: Experiment) -> str:
        known = _steps_index(experiment, longest)
        x = experiment["x"]
        beyond = min(range(len(x)), key=lambda i: abs(x[i] - 2 * longest))
        at_known, at_beyond = (
            {name: mean_of(experiment, name, i) for name in ("MLP", "RNN", "LSTM")}
            for i in (known, beyond)
        )
        guess = mean_of(experiment, "always the mean", 0)
        text = (
            f"Two numbers of a sequence are marked; their sum is wanted. At {x[known]} steps, the "
            f"longest of the training, the MLP is off by {at_known['MLP']:.3f}, the RNN by "
            f"{at_known['RNN']:.3f} and the LSTM by {at_known['LSTM']:.3f}; at {x[beyond]} steps "
            f"by {at_beyond['MLP']:.3f}, {at_beyond['RNN']:.3f} and {at_beyond['LSTM']:.3f} "
            f"({seeds_of(experiment)}; always answering the mean is off by {guess:.3f}). "
        )
        if at_beyond["MLP"] > 2 * at_known["MLP"]:
            text += (
                f"The MLP has {longest} steps of input and no more: a number that was marked "
                "before them is out of its sight. "
            )
        if at_beyond["LSTM"] < 0.5 * at_beyond["MLP"]:
            text += (
                "The LSTM uses the same weights at each step and keeps the sum in a cell that a "
                "gate opens only at a mark, so that length matters less"
            )
            text += "; still it drifts, step by step. " if at_beyond["LSTM"] > 0.04 else ". "
        if at_beyond["RNN"] > 2 * at_beyond["LSTM"]:
            text += (
                "The plain RNN rewrites its whole memory at every step, and what it holds wears "
                "off sooner."
            )
        return text.strip()

    return paragraph


def recall(longest: int) -> Callable[[Experiment], str]:
    """Of the recall task; `longest` is the greatest length trained on."""

    def paragraph(experiment: Experiment) -> str:
        known, x = _steps_index(experiment, longest), experiment["x"]
        beyond = min(range(len(x)), key=lambda i: abs(x[i] - 2 * longest))
        at_known, at_beyond, at_end = (
            {name: mean_of(experiment, name, i) for name in ("MLP", "RNN", "LSTM")}
            for i in (known, beyond, -1)
        )
        text = (
            "One of four symbols is marked, and is to be named at the end. At "
            f"{x[known]} steps, the longest of the training, the MLP is right in "
            f"{percent(at_known['MLP'])}, the RNN in {percent(at_known['RNN'])} and the LSTM in "
            f"{percent(at_known['LSTM'])}; at {x[beyond]} steps in {percent(at_beyond['MLP'])}, "
            f"{percent(at_beyond['RNN'])} and {percent(at_beyond['LSTM'])}; at {x[-1]} in "
            f"{percent(at_end['MLP'])}, {percent(at_end['RNN'])} and {percent(at_end['LSTM'])} "
            f"({seeds_of(experiment)}; guessing gives 25%). "
        )
        if at_known["MLP"] - at_beyond["MLP"] > NOTICEABLE:
            text += (
                f"What was marked more than {longest} steps before the end does not reach the "
                "MLP, which then guesses. "
            )
        if at_known["LSTM"] - at_known["MLP"] > NOTICEABLE:
            text += (
                "Inside its window too the MLP is behind, on the same training sequences: it "
                "learns about each place from only those that are marked there. "
            )
        best = max(at_beyond["RNN"], at_beyond["LSTM"])
        if best - at_beyond["MLP"] > NOTICEABLE:
            text += (
                "A network that carries a state from step to step can go on for longer than it "
                "ever practised"
            )
            drop = at_beyond["LSTM"] - at_end["LSTM"]
            text += ", though not without end. " if drop > NOTICEABLE else ". "
        return text.strip()

    return paragraph


def shift(experiment: Experiment) -> str:
    """Of the signal that comes later."""
    x = experiment["x"]
    one = x.index(1) if 1 in x else 1
    before, after = (
        {name: mean_of(experiment, name, i) for name in ("MLP", "RNN", "LSTM")} for i in (0, one)
    )
    text = (
        "In training the marked symbol came at the steps 1, 4 or 6 of 12. One step later than "
        f"that, the MLP's accuracy {_change(experiment, 'MLP', 0, one)}, the RNN's "
        f"{_change(experiment, 'RNN', 0, one)}, the LSTM's {_change(experiment, 'LSTM', 0, one)} "
        f"({seeds_of(experiment)}; guessing gives 25%). "
    )
    if before["MLP"] - after["MLP"] > NOTICEABLE:
        text += (
            "To the MLP, step 5 is another input than step 4, with weights of its own that never "
            "saw a mark: what it learned about one step says nothing about the next. "
        )
    if same(experiment, "LSTM", 0, one) and after["LSTM"] - after["MLP"] > NOTICEABLE:
        text += "The LSTM looks at every step with the same weights: a mark is a mark. "
    if before["RNN"] - after["RNN"] > NOTICEABLE:
        text += (
            "The plain RNN has shared weights too, but all of its memory changes at every step: "
            "what is read off at the end fits the numbers of steps it has practised. "
        )
    last = mean_of(experiment, "LSTM", -1)
    if before["LSTM"] - last > NOTICEABLE:
        text += f"At {x[-1]} steps later the LSTM has fallen to {percent(last)} as well."
    return text.strip()


def summary(experiments: dict[str, Experiment]) -> str:
    """Return the whole in a few sentences, of what was run."""
    parts = []
    if "permutation" in experiments:
        found = experiments["permutation"]
        change = mean_of(found, "MLP", -1) - mean_of(found, "MLP", 0)
        of_cnn = mean_of(found, "CNN", -1) - mean_of(found, "CNN", 0)
        parts.append(
            f"scrambling the pixels moves the MLP's accuracy by {100 * change:+.1f} percentage "
            f"points and the CNN's by {100 * of_cnn:+.1f}"
        )
    if "translation" in experiments:
        found = experiments["translation"]
        at = found["x"].index(2) if 2 in found["x"] else -1
        parts.append(
            f"digits {found['x'][at]:g} pixels off the middle are told right in "
            f"{percent(mean_of(found, 'MLP', at))} (MLP) and "
            f"{percent(mean_of(found, 'CNN', at))} (CNN)"
        )
    if "shift" in experiments:
        found = experiments["shift"]
        at = found["x"].index(1) if 1 in found["x"] else -1
        parts.append(
            f"a signal one step later is recalled in {percent(mean_of(found, 'MLP', at))} (MLP) "
            f"and {percent(mean_of(found, 'LSTM', at))} (LSTM)"
        )
    if not parts:
        return ""
    said = "; ".join(parts)
    return f"In this run {said}. Networks that are compared have equal parameter budgets."


MLP_WEIGHTS = (
    "The weights from all pixels to each of the first units: a picture as large as the image "
    "itself, for one unit. White is positive, black negative."
)
CNN_KERNELS = (
    "The CNN's first kernels: small patterns of light and dark that are looked for at every place "
    "of the image. White is positive, black negative."
)
MLP_WEIGHTS_PERMUTED = (
    "The same network, trained on images whose pixels have changed places: no picture to be seen, "
    "and the network does not mind."
)
MLP_WEIGHTS_RESTORED = (
    "Each weight of the picture before put back to where its pixel came from. What the network "
    "learned is of the same kind as without the permutation; the order was only in our eyes."
)
