"""The machine's limits, measured: multiply-adds per second and bytes read per second.

No kernel can pass them, so they are the roof over the curves of the report (Williams, Waterman and
Patterson, "Roofline: an insightful visual performance model", 2009). The loops are our own
(kernels/native/probe.h): they do nothing but the operation that is measured.
"""

from __future__ import annotations

import importlib
import math
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastmlp.errors import HOW_TO_BUILD, unknown_name
from fastmlp.plan import resolve_threads

SECONDS = {"quick": 0.3, "default": 5.0, "full": 15.0}
"""How long all measurements of a level take together, about."""
REPETITIONS = {"quick": 3, "default": 5, "full": 9}
FEWEST_REPETITIONS = 2
SHORTEST_REPETITION = 0.002
"""Seconds; below this the start of the threads would count."""
FIRST_WORK = 1e7
"""Operations or bytes of the first try."""
PRECISIONS = ("float32", "float64")
KILO, MEGA = 2**10, 2**20
ALIGNMENT = 64


@dataclass(frozen=True)
class WorkingSet:
    """What is read over and over.

    Attributes
    ----------
    level : str
        The part of the memory where it usually lies.
    n_bytes : int
    is_private : bool
        Each thread reads one of its own of this size (the first caches belong to a core each);
        otherwise the threads share it, each reading its part.
    """

    level: str
    n_bytes: int
    is_private: bool


WORKING_SETS = (
    WorkingSet("L1", 16 * KILO, True),
    WorkingSet("L2", 256 * KILO, True),
    WorkingSet("L3", 4 * MEGA, False),
    WorkingSet("memory", 64 * MEGA, False),
    WorkingSet("memory", 256 * MEGA, False),
)


@dataclass
class Reading:
    """One limit to be measured.

    Attributes
    ----------
    text : str
        What it is, for the progress bar.
    fields : dict
        What tells it apart in the results.
    run : function (thread, loops)
        One thread's share of the work.
    n_threads : int
    work : float
        Operations or bytes of one loop, of all threads together.
    loops : int
        Loops per repetition; 0 until known.
    loops_per_second : float
        Of the fastest run so far.
    rates : list of float
        10^9 operations or bytes per second, one per repetition.
    """

    text: str
    fields: dict[str, Any]
    run: Callable[[int, int], object]
    n_threads: int
    work: float
    loops: int = 0
    loops_per_second: float = 0.0
    rates: list[float] = field(default_factory=list)


def measure(
    level: str = "default",
    progress: Callable[[float, str], object] | None = None,
    *,
    n_threads: int | None = None,
    failures: list[dict[str, str]] | None = None,
) -> dict[str, Any] | None:
    """Measure the machine's limits.

    Parameters
    ----------
    level : {"quick", "default", "full"}
        About 1.5, 5 or 15 seconds.
    progress : function (fraction, text), optional
        Called often.
    n_threads : int, optional
        The most threads; default as in a Trainer. Besides it 1 and the powers of 2 between are
        measured (quick: only 1 and the most).
    failures : list, optional
        What could not be measured is appended, as {"case", "contender", "error"}.

    Returns
    -------
    dict or None
        - "isas": rows {"isa", "precision", "threads", "fma_gflops", "repetitions"}: multiply-adds,
          two operations each, in 10^9 operations per second. Without fused multiply-add
          ("baseline" on x86-64) a multiplication and an addition.
        - "amx": {"available", "reason"} and, if available, "precision" ("bfloat16"), "rows"
          {"threads", "gflops", "repetitions"}, and the same three for the most threads.
        - "bandwidth": rows {"level", "bytes", "bytes_per_thread", "threads", "isa",
          "read_gb_per_second", "repetitions"}: 10^9 bytes per second, all threads together.

        Every figure is the median of its repetitions, which are in the same unit. None if the
        extension that measures is missing.

    Raises
    ------
    ValueError
        If the level is unknown.
    """
    if level not in SECONDS:
        raise unknown_name("level", level, SECONDS)
    most = resolve_threads(n_threads)
    try:
        probe = importlib.import_module("fastmlp.kernels.machine_probe")
    except ImportError as error:
        if failures is not None:
            reason = f"the compiled probe of the machine is missing ({error}); {HOW_TO_BUILD}"
            failures.append({"case": "roofline", "contender": "machine", "error": reason})
        return None

    threads = _thread_counts(most, level)
    arithmetic = [
        _arithmetic(probe, isa, precision, count)
        for isa in probe.instruction_sets()
        for precision in PRECISIONS
        for count in threads
    ]
    no_amx = probe.amx_reason()
    tiles = [] if no_amx else [_tiles(probe, count) for count in threads]
    bandwidth = _bandwidth(probe, most, failures)
    _repeat([*arithmetic, *tiles, *bandwidth], most, level, progress)

    amx: dict[str, Any] = {"available": not no_amx, "reason": no_amx}
    if tiles:
        rows = [_row(each, "gflops") for each in tiles]
        amx |= {"precision": "bfloat16", "rows": rows, **rows[-1]}
    return {
        "isas": [_row(each, "fma_gflops") for each in arithmetic],
        "amx": amx,
        "bandwidth": [_row(each, "read_gb_per_second") for each in bandwidth],
    }


