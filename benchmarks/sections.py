"""The parts of a run besides the cases: each a module of its own, loaded when it is its turn."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Collection
from typing import Any

from .case import Level
from .machine import without_paths
from .results import Results

ProgressReport = Callable[[float, str], None]
"""Takes the fraction done (0 to 1) and what is being done."""

# Name in the results, module, function, and about how many seconds each level takes. These only
# divide the progress bar: how long a section may take is its own module's to say.
SECTIONS: tuple[tuple[str, str, str, dict[Level, float]], ...] = (
    ("roofline", "roofline", "measure", {"quick": 2.0, "default": 8.0, "full": 60.0}),
    ("cold_start", "cold_start", "measure", {"quick": 1.0, "default": 31.0, "full": 240.0}),
    ("drawbacks", "drawbacks", "run", {"quick": 5.0, "default": 38.0, "full": 900.0}),
)
SECTION_NAMES = tuple(name for name, _, _, _ in SECTIONS)


def section_seconds(level: Level, names: Collection[str]) -> float:
    """Return about how long these sections take together."""
    return sum(seconds[level] for name, _, _, seconds in SECTIONS if name in names)


def run_sections(
    results: Results,
    level: Level,
    names: Collection[str],
    progress: ProgressReport,
    options: dict[str, dict[str, Any]],
) -> None:
    """Fill in these sections of the results; one that fails is listed, and the rest goes on.

    Parameters
    ----------
    results : Results
    level : {"quick", "default", "full"}
    names : collection of str
    progress : function of (fraction, text)
    options : dict of section to dict
        More arguments of a section.
    """
    whole = section_seconds(level, names)
    done = 0.0
    for name, module_name, function_name, seconds in SECTIONS:
        if name not in names:
            continue
        start, share = done / whole, seconds[level] / whole

        def report(fraction: float, text: str, start: float = start, share: float = share) -> None:
            progress(start + share * min(max(fraction, 0.0), 1.0), text)

        report(0.0, name.replace("_", " "))
        try:
            module = importlib.import_module(f".{module_name}", __package__)
            found = getattr(module, function_name)(level, report, **options.get(name, {}))
            setattr(results, name, found)
        except Exception as error:  # one broken section must not take the others along
            text = without_paths(f"{type(error).__name__}: {error}")
            results.failures.append({"case": name, "contender": "", "error": text})
        done += seconds[level]
