"""Run the experiments, one after the other, into a dictionary that is true at every moment."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from fastmlp.checks import check_integer

from . import image_experiments, sequence_experiments
from .blas import one_blas_thread
from .findings import Findings, Progress
from .image_experiments import Setup
from .levels import level_of
from .paragraphs import summary

# Each section with its share of the time, measured for the default level.
SECTIONS: dict[str, tuple[Callable[[Setup, Progress], None], float]] = {
    "permutation": (image_experiments.permutation, 2.5),
    "transforms": (image_experiments.transforms, 2.5),
    "growth": (image_experiments.growth, 1.0),
    "photographs": (image_experiments.photographs_experiment, 4.0),
    "adding": (sequence_experiments.adding, 2.3),
    "recall": (sequence_experiments.recall, 2.6),
    "shift": (sequence_experiments.shift, 1.7),
}


def run(
    level: str = "default",
    progress: Progress | None = None,
    *,
    data_dir: str | os.PathLike[str] | None = None,
    seeds: Sequence[int] | None = None,
    into: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Run the experiments on where dense networks struggle.

    Parameters
    ----------
    level : {"quick", "default", "full"}, default "default"
        How much is run: seconds, less than a minute, several minutes.
    progress : callable, optional
        Called often with the fraction done (0 to 1) and what is being done.
    data_dir : path, optional
        Where CIFAR-10 is looked for, in place of ``$FASTMLP_DATA``. Without its files, coloured
        digits take its place.
    seeds : sequence of int, optional
        One run of everything per seed; None takes the level's. Where the machine is slow, "quick"
        may leave out all but the first and "default" all but two.
    into : dict, optional
        Is filled as the run goes on, so that an interrupted one keeps what was done: an experiment
        is there, whole, as soon as its first seed is done.

    Returns
    -------
    dict
        `into`, or a new dictionary, of plain data that JSON can hold: "level", "seconds", "seeds",
        "complete", "paragraphs" (a summary), "experiments", "pictures", "tables", "skipped". Of a
        series, `mean`, `low` and `high` are the mean, the smallest and the largest of its `runs`,
        one per seed (of times: one per repetition).

    Raises
    ------
    ValueError, TypeError
        If there is no such level, or a seed is not an integer of at least 0.
    KeyboardInterrupt
        After Ctrl-C; `into` holds what was done.
    """
    chosen = level_of(level)
    numbers = [check_integer("seeds", seed, 0) for seed in chosen.seeds if seeds is None]
    if seeds is not None:
        numbers = [check_integer(f"seeds[{i}]", seed, 0) for i, seed in enumerate(seeds)]
        if not numbers:
            raise ValueError("seeds must hold at least one integer; got none")
    report = progress or (lambda fraction, text: None)
    result: dict[str, Any] = {} if into is None else into
    result.update(level=chosen.name, seconds=0.0, seeds=numbers, complete=False, paragraphs=[])
    setup = Setup(chosen, numbers, Findings(result), data_dir)
    total = sum(SECTIONS[name][1] for name in chosen.sections)
    start, before = time.perf_counter(), 0.0
    try:
        for name in chosen.sections:
            section, weight = SECTIONS[name]

            def part(
                share: float, text: str, before: float = before, weight: float = weight
            ) -> None:
                report((before + weight * share) / total, text)

            before += weight
            deadline = start + chosen.seconds * before / total
            with one_blas_thread():
                section(replace(setup, deadline=deadline), part)
        for name in SECTIONS:
            if name not in chosen.sections:
                setup.findings.skip(name, f"not part of the level {chosen.name!r}")
        result["complete"] = True
        report(1.0, "done")
    finally:
        result["seconds"] = time.perf_counter() - start
        found = {each["name"]: each for each in result["experiments"]}
        result["paragraphs"] = [text for text in [summary(found)] if text]
    return result
