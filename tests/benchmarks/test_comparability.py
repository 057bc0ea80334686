from __future__ import annotations

import copy

import pytest

from fastmlp.benchmarks.comparability import reservations
from fastmlp.benchmarks.results import Results


def told(old: Results, new: Results) -> list[str]:
    return reservations(old, new, zip(old.measurements, new.measurements, strict=True))


def test_nothing_is_told_of_runs_that_are_alike(results: Results) -> None:
    assert told(results, copy.deepcopy(results)) == []


@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("cpu", "C", "The CPU differs: A & B <CPU> before, C now."),
        ("usable_cpus", 3, "The number of CPUs differs: 2 before, 3 now."),
        ("memory_bytes", 2**32, "The memory differs: 3.0 GiB before, 4.0 GiB now."),
        ("os", "", "The operating system differs: Linux (Some) before, none now."),
    ],
)
def test_another_machine(name: str, value: object, line: str, results: Results) -> None:
    new = copy.deepcopy(results)
    new.machine[name] = value
    assert told(results, new) == [line]


def test_another_instruction_set_is_told_once_per_backend(results: Results) -> None:
    new = copy.deepcopy(results)
    for measurement in new.measurements:
        if measurement.contender == "numpy":
            measurement.isa = "slow"
    assert told(results, new) == ["The instruction set of numpy differs: <fast> before, slow now."]


def test_other_versions_of_what_was_measured(results: Results) -> None:
    new = copy.deepcopy(results)
    new.software |= {"numba": "0.60", "python": "CPython 3.12.0"}
    for peer in new.peers:
        peer["version"] = "2.0"
    assert told(results, new) == [
        "The version of python differs: CPython 3.11.0 before, CPython 3.12.0 now.",
        "The version of numba differs: none before, 0.60 now.",
        "The version of JAX differs: 1.2 before, 2.0 now.",
        "The version of ONNX Runtime differs: 1.2 before, 2.0 now.",
    ]


def test_other_data_and_an_interrupted_run(results: Results) -> None:
    new = copy.deepcopy(results)
    new.data["name"], new.complete = "mnist", False
    assert told(results, new) == [
        "The data differ: digits before, mnist now.",
        "The new run was interrupted.",
    ]
