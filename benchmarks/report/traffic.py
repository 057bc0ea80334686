"""What a call has to read at the least, and what share of its time that takes at full bandwidth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ..case import OF_IMAGES
from .document import Document, Measured

PIXEL_BYTES = 1
"""Images are read in place, as uint8."""
PARAMETER_AND_GRADIENT = 2
"""What an update reads of each parameter at the least; some optimizers have states besides."""


@dataclass(frozen=True)
class Reading:
    """Data that are read over and over.

    Attributes
    ----------
    size : float
        How many bytes they are, which decides the cache that they come from.
    total : float
        How many bytes are read in all.
    """

    size: float
    total: float


def least_readings(document: Document, measured: Measured) -> list[Reading]:
    """Return what the call has to read: its rows once, its parameters once a batch.

    Results that are written and read again, such as activations, are not counted; nothing is
    returned for a case whose data are not known.
    """
    parameters = document.parameters_of(measured["case"])
    number_bytes = 8 if measured.get("precision") == "float64" else 4
    rows = int(measured["rows_reported"])
    if "sizes" in parameters:
        sizes = [int(size) for size in parameters["sizes"]]
        weights = sum((before + 1) * after for before, after in pairwise(sizes)) * number_bytes
        is_image = parameters.get("data") in OF_IMAGES
        inputs = rows * sizes[0] * (PIXEL_BYTES if is_image else number_bytes)
        batches = math.ceil(rows / int(parameters.get("batch_size") or rows))
        return [Reading(inputs, inputs), Reading(weights, weights * batches)]
    if "inner" in parameters:
        inner = int(parameters["inner"])
        size = inner * (rows + int(parameters["columns"])) * number_bytes
    elif "columns" in parameters:
        size = rows * int(parameters["columns"]) * number_bytes
    elif "parameters" in parameters:
        size = PARAMETER_AND_GRADIENT * int(parameters["parameters"]) * number_bytes
    else:
        return []
    return [Reading(size, size)]


def bandwidth(document: Document, size: float, threads: int) -> float | None:
    """Return the measured bandwidth of reading `size` bytes over and over, GB/s.

    That of the smallest measured array which is not smaller; None where none was measured with as
    many threads.
    """
    found: list[dict[str, Any]] = [
        each
        for each in (document["roofline"] or {}).get("bandwidth") or []
        if each.get("threads") == threads
    ]
    found.sort(key=_whole_size)
    fitting = [each for each in found if _whole_size(each) >= size] or found[-1:]
    return float(fitting[0]["read_gb_per_second"]) if fitting else None


def _whole_size(row: dict[str, Any]) -> float:
    """Return the bytes that all threads read together; the first caches belong to a core each."""
    return float(row.get("bytes_per_thread") or row["bytes"]) * float(row.get("threads") or 1)


def read_rate(document: Document, measured: Measured) -> float | None:
    """Return how much it reads at the least, GB/s."""
    total = sum(each.total for each in least_readings(document, measured))
    seconds = measured["median_seconds"]
    return total / seconds / 1e9 if total and seconds else None


def bandwidth_share(document: Document, measured: Measured) -> float | None:
    """Return the share of its time that reading alone would take at the measured bandwidth."""
    threads, whole = int(measured.get("n_threads") or 1), 0.0
    for each in least_readings(document, measured):
        rate = bandwidth(document, each.size, threads)
        if not rate:
            return None
        whole += each.total / rate / 1e9
    return whole / measured["median_seconds"] if whole and measured["median_seconds"] else None
