"""What the parts of results.json look like, so that a damaged file is refused before it is used."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

Shape = Any
"""A type, a tuple of types, `NUMBER`, `MAYBE_NUMBER`, a list of one shape (for any number of such),
or a dict of shapes by key; a key that ends in "?" may be missing."""

NUMBER, MAYBE_NUMBER = "number", "number or null"
NUMBERS, MAYBE_NUMBERS = [NUMBER], [MAYBE_NUMBER]

ROOFLINE: Shape = {
    "isas": [
        {
            "isa": str,
            "precision": str,
            "threads": int,
            "fma_gflops": NUMBER,
            "repetitions?": NUMBERS,
        }
    ],
    "amx?": {
        "available": bool,
        "reason": str,
        "rows?": [{"threads": int, "gflops": NUMBER, "repetitions?": NUMBERS}],
    },
    "bandwidth": [
        {
            "level": str,
            "bytes": NUMBER,
            "bytes_per_thread?": NUMBER,
            "threads": int,
            "read_gb_per_second": NUMBER,
            "repetitions?": NUMBERS,
        }
    ],
}
DRAWBACKS: Shape = {
    "paragraphs?": [str],
    "experiments": [
        {
            "name": str,
            "title": str,
            "question?": str,
            "paragraph?": str,
            "x_label": str,
            "x": [(str, int, float)],
            "y_label": str,
            "series": [
                {
                    "label": str,
                    "mean": MAYBE_NUMBERS,
                    "low?": MAYBE_NUMBERS,
                    "high?": MAYBE_NUMBERS,
                    "runs?": [MAYBE_NUMBERS],
                }
            ],
        }
    ],
    "pictures?": [
        {
            "name": str,
            "title": str,
            "width": int,
            "height": int,
            "images": [list],
            "labels?": [str],
            "paragraph?": str,
        }
    ],
    "tables?": [{"title": str, "columns": [str], "rows": [list], "paragraph?": str}],
    "skipped?": [{"name": str, "reason": str}],
}
COLD_START: Shape = {
    "recipe?": dict,
    "time_to_accuracy?": [{"contender": str, "target": NUMBER, "seconds": NUMBERS}],
    "import_seconds?": [{"name": str, "repetitions?": NUMBERS}],
    "install_bytes?": [{"name": str, "bytes": NUMBER}],
    "peak_memory_bytes?": [{"contender": str, "bytes": NUMBER}],
    "skipped?": [{"part": str, "name": str, "reason": str}],
}
MEASUREMENT: Shape = {
    "case": str,
    "group": str,
    "contender": str,
    "kind": str,
    "isa": str,
    "precision": str,
    "n_threads": int,
    "rows_timed": int,
    "rows_reported": int,
    "loops": int,
    "first_call_seconds": NUMBER,
    "repetitions": NUMBERS,
    "flops?": MAYBE_NUMBER,
    "accuracy?": MAYBE_NUMBER,
    "accuracy_note?": str,
    "max_isa?": str,
}
BACKEND: Shape = {"name": str, "available": bool}
CASE: Shape = {"name": str, "group": str, "title": str, "parameters": dict}
FAILURE: Shape = {"case": str, "contender": str, "error": str}

PARTS: dict[str, Shape] = {
    "date": str,
    "fastmlp_version": str,
    "command": str,
    "complete": bool,
    "level": str,
    "settings": {"precision": str, "threads": int, "repeats": int},
    "data": dict,
    "machine": dict,
    "software": dict,
    "backends": [BACKEND],
    "peers": [BACKEND],
    "cases": [CASE],
    "failures": [FAILURE],
}
SECTIONS: dict[str, Shape] = {
    "roofline": ROOFLINE,
    "cold_start": COLD_START,
    "drawbacks": DRAWBACKS,
}
"""These may be null, and empty after an interruption."""


def damaged_part(values: Mapping[str, Any]) -> str:
    """Return the name of the first part that is missing or not as it should be; "" if none is."""
    for name, shape in PARTS.items():
        if name not in values or not has_shape(values[name], shape):
            return name
    for name, shape in SECTIONS.items():
        found = values.get(name, "")
        if found is None or found == {}:
            continue
        if not has_shape(found, shape) or not _has_known_key(found, shape):
            return name
        if name == "drawbacks" and not all(map(_is_of_one_length, found["experiments"])):
            return name
    return ""


def has_shape(value: Any, shape: Shape) -> bool:
    """Tell whether a value is as its shape says."""
    if shape == MAYBE_NUMBER:
        return value is None or has_shape(value, NUMBER)
    if shape == NUMBER:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(value)
    if isinstance(shape, list):
        return isinstance(value, list) and all(has_shape(each, shape[0]) for each in value)
    if isinstance(shape, dict):
        return isinstance(value, dict) and all(
            has_shape(value[key.removesuffix("?")], each)
            if key.removesuffix("?") in value
            else key.endswith("?")
            for key, each in shape.items()
        )
    return isinstance(value, shape) and (shape is bool or not isinstance(value, bool))


def _has_known_key(found: dict[str, Any], shape: dict[str, Shape]) -> bool:
    return any(key.removesuffix("?") in found for key in shape)


def _is_of_one_length(experiment: dict[str, Any]) -> bool:
    length = len(experiment["x"])
    return all(
        len(numbers) == length
        for each in experiment["series"]
        for numbers in (
            each["mean"],
            *(each[key] for key in ("low", "high") if key in each),
            *each.get("runs", []),
        )
    )
