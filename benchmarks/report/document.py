"""The results of a run as the report reads them: checked, and asked by name."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..case import REFERENCE
from ..results import Results, read_results

Measured = dict[str, Any]
"""A measurement as in results.json, with "is_main", "is_fair" and "variant" (see `Document`)."""
Chooser = Callable[[Measured], bool]


def read_document(path: Path) -> Document:
    """Read results.json.

    Raises
    ------
    FormatError
        If it is damaged, or of another kind or version.
    """
    return Document(read_results(path))


class Document:
    """The content of results.json, and what the report asks of it.

    Parameters
    ----------
    results : Results or dict
        Or the content of results.json.

    Attributes
    ----------
    content : dict
        The content of results.json.
    measurements : list of dict
        Each with "is_main", whether it was measured as the run was asked to, "is_fair", whether it
        had no more threads than that, and "variant": what sets it apart otherwise, an instruction
        set, a precision or a number of threads.
    cases : dict of str to dict
        By name.
    titles : dict of str to str
        Names of backends and peers, for people.

    Raises
    ------
    FormatError
        If it is damaged, or of another kind or version.
    """

    def __init__(self, results: Results | dict[str, Any]) -> None:
        checked = results if isinstance(results, Results) else Results.from_dict(results)
        self.content = checked.as_dict()
        self.measurements: list[Measured] = [
            plain
            | {
                "is_main": checked.is_main(each),
                "is_fair": checked.is_fair(each),
                "variant": checked.label(each).removeprefix(each.contender).strip(", "),
            }
            for each, plain in zip(checked.measurements, self.content["measurements"], strict=True)
        ]
        self.cases: dict[str, dict[str, Any]] = {each["name"]: each for each in checked.cases}
        self.titles = {
            str(each["name"]): str(each.get("title") or each["name"])
            for each in [*checked.backends, *checked.peers]
        }

    def __getitem__(self, key: str) -> Any:
        return self.content[key]

    @property
    def precision(self) -> str:
        """What headlines are about: contenders with the same precision."""
        return str(self["settings"].get("precision") or "float32")

    def title_of(self, contender: str) -> str:
        """Return the name of a backend or a peer for people."""
        return self.titles.get(contender, contender)

    def case_title(self, name: str) -> str:
        """Return the title of a case."""
        return str(self.cases[name]["title"]) if name in self.cases else name

    def parameters_of(self, case: str) -> dict[str, Any]:
        """Return the sizes and settings of a case."""
        found: dict[str, Any] = self.cases.get(case, {}).get("parameters") or {}
        return found

    def of_group(
        self, group: str, *, only_main: bool = False, only_fair: bool = False
    ) -> Iterator[tuple[str, list[Measured]]]:
        """Give each case of a group that was measured, with its measurements."""
        by_case: dict[str, list[Measured]] = {name: [] for name in self.cases}
        for each in self.measurements:
            is_wanted = (each["is_main"] or not only_main) and (each["is_fair"] or not only_fair)
            if each["group"] == group and is_wanted:
                by_case[each["case"]].append(each)
        for name, found in by_case.items():
            if found:
                yield name, found

    def contenders(self, kind: str) -> list[str]:
        """Return the backends or the peers that were measured, in the order of the file."""
        found = {each["contender"] for each in self.measurements if each["kind"] == kind}
        return [name for name in self.titles if name in found] + sorted(found - set(self.titles))

    def peak_gflops(self, measured: Measured) -> float | None:
        """Return the measured peak of the arithmetic that a measurement used, GFLOP/s."""
        roofline = self["roofline"] or {}
        precision, threads = measured.get("precision"), measured.get("n_threads")
        found = [
            each["fma_gflops"]
            for each in roofline.get("isas") or []
            if each.get("precision") == precision and each.get("threads") == threads
        ]
        if precision == "bfloat16":
            rows = matrix_unit_rows(roofline)
            found += [each["gflops"] for each in rows if each.get("threads") == threads]
        return max(found, default=None)


def matrix_unit_rows(roofline: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was measured of AMX: a row per number of threads; none where it is missing."""
    amx: dict[str, Any] = roofline.get("amx") or {}
    if not amx.get("available"):
        return []
    rows = amx.get("rows") or [amx]
    return [each for each in rows if each.get("gflops") is not None]


def fastest(measurements: list[Measured], chooser: Chooser) -> Measured | None:
    """Return the measurement with the smallest median among those chosen."""
    chosen = [each for each in measurements if chooser(each)]
    return min(chosen, key=lambda each: float(each["median_seconds"]), default=None)


def is_reference(measured: Measured) -> bool:
    """Tell whether it is of the readable backend that speedups are relative to."""
    return bool(measured["contender"] == REFERENCE)


def quartiles(measured: Measured) -> tuple[float, float]:
    """Return the quartiles of the repetitions, in seconds of the reported rows."""
    repetitions = measured["repetitions"]
    if len(repetitions) < 2:
        return measured["median_seconds"], measured["median_seconds"]
    low, _, high = statistics.quantiles(repetitions, n=4, method="inclusive")
    return low * measured["scale"], high * measured["scale"]


def gflops(measured: Measured) -> float | None:
    """Return the rate of arithmetic, 1e9 operations per second; None if it is not counted."""
    flops, seconds = measured.get("flops"), measured["median_seconds"]
    return flops / seconds / 1e9 if flops and seconds else None


def relative_spread(measured: Measured) -> float | None:
    """Return the spread as a part of the median; None for a single repetition."""
    if len(measured["repetitions"]) < 2 or not measured["median_seconds"]:
        return None
    return float(measured["spread_seconds"] / measured["median_seconds"])


def configuration(measured: Measured) -> str:
    """Return instruction set, precision and threads."""
    parts = [measured.get("isa"), measured.get("precision")]
    threads = measured.get("n_threads")
    if threads:
        parts.append(f"{threads} thread{'s' if threads > 1 else ''}")
    return ", ".join(str(part) for part in parts if part)
