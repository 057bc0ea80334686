"""Results to show: made up, so that every number in a table can be checked."""

from __future__ import annotations

from typing import Any

import pytest

from fastmlp.benchmarks.results import Measurement, Results


def make_measurement(contender: str, repetitions: list[float], **changes: Any) -> Measurement:
    fields: dict[str, Any] = {
        "case": "matmul",
        "group": "kernels",
        "kind": "backend",
        "isa": "<fast>",
        "precision": "float32",
        "n_threads": 2,
        "rows_timed": 128,
        "rows_reported": 128,
        "loops": 3,
        "first_call_seconds": 0.25,
        "flops": 256_000,
    }
    return Measurement(contender=contender, repetitions=repetitions, **(fields | changes))


def make_measurements() -> list[Measurement]:
    epoch = {"case": "M128", "group": "training", "rows_reported": 60_000}
    after = {"rows_timed": 60_000, "accuracy_note": "after 1 epoch"}
    predict = {"case": "predict_1", "group": "inference", "rows_timed": 1, "rows_reported": 1}
    growth = {"case": "growth_threads_1", "group": "growth", "n_threads": 1}
    return [
        make_measurement("python", [0.2, 0.25, 0.3], rows_timed=32, n_threads=1),
        make_measurement("numpy", [0.001, 0.002, 0.003]),
        make_measurement("numpy", [0.004], precision="float64"),
        make_measurement(
            "python", [1.5], **epoch, n_threads=1, rows_timed=128,
            accuracy_note="trained on 128 rows only",
        ),
        make_measurement("numpy", [0.5, 0.5, 0.5], **epoch, **after, accuracy=0.975),
        make_measurement("numpy", [0.8], **epoch, **after, accuracy=0.975, n_threads=1),
        make_measurement("numpy", [0.7], **epoch, **after, accuracy=0.975, max_isa="avx2"),
        make_measurement(
            "jax_scan", [0.25, 0.25, 0.25], **epoch, **after, accuracy=0.9749, kind="peer", isa="",
        ),
        make_measurement("numpy", [1e-5], **predict),
        make_measurement("onnxruntime", [4e-5], **predict, kind="peer", isa=""),
        make_measurement("numpy", [0.25], **growth),
    ]  # fmt: skip


def make_case(name: str, group: str, title: str, **parameters: Any) -> dict[str, Any]:
    return {
        "name": name, "group": group, "title": title, "description": "", "parameters": parameters,
    }  # fmt: skip


@pytest.fixture
def results() -> Results:
    info = {"available": True, "reason": "", "n_threads": 2, "precisions": ["float32"]}
    peer = {"available": True, "reason": "", "version": "1.2"}
    missing = {"available": False, "reason": "<torch> is not installed; do", "version": ""}
    return Results(
        date="2030-01-02T03:04:05+00:00",
        fastmlp_version="9.8.7",
        command="fastmlp bench --data digits",
        complete=True,
        level="default",
        settings={"repeats": 3, "threads": 2, "precision": "float32", "seed": 0},
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
        peers=[
            peer | {"name": "jax_scan", "title": "JAX"},
            missing | {"name": "torch_eager", "title": "PyTorch"},
            peer | {"name": "onnxruntime", "title": "ONNX Runtime"},
        ],
        cases=[
            make_case("matmul", "kernels", "product <of two>"),
            make_case("M128", "training", "M128: 784-128-10"),
            make_case("predict_1", "inference", "784-128-10, 1 row"),
            make_case("growth_threads_1", "growth", "threads 1", axis="threads", value=1),
        ],
        measurements=make_measurements(),
    )  # fmt: skip