def _thread_counts(most: int, level: str) -> list[int]:
    """Return 1, 2, 4, ... and the most; quick: the first and the last."""
    counts = [2**power for power in range(most.bit_length()) if 2**power < most]
    return sorted({1, most}) if level == "quick" else [*counts, most]


def _row(reading: Reading, unit: str) -> dict[str, Any]:
    return {
        **reading.fields,
        unit: statistics.median(reading.rates),
        "repetitions": reading.rates,
    }


def _arithmetic(probe: Any, isa: str, precision: str, threads: int) -> Reading:
    return Reading(
        f"multiply-add, {isa}, {precision}",
        {"isa": isa, "precision": precision, "threads": threads},
        lambda thread, loops: probe.multiply_add(isa, precision, loops),
        threads,
        2.0 * threads * probe.multiply_adds_per_step(isa, precision),
    )


def _tiles(probe: Any, threads: int) -> Reading:
    return Reading(
        "multiply-add, AMX, bfloat16",
        {"threads": threads},
        lambda thread, loops: probe.multiply_tiles(loops),
        threads,
        2.0 * threads * probe.AMX_MULTIPLY_ADDS_PER_STEP,
    )


def _bandwidth(probe: Any, most: int, failures: list[dict[str, str]] | None) -> list[Reading]:
    """Return what reads the working sets, on 1 thread and on the most, with the widest loads."""
    isa = probe.instruction_sets()[-1]
    readings = []
    memory: NDArray[np.uint8] | None = None
    # The largest first: the others are read from parts of it.
    for working_set in reversed(WORKING_SETS):
        size = working_set.n_bytes
        needed = size * most if working_set.is_private else size
        try:
            if memory is None or len(memory) < needed:
                memory = _aligned(needed)
        except MemoryError:
            if failures is not None:
                error = f"not enough memory to read {needed // MEGA} MB"
                failures.append({"case": "bandwidth", "contender": "machine", "error": error})
            continue
        for threads in sorted({1, most}, reverse=True):
            share = size if working_set.is_private else size // threads
            share -= share % probe.BLOCK_BYTES
            parts = [memory[thread * share : (thread + 1) * share] for thread in range(threads)]
            fields = {
                "level": working_set.level,
                "bytes": size,
                "bytes_per_thread": share,
                "threads": threads,
                "isa": isa,
            }
            text = f"read {size // MEGA} MB" if size >= MEGA else f"read {size // KILO} KB"
            readings.append(
                Reading(text, fields, partial(_read, probe, isa, parts), threads, threads * share)
            )
    return readings[::-1]


def _read(
    probe: Any, isa: str, parts: Sequence[NDArray[np.uint8]], thread: int, loops: int
) -> None:
    probe.read(isa, parts[thread], loops)


def _aligned(n_bytes: int) -> NDArray[np.uint8]:
    """Return memory that begins at a cache line and has been written to.

    Memory that was never written to may be one page of zeros, over and over.
    """
    memory = np.ones(n_bytes + ALIGNMENT, np.uint8)
    first = -memory.ctypes.data % ALIGNMENT
    return memory[first : first + n_bytes]


def _repeat(
    readings: Sequence[Reading],
    most: int,
    level: str,
    progress: Callable[[float, str], object] | None,
) -> None:
    """Repeat all readings in turn: a disturbance then meets all alike."""
    rounds = REPETITIONS[level]
    n_done, n_all = 0, len(readings) * (rounds + 1)
    seconds = max(SECONDS[level] / n_all, SHORTEST_REPETITION)
    deadline = time.perf_counter() + SECONDS[level]
    with ThreadPoolExecutor(most) as pool:
        # The first round only finds out how many loops are needed.
        for number in range(rounds + 1):
            if number > FEWEST_REPETITIONS and time.perf_counter() > deadline:
                break  # the machine is busy with something else
            for reading in readings:
                if progress is not None:
                    progress(n_done / n_all, reading.text)
                rate = _rate(pool, reading, seconds)
                if number > 0:
                    reading.rates.append(rate)
                n_done += 1


def _rate(pool: ThreadPoolExecutor, reading: Reading, seconds: float) -> float:
    """Run a reading for about `seconds` on a quiet machine; return 10^9 of its units per second."""
    loops = reading.loops or math.ceil(FIRST_WORK / reading.work)
    while True:
        spent = max(_run_together(pool, reading, loops), 1e-9)
        # Judged by the fastest run: a short run may have been interrupted for long.
        reading.loops_per_second = max(reading.loops_per_second, loops / spent)
        reading.loops = math.ceil(seconds * reading.loops_per_second)
        if loops >= reading.loops / 3:
            return reading.work * loops / spent / 1e9
        loops = min(reading.loops, 10 * loops)


def _run_together(pool: ThreadPoolExecutor, reading: Reading, loops: int) -> float:
    """Run all threads' shares at the same time; return the seconds from first to last."""
    if reading.n_threads == 1:
        start = time.perf_counter()
        reading.run(0, loops)
        return time.perf_counter() - start
    barrier = threading.Barrier(reading.n_threads)

    def share(thread: int) -> tuple[float, float]:
        barrier.wait()
        start = time.perf_counter()
        reading.run(thread, loops)
        return start, time.perf_counter()

    try:
        times = list(pool.map(share, range(reading.n_threads)))
    except BaseException:
        barrier.abort()  # Ctrl-C: a thread that waits for one that never came would wait for ever
        raise
    return max(end for _, end in times) - min(start for start, _ in times)
