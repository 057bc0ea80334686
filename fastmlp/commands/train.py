"""``fastmlp train``: train a network on a data set, show its test accuracy, save it."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from .common import (
    INTERRUPTED,
    check_output_file,
    limit_threads,
    split_activations,
    split_widths,
    warn_of_isa_cap,
)

EXAMPLES = """\
Ctrl-C ends training; what was learned by then is saved.

examples:
  fastmlp train
  fastmlp train --data mnist --data-dir ~/mnist --hidden 256,128 --epochs 20 --save mnist.npz
  fastmlp train --data digits --optimizer adam --learning-rate 0.001 --activation gelu
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare what the command takes."""
    parser.epilog = EXAMPLES
    parser.add_argument(
        "--data", choices=("digits", "mnist"), default="digits",
        help="what to train on; digits is drawn by the program and needs no files (default)",
    )  # fmt: skip
    parser.add_argument("--data-dir", metavar="DIR", help="the folder with MNIST's four files")
    parser.add_argument(
        "--hidden", metavar="WIDTHS", default="128",
        help="widths of the hidden layers, such as 128 or 128,64 (default: 128)",
    )  # fmt: skip
    parser.add_argument("--epochs", metavar="N", type=int, default=10, help="default: 10")
    parser.add_argument("--batch-size", metavar="N", type=int, default=128, help="default: 128")
    parser.add_argument(
        "--learning-rate", metavar="RATE", type=float,
        help="default: 0.1 for sgd, else what the optimizer starts with",
    )  # fmt: skip
    parser.add_argument(
        "--optimizer", metavar="NAME", default="sgd",
        help="sgd, momentum, nesterov, adam, adamw, nadam, rmsprop, adagrad, lion, muon "
        "(default: sgd)",
    )  # fmt: skip
    parser.add_argument(
        "--activation", metavar="NAME[,NAME...]", default="relu",
        help="of the hidden layers, or one per hidden layer: relu, gelu, tanh, sigmoid, ... "
        "(default: relu)",
    )  # fmt: skip
    parser.add_argument(
        "--backend", metavar="NAME", default="auto",
        help="cython, numba, numpy or python (default: auto, the fastest)",
    )  # fmt: skip
    parser.add_argument(
        "--precision",
        metavar="NAME",
        default="float32",
        help="float32 (default), float64 or bfloat16",
    )
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="default: 0")
    parser.add_argument("--threads", metavar="N", type=int, help="threads (default: all CPUs)")
    parser.add_argument("--save", metavar="FILE", help="where to save the trained network")


def run(arguments: argparse.Namespace) -> int:
    """Run the command."""
    widths = split_widths("--hidden", arguments.hidden, "128 or 128,64")
    activations = split_activations("--activation", arguments.activation)
    save_to = None if arguments.save is None else check_output_file(Path(arguments.save))
    limit_threads(arguments.threads)
    from dataclasses import replace

    from fastmlp import datasets, persistence
    from fastmlp.checks import check_integer
    from fastmlp.network import Network
    from fastmlp.optimizers import check_optimizer
    from fastmlp.progress import TrainingProgress, format_seconds
    from fastmlp.trainer import Trainer

    warn_of_isa_cap()
    check_integer("--epochs", arguments.epochs, 0)
    optimizer = check_optimizer(arguments.optimizer)
    if arguments.learning_rate is not None:
        optimizer = replace(optimizer, learning_rate=arguments.learning_rate)

    def make_trainer(n_inputs: int, n_classes: int) -> Trainer:
        network = Network(
            [n_inputs, *widths, n_classes],
            activations,
            seed=arguments.seed,
            input_scale=1 / 255,
        )
        return Trainer(
            network,
            optimizer=optimizer,
            batch_size=arguments.batch_size,
            backend=arguments.backend,
            precision=arguments.precision,
            n_threads=arguments.threads,
            seed=arguments.seed,
        )

    make_trainer(1, 2)  # a wrong setting is found before the data are read or drawn
    data = datasets.load(arguments.data, arguments.data_dir)
    trainer = make_trainer(data.x_train.shape[1], data.n_classes)
    print(f"{trainer.network!r}\nbackend {trainer.backend_reason}", flush=True)
    history = trainer.history
    start = time.perf_counter()
    interrupted = False
    try:
        trainer.fit(
            data.x_train,
            data.y_train,
            epochs=arguments.epochs,
            validation_data=(data.x_test, data.y_test),
            callbacks=[TrainingProgress(score_of="test")],
        )
        interrupted = history.stop_reason == "interrupted"
    except KeyboardInterrupt:  # outside of what the Trainer guards
        interrupted = True
    finally:  # after a divergence too: the network holds the last finite parameters
        seconds = time.perf_counter() - start
        if save_to is not None:
            persistence.save(trainer, save_to)

    plural = "epoch" if history.n_epochs == 1 else "epochs"
    facts = [f"{history.n_epochs} {plural} in {format_seconds(seconds)}"]
    if history.validation_score:
        facts.insert(0, f"test accuracy {history.validation_score[-1]:.2%}")
        facts.insert(0, f"test loss {history.validation_loss[-1]:.4g}")
    elif not interrupted:
        found = trainer.evaluate(data.x_test, data.y_test)
        facts.insert(0, f"test loss {found.loss:.4g}, test accuracy {found.score:.2%}")
    facts.append(f"backend {trainer.backend_name}")
    print(("interrupted: " if interrupted else "") + ", ".join(facts))
    if save_to is not None:
        print(f"saved to {save_to}")
    return INTERRUPTED if interrupted else 0
