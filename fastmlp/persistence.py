"""Save a Trainer to a file and load it back, so that training goes on bit by bit the same.

The file is a NumPy archive (.npz): the parameters, the optimizer's state and a header in JSON.
Nothing in it is executed when it is loaded (no pickle).
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from .backend import get_backend
from .checks import check_integer
from .errors import FormatError
from .files import replaced_file
from .history import History
from .losses import NAMED_LOSSES, Loss
from .network import Network
from .optimizers import NAMED_OPTIMIZERS, Optimizer, ScikitLearnAdam
from .plan import resolve_threads
from .regularization import Clipping, Dropout, Regularization
from .schedules import SCHEDULES, Schedule
from .trainer import Trainer

FORMAT = "fastmlp-trainer"
INT8_FORMAT = "fastmlp-int8"
VERSION = 1
# What writes and reads each format.
METHODS = {
    FORMAT: ("fastmlp.save", "fastmlp.load"),
    INT8_FORMAT: ("QuantizedNetwork.save", "fastmlp.QuantizedNetwork.load"),
}

# The classes of what a Trainer is set with, by name.
LOSSES = {type(each).__name__: type(each) for each in NAMED_LOSSES.values()}
OPTIMIZERS = {type(each).__name__: type(each) for each in NAMED_OPTIMIZERS.values()}
OPTIMIZERS["ScikitLearnAdam"] = ScikitLearnAdam  # that of an estimator's trainer_
KINDS: dict[str, type[Any]] = {**LOSSES, **OPTIMIZERS, **SCHEDULES}


def save(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Write a Trainer with its network, optimizer state, random state and history to a file.

    The file is replaced at once or not at all.
    """
    if not isinstance(trainer, Trainer):
        raise TypeError(f"trainer must be a Trainer; got {type(trainer).__name__}")
    network, plan = trainer.network, trainer.plan
    if network.custom_activations:
        names = ", ".join(each.name for each in network.custom_activations)
        raise TypeError(f"the network's activations {names} are functions, which cannot be saved")
    header = {
        "format": FORMAT,
        "version": VERSION,
        "network": {
            "sizes": network.sizes,
            "activation": network.activations,
            "output": network.output,
            "init": network.init,
            "dtype": network.dtype,
            "input_scale": np.asarray(network.input_scale).tolist(),
            "input_center": np.asarray(network.input_center).tolist(),  # newer than the scale
            "normalization": network.normalization,
            "group_sizes": network.group_sizes,
        },
        "optimizer": _described(trainer.optimizer),
        "trainer": {
            "loss": _described(trainer.loss),
            "batch_size": plan.batch_size,
            "precision": plan.precision,
            "dropout": {"input": plan.dropout[0], "hidden": plan.dropout[1:]},
            "regularization": asdict(trainer.regularization),
            "clipping": asdict(trainer.clipping),
            "shuffle": bool(trainer.shuffle),
        },
        "dropout_seed": trainer.dropout_seed,
        "n_steps": trainer.n_steps,
        "random": trainer.random.bit_generator.state,
        "history": trainer.history.as_dict(),
    }
    write_archive(
        path,
        header,
        parameters=network.parameters,
        optimizer_state=trainer.optimizer_state,
        statistics=network.statistics,
    )


