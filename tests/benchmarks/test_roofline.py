"""The roofline: complete, in the form of the results, and rates that are work by time."""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from types import SimpleNamespace
from typing import Any

import pytest

from fastmlp.benchmarks import roofline
from fastmlp.benchmarks.roofline import KILO, WorkingSet

NEEDS_PROBE = pytest.mark.skipif(
    importlib.util.find_spec("fastmlp.kernels.machine_probe") is None,
    reason="the extension was not built: no C compiler",
)


@pytest.fixture(autouse=True)
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Little to measure; the shape of what comes out is the same."""
    monkeypatch.setattr(roofline, "SECONDS", dict.fromkeys(roofline.SECONDS, 0.01))
    monkeypatch.setattr(roofline, "SHORTEST_REPETITION", 1e-4)
    # As many threads as asked for, however few CPUs there are.
    monkeypatch.setattr(roofline, "resolve_threads", lambda n_threads: n_threads or 1)
    monkeypatch.setattr(
        roofline,
        "WORKING_SETS",
        (WorkingSet("L1", 16 * KILO, True), WorkingSet("memory", 64 * KILO, False)),
    )


def fake_probe(seconds_per_step: float, amx_reason: str = "") -> Any:
    """A probe whose loops take a known time."""

    def wait(*arguments: Any) -> None:
        time.sleep(arguments[-1] * seconds_per_step)

    return SimpleNamespace(
        BLOCK_BYTES=512,
        AMX_MULTIPLY_ADDS_PER_STEP=32_768,
        instruction_sets=lambda: ("baseline",),
        multiply_adds_per_step=lambda isa, precision: 48,
        multiply_add=wait,
        read=wait,
        multiply_tiles=wait,
        amx_reason=lambda: amx_reason,
    )


def use(monkeypatch: pytest.MonkeyPatch, probe: Any) -> None:
    monkeypatch.setitem(sys.modules, "fastmlp.kernels.machine_probe", probe)


@NEEDS_PROBE
@pytest.mark.parametrize("level", ["quick", "full"])
def test_every_instruction_set_precision_and_thread_count_has_a_row(level: str):
    from fastmlp.kernels import machine_probe  # type: ignore[attr-defined]

    found = roofline.measure(level, n_threads=3)
    assert found is not None
    threads = (1, 3) if level == "quick" else (1, 2, 3)
    assert [(row["isa"], row["precision"], row["threads"]) for row in found["isas"]] == [
        (isa, precision, count)
        for isa in machine_probe.instruction_sets()
        for precision in ("float32", "float64")
        for count in threads
    ]
    assert [(row["level"], row["bytes"], row["threads"]) for row in found["bandwidth"]] == [
        ("L1", 16 * KILO, 1),
        ("L1", 16 * KILO, 3),
        ("memory", 64 * KILO, 1),
        ("memory", 64 * KILO, 3),
    ]
    for unit, rows in (("fma_gflops", "isas"), ("read_gb_per_second", "bandwidth")):
        for row in found[rows]:
            assert len(row["repetitions"]) >= 2
            assert min(row["repetitions"]) > 0
            assert min(row["repetitions"]) <= row[unit] <= max(row["repetitions"])
    assert found["amx"]["available"] is not bool(found["amx"]["reason"])
    assert json.loads(json.dumps(found)) == found


def test_working_sets_are_private_or_shared(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, fake_probe(1e-5, "none"))
    found = roofline.measure("quick", n_threads=3)
    assert found is not None
    # 64 KiB in three parts of whole blocks of 512 bytes
    assert [row["bytes_per_thread"] for row in found["bandwidth"]] == [
        16 * KILO, 16 * KILO, 64 * KILO, 42 * 512,
    ]  # fmt: skip


def test_rates_are_work_by_time(monkeypatch: pytest.MonkeyPatch):
    # No sleep is shorter than asked for: what is computed is a limit from above.
    monkeypatch.setattr(roofline, "FIRST_WORK", 1.0)
    use(monkeypatch, fake_probe(1e-3))
    found = roofline.measure("quick", n_threads=1)
    assert found is not None
    for row in found["isas"]:
        assert 0 < row["fma_gflops"] <= 2 * 48 / 1e-3 / 1e9
    assert 0 < found["amx"]["gflops"] <= 2 * 32_768 / 1e-3 / 1e9
    for row in found["bandwidth"]:
        assert 0 < row["read_gb_per_second"] <= row["bytes"] / 1e-3 / 1e9


def test_the_tile_unit_has_a_row_per_thread_count(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, fake_probe(1e-5))
    found = roofline.measure("default", n_threads=2)
    assert found is not None
    amx = found["amx"]
    assert (amx["available"], amx["reason"], amx["precision"]) == (True, "", "bfloat16")
    assert [row["threads"] for row in amx["rows"]] == [1, 2]
    assert amx["gflops"] == amx["rows"][-1]["gflops"] > 0
    assert amx["threads"] == 2


def test_a_missing_tile_unit_has_a_reason_and_no_figure(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, fake_probe(1e-5, "this CPU has no AMX"))
    found = roofline.measure("quick", n_threads=1)
    assert found is not None
    assert found["amx"] == {"available": False, "reason": "this CPU has no AMX"}


def test_without_the_extension_there_is_none_and_a_reason(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "fastmlp.kernels.machine_probe", None)
    failures: list[dict[str, str]] = []
    assert roofline.measure("quick", failures=failures) is None
    assert [(each["case"], each["contender"]) for each in failures] == [("roofline", "machine")]
    assert "install a C compiler" in failures[0]["error"]
    assert roofline.measure("quick") is None  # nobody who would want the reason


def test_too_little_memory_is_a_failure_of_that_set_only(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, fake_probe(1e-5))
    aligned = roofline._aligned

    def refuse(n_bytes: int) -> Any:
        if n_bytes >= 64 * KILO:
            raise MemoryError
        return aligned(n_bytes)

    monkeypatch.setattr(roofline, "_aligned", refuse)
    failures: list[dict[str, str]] = []
    found = roofline.measure("quick", n_threads=1, failures=failures)
    assert found is not None
    assert [row["level"] for row in found["bandwidth"]] == ["L1"]
    assert [each["case"] for each in failures] == ["bandwidth"]


def test_progress_grows_from_nothing_to_all(monkeypatch: pytest.MonkeyPatch):
    use(monkeypatch, fake_probe(1e-5))
    told: list[tuple[float, str]] = []
    roofline.measure("quick", lambda *arguments: told.append(arguments), n_threads=1)
    fractions = [fraction for fraction, _ in told]
    assert fractions[0] == 0.0
    assert fractions == sorted(fractions)
    assert 0.5 < fractions[-1] < 1.0
    assert {"multiply-add, baseline, float64", "read 16 KB"} <= {text for _, text in told}


def test_an_error_in_a_thread_comes_out(monkeypatch: pytest.MonkeyPatch):
    probe = fake_probe(1e-5)

    def fail(*arguments: Any) -> None:
        raise KeyboardInterrupt

    probe.multiply_add = fail
    use(monkeypatch, probe)
    with pytest.raises(KeyboardInterrupt):
        roofline.measure("quick", n_threads=2)


def test_an_unknown_level_is_refused():
    with pytest.raises(ValueError, match="Did you mean 'quick'"):
        roofline.measure("quickly")
