"""Results to show: made up, so that every number in a table can be checked."""

from __future__ import annotations

import pytest

from fastmlp.benchmarks.results import Measurement, Results


def make_measurement(backend: str, repetitions: list[float], **changes: object) -> Measurement:
    fields = {
        "case": "matmul",
        "group": "kernels",
        "isa": "<fast>",
        "precision": "float32",
        "n_threads": 1,
        "rows_timed": 128,
        "rows_reported": 128,
        "loops": 3,
        "first_call_seconds": 0.25,
    }
    return Measurement(backend=backend, repetitions=repetitions, **(fields | changes))  # type: ignore[arg-type]


@pytest.fixture
def results() -> Results:
    epoch = {"case": "train_epoch", "group": "training", "rows_reported": 60_000}
    measurements = [
        make_measurement("python", [0.2, 0.25, 0.3], rows_timed=32),
        make_measurement("numpy", [0.001, 0.002, 0.003]),
        make_measurement(
            "python", [1.5], **epoch, rows_timed=128, accuracy_note="trained on 128 rows only"
        ),
        make_measurement(
            "numpy", [0.5], **epoch, rows_timed=60_000, accuracy=0.975,
            accuracy_note="after 1 epoch",
        ),
    ]  # fmt: skip
    info = {"available": True, "reason": "", "n_threads": 1, "precisions": ["float32"]}
    return Results(
        date="2030-01-02T03:04:05+00:00",
        fastmlp_version="9.8.7",
        command="fastmlp bench --data digits",
        complete=True,
        settings={"repeats": 3, "threads": None, "precision": "float32", "seed": 0},
        data={"name": "digits", "rows": 60_000, "test_rows": 10_000, "rows_reported": 60_000},
        machine={
            "cpu": "A & B <CPU>", "architecture": "x86_64", "logical_cpus": 4, "usable_cpus": 2,
            "memory_bytes": 3 * 2**30, "os": "Linux (Some)",
        },
        software={"python": "CPython 3.11.0", "numba": ""},
        backends=[
            info | {"name": "numba", "isa": "", "available": False, "reason": "<not> installed"},
            info | {"name": "numpy", "isa": "BLAS"},
            info | {"name": "python", "isa": "interpreted"},
        ],
        cases=[
            {"name": "matmul", "group": "kernels", "title": "product <of two>", "description": ""},
            {"name": "train_epoch", "group": "training", "title": "epoch", "description": ""},
        ],
        measurements=measurements,
    )  # fmt: skip
