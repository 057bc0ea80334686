from __future__ import annotations

import sys
import types
from collections.abc import Callable
from typing import Any

import pytest

from fastmlp.benchmarks import sections
from fastmlp.benchmarks.results import Results
from fastmlp.benchmarks.sections import SECTION_NAMES, run_sections, section_seconds

Progress = Callable[[float, str], None]


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> dict[str, types.ModuleType]:
    """Put modules of our own in place of the sections."""
    made = {}
    for name, module_name, function_name, _ in sections.SECTIONS:
        module = types.ModuleType(name)

        def measure(level: str, progress: Progress, name: str = name, **options: Any) -> object:
            progress(0.5, f"half of {name}")
            return {"level": level, **options}

        setattr(module, function_name, measure)
        monkeypatch.setitem(sys.modules, f"fastmlp.benchmarks.{module_name}", module)
        made[name] = module
    return made


def test_sections_are_filled_in(modules: dict[str, types.ModuleType], results: Results) -> None:
    told: list[tuple[float, str]] = []
    run_sections(
        results,
        "quick",
        SECTION_NAMES,
        lambda *now: told.append(now),
        {"roofline": {"n_threads": 1}},
    )
    assert results.roofline == {"level": "quick", "n_threads": 1}
    assert results.cold_start == results.drawbacks == {"level": "quick"}
    assert results.failures == []
    assert [text for _, text in told[1::2]] == [f"half of {name}" for name in SECTION_NAMES]
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and fractions[0] == 0.0 and fractions[-1] < 1.0


def test_skipped_sections_stay_empty(
    modules: dict[str, types.ModuleType], results: Results
) -> None:
    run_sections(results, "full", ("roofline", "cold_start"), lambda *now: None, {})
    assert results.drawbacks is None and results.roofline is not None
    assert section_seconds("full", ()) == 0.0
    run_sections(results, "full", (), lambda *now: None, {})


def test_a_broken_section_does_not_take_the_others_along(
    modules: dict[str, types.ModuleType], results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(level: str, progress: Progress) -> None:
        raise OSError("/home/ann/probe.so: broken")

    monkeypatch.setattr(modules["cold_start"], "measure", fail)
    run_sections(results, "quick", SECTION_NAMES, lambda *now: None, {})
    assert results.failures == [
        {"case": "cold_start", "contender": "", "error": "OSError: probe.so: broken"}
    ]
    assert results.cold_start is None and results.drawbacks is not None


def test_interruption_keeps_the_sections_before(
    modules: dict[str, types.ModuleType], results: Results, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(level: str, progress: Progress) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(modules["drawbacks"], "run", interrupt)
    with pytest.raises(KeyboardInterrupt):
        run_sections(results, "quick", SECTION_NAMES, lambda *now: None, {})
    assert results.roofline is not None and results.cold_start is not None
