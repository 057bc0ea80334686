"""Growth: what an epoch costs as the network, the batch, the rows and the threads grow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

from fastmlp.kernels.cpus import available_cpus

from .case import Case, Level
from .cases_training import prepare_training, refuses_training
from .problem import Problem

ROWS = 4_096
BASE = Problem((784, 128, 10), 128)
WIDTHS = (16, 32, 64, 128, 256, 512, 1024, 2048)
DEPTHS = (1, 2, 4, 8, 16)
BATCHES = (4, 8, 16, 32, 64, 128, 256, 512, 1024)
ROW_COUNTS = (1_000, 4_000, 16_000, 60_000)
QUICK = {"width": (32, 128, 512), "depth": (), "batch": (8, 128), "rows": (), "threads": ()}
FULL = {"width": (2048,), "depth": (16,), "batch": (4, 1024), "rows": (), "threads": ()}


def _level(axis: str, value: int) -> Level:
    if value in QUICK[axis]:
        return "quick"
    return "full" if value in FULL[axis] else "default"


def _case(axis: str, value: int, problem: Problem, rows: int, n_threads: int | None = None) -> Case:
    return Case(
        f"growth_{axis}_{value}",
        "growth",
        f"{axis} {value:,}: {_short_name(problem)}, batch {problem.batch_size}",
        f"One epoch{'' if axis == 'rows' else f' of {rows:,} images'}: cost against {axis}.",
        rows=rows,
        prepare=partial(prepare_training, problem=problem),
        level=_level(axis, value),
        parameters=problem.parameters | {"rows": rows, "axis": axis, "value": value},
        flops=problem.training_flops(rows),
        n_threads=n_threads,
        with_peers=True,
        loops=False,
        refuses=partial(refuses_training, problem=problem),
    )


def _short_name(problem: Problem) -> str:
    hidden = problem.sizes[1:-1]
    if len(hidden) < 3:
        return problem.name
    return f"{problem.sizes[0]}-{len(hidden)} x {hidden[0]}-{problem.sizes[-1]}"


def thread_counts() -> list[int]:
    """Return 1, 2, 4, ... and the number of usable CPUs."""
    cpus = available_cpus()
    powers = [2**k for k in range(cpus.bit_length()) if 2**k <= cpus]
    return sorted({*powers, cpus})


def _cases() -> Iterator[Case]:
    for width in WIDTHS:
        yield _case("width", width, replace(BASE, sizes=(784, width, 10)), ROWS)
    for depth in DEPTHS:
        yield _case("depth", depth, replace(BASE, sizes=(784, *[128] * depth, 10)), ROWS)
    for batch in BATCHES:
        yield _case("batch", batch, replace(BASE, batch_size=batch), ROWS)
    for rows in ROW_COUNTS:
        yield _case("rows", rows, BASE, rows)
    wide = replace(BASE, sizes=(784, 512, 512, 10))
    for n_threads in thread_counts():
        yield _case("threads", n_threads, wide, ROWS, n_threads)


GROWTH = tuple(_cases())
