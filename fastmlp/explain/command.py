"""The command ``fastmlp explain``: its options, and what it does with them."""

from __future__ import annotations

import argparse
import sys

import numpy as np

from ..checks import check_integer
from ..commands.common import split_activations, split_widths
from ..kernels.formulas import ACTIVATIONS, LOSSES, OPTIMIZERS
from ..network import OUTPUTS, Network
from .document import MAX_ITERATIONS, MAX_PARAMETERS, UNTIL_LOSS, check_readable, explain
from .layout import to_ascii
from .notes_example import ACTIVATION, notes_network


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of ``fastmlp explain``."""
    parser.description = (
        "Walk through a small network with every number: forward pass, loss, the three derivatives "
        "of backpropagation, weight update, training, prediction. Without options: the example of "
        "the lecture notes (2-2-1, sigmoid)."
    )
    parser.add_argument(
        "--sizes",
        nargs="+",
        metavar="N,N,...",
        help="layer widths, input first: 3,4,2 (default: the notes')",
    )
    parser.add_argument(
        "--activation",
        metavar="NAME[,NAME...]",
        help=f"hidden activation, or one per hidden layer: {', '.join(ACTIVATIONS)} "
        f"(default: {ACTIVATION})",
    )
    parser.add_argument(
        "--output",
        metavar="NAME",
        help=f"output activation: {', '.join(OUTPUTS)} (default: sigmoid for one output, else "
        "softmax)",
    )
    parser.add_argument(
        "--loss",
        default="auto",
        metavar="NAME",
        help=f"{', '.join(LOSSES)} (default: what suits the output)",
    )
    parser.add_argument(
        "--x",
        metavar="X,X,...",
        help="the sample's inputs, as --x=-1,2 if the first is negative (default: drawn)",
    )
    parser.add_argument(
        "--y",
        metavar="Y[,Y...]",
        help="its target: a class number for softmax, else a value per output (default: drawn)",
    )
    parser.add_argument(
        "--learning-rate", type=float, default=None, metavar="RATE", help="default: 0.1"
    )
    parser.add_argument(
        "--optimizer", default="sgd", metavar="NAME", help=f"{', '.join(OPTIMIZERS)} (default: sgd)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, help="of the drawn weights, inputs and target (default: 0)"
    )
    parser.add_argument(
        "--until-loss",
        type=float,
        default=UNTIL_LOSS,
        metavar="LOSS",
        help=f"train until the loss is at most this (default: {UNTIL_LOSS})",
    )
    parser.add_argument(
        "--max-iterations",
        type=int,
        default=MAX_ITERATIONS,
        metavar="N",
        help=f"train for at most so many updates (default: {MAX_ITERATIONS})",
    )
    parser.add_argument(
        "--max-parameters",
        type=int,
        default=MAX_PARAMETERS,
        metavar="N",
        help=f"refuse larger networks, which nobody would read (default: {MAX_PARAMETERS})",
    )
    parser.add_argument(
        "--backend", default="python", metavar="NAME", help="who computes (default: python)"
    )
    parser.add_argument(
        "--precision", default="float64", metavar="NAME", help="float64 (default) or float32"
    )


def run(arguments: argparse.Namespace) -> int:
    """Print the worked example that the options ask for; return the exit status, 0.

    Raises
    ------
    ValueError, TypeError
        If an option is not valid; the text names it.
    """
    network = make_network(
        None if arguments.sizes is None else ",".join(arguments.sizes),
        arguments.activation,
        arguments.output,
        arguments.seed,
        arguments.max_parameters,
    )
    text = explain(
        network,
        None if arguments.x is None else numbers("x", arguments.x),
        None if arguments.y is None else numbers("y", arguments.y),
        loss=arguments.loss,
        optimizer=arguments.optimizer,
        learning_rate=arguments.learning_rate,
        backend=arguments.backend,
        precision=arguments.precision,
        seed=arguments.seed,
        until_loss=arguments.until_loss,
        max_iterations=arguments.max_iterations,
        max_parameters=arguments.max_parameters,
        progress=network.n_parameters > MAX_PARAMETERS,
    )
    sys.stdout.write(text if can_print(text) else to_ascii(text))
    sys.stdout.flush()
    return 0


def can_print(text: str) -> bool:
    """Whether standard output's encoding has every character of `text`."""
    encoding = getattr(sys.stdout, "encoding", None) or "ascii"
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def make_network(
    sizes: str | None,
    activation: str | None,
    output: str | None,
    seed: int,
    max_parameters: int = MAX_PARAMETERS,
) -> Network:
    """Return the network that the options describe: the notes', or one drawn from the seed.

    Its weights and biases are rounded to two decimals, to be followed with a calculator.
    """
    names = split_activations("--activation", activation or ACTIVATION)
    if sizes is None:
        return notes_network(names, output or "sigmoid")
    widths = split_widths("--sizes", sizes, "3,4,2")
    check_readable(widths, check_integer("max_parameters", max_parameters, 1))
    if output is None:
        output = "sigmoid" if widths[-1] == 1 else "softmax"
    network = Network(widths, names, output, seed=seed, dtype="float64")
    random = np.random.default_rng(seed)
    for biases in network.biases:
        biases[...] = random.uniform(-0.3, 0.3, len(biases))
    network.parameters[...] = network.parameters.round(2)
    return network


def numbers(argument: str, text: str) -> list[float]:
    """Read numbers with commas between them."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ValueError(
            f"{argument} must be numbers with commas between them, such as 0.1,0.2; got {text!r}"
        ) from None