def load(
    path: str | os.PathLike[str], *, backend: str = "auto", n_threads: int | None = None
) -> Trainer:
    """Read a Trainer that `save` wrote.

    Raises
    ------
    FormatError
        If the file is damaged, of another kind or of a newer version.
    OSError
        If it cannot be read.
    ValueError, TypeError, BackendUnavailableError
        If `backend` or `n_threads` is not valid, as for `Trainer`.
    """
    if backend != "auto":
        get_backend(backend)
    resolve_threads(n_threads)
    header, arrays = read_archive(Path(path), FORMAT)
    try:
        network = Network(**header["network"])
        optimizer = _made("optimizer", header["optimizer"], OPTIMIZERS)
        settings = header["trainer"]
        if isinstance(settings["loss"], dict):  # before losses had parameters it was a name
            settings["loss"] = _made("loss", settings["loss"], LOSSES)
        # Files written before there were any lack these.
        settings["dropout"] = Dropout(**settings.get("dropout", {"hidden": 0.0}))
        settings["regularization"] = Regularization(**settings.get("regularization", {}))
        settings["clipping"] = Clipping(**settings.get("clipping", {}))
        trainer = Trainer(
            network, **settings, optimizer=optimizer, backend=backend, n_threads=n_threads
        )
        arrays.setdefault("statistics", np.zeros(0, network.dtype))  # likewise
        for name, destination in (
            ("parameters", network.parameters),
            ("optimizer_state", trainer.optimizer_state),
            ("statistics", network.statistics),
        ):
            if arrays[name].shape != destination.shape or arrays[name].dtype != destination.dtype:
                raise ValueError(
                    f"{name} has the shape {arrays[name].shape} and dtype {arrays[name].dtype}; "
                    f"expected {destination.shape} and {destination.dtype}"
                )
            if not np.isfinite(arrays[name]).all():
                raise ValueError(f"{name} has values that are not finite")
            destination[...] = arrays[name]
        if any((variances < 0.0).any() for variances in network.running_variances):
            raise ValueError("statistics has variances below 0")
        trainer.n_steps = check_integer("n_steps", header["n_steps"], 0)
        trainer.dropout_seed = check_integer("dropout_seed", header.get("dropout_seed", 0), 0, None)
        trainer.random.bit_generator.state = header["random"]
        trainer.history = _history(header["history"])
    except Exception as error:  # a header that was tampered with raises almost anything
        raise FormatError(f"{path}: the header does not describe a trainer: {error}") from error
    return trainer


def _described(chosen: Loss | Optimizer | Schedule) -> dict[str, Any]:
    """Return a name and settings, ready for JSON, of which `_made` makes it again."""
    settings = chosen.settings()
    for name, value in settings.items():
        if isinstance(value, Schedule):
            settings[name] = _described(value)
        elif callable(value):
            hint = "" if isinstance(chosen, Loss) else "; take a schedule of fastmlp.schedules"
            raise TypeError(
                f"{type(chosen).__name__}.{name} is a function ({value!r}), which cannot be "
                f"saved{hint}"
            )
    name = type(chosen).__name__
    if KINDS.get(name) is not type(chosen):
        raise TypeError(f"{chosen!r} is of a class of your own, {name}, which cannot be saved")
    return {"name": name, "settings": settings}


def _made(what: str, saved: dict[str, Any], kinds: Mapping[str, type[Any]]) -> Any:
    """Return what `_described` described."""
    if saved["name"] not in kinds:
        raise ValueError(f"unknown {what} {saved['name']!r}")
    settings = {
        name: _made("schedule", value, SCHEDULES) if isinstance(value, dict) else value
        for name, value in saved["settings"].items()
    }
    return kinds[saved["name"]](**settings)


def _history(saved: dict[str, Any]) -> History:
    reason = saved.pop("stop_reason")
    for name, values in saved.items():
        if not all(isinstance(value, (int, float)) for value in values):
            raise TypeError(f"history.{name} must hold numbers; got {values!r}")
    return History(
        **{name: list(values) for name, values in saved.items()}, stop_reason=str(reason)
    )


def write_archive(path: str | os.PathLike[str], header: Mapping[str, Any], **arrays: Any) -> None:
    """Write a header (with its "format" and "version") and arrays; at once or not at all."""
    encoded = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
    with replaced_file(path) as file:
        np.savez(file, header=encoded, **arrays)


def read_archive(path: Path, wanted: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read what `write_archive` wrote, of the format `wanted`.

    Raises
    ------
    FormatError
        If the file is damaged, of another kind or of a newer version.
    """
    writer = METHODS[wanted][0]
    expected = f"{path}: expected a file written by {writer}; it is damaged or of another kind"
    with open(path, "rb") as file:
        try:
            # Reading a member stops where its shape says; the checksum needs all of it.
            with zipfile.ZipFile(file) as archive:
                damaged = archive.testzip()
            if damaged is not None:
                raise ValueError(f"the checksum of {damaged} is wrong")
            file.seek(0)
            with np.load(file, allow_pickle=False) as members:
                arrays = {name: members[name] for name in members.files}
        except Exception as error:  # the readers of a damaged file raise almost anything
            raise FormatError(f"{expected} ({error})") from error
    try:
        header = json.loads(arrays["header"].tobytes().decode())
        kind, version = header["format"], header["version"]
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise FormatError(f"{path}: it has no fastmlp header ({error})") from error
    if kind != wanted or version != VERSION:
        is_other = kind != wanted and kind in METHODS
        raise FormatError(
            f"{path}: expected {wanted} version {VERSION}; got {kind!r} version {version!r}"
            + (f", which {METHODS[kind][1]} reads" if is_other else "")
        )
    return header, arrays
