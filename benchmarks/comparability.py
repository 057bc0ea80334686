"""Why two runs may not be comparable: another machine, other software, other data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from .machine import format_bytes
from .results import Measurement, Results

MACHINE = {
    "cpu": "CPU",
    "architecture": "architecture",
    "usable_cpus": "number of CPUs",
    "memory_bytes": "memory",
    "os": "operating system",
}


def reservations(
    old: Results, new: Results, pairs: Iterable[tuple[Measurement, Measurement]]
) -> list[str]:
    """Return a line for each reason to read the ratios of two runs with care.

    Parameters
    ----------
    old, new : Results
    pairs : iterable of (Measurement, Measurement)
        What is compared: the old one and the new one.
    """
    pairs = list(pairs)
    lines = [*_machines(old, new), *_instruction_sets(pairs), *_versions(old, new, pairs)]
    if old.data.get("name") != new.data.get("name"):
        lines.append(f"The data differ: {old.data.get('name')} before, {new.data.get('name')} now.")
    if any(before.rows_timed != now.rows_timed for before, now in pairs):
        lines.append("Some times were scaled from different numbers of rows.")
    for which, results in (("old", old), ("new", new)):
        if not results.complete:
            lines.append(f"The {which} run was interrupted.")
    return lines


def _differs(what: str, before: object, now: object) -> Iterator[str]:
    if before != now:
        yield f"{what} differs: {before or 'none'} before, {now or 'none'} now."


def _machines(old: Results, new: Results) -> Iterator[str]:
    for name, what in MACHINE.items():
        before, now = (results.machine.get(name) for results in (old, new))
        if name == "memory_bytes" and before and now:
            before, now = format_bytes(before), format_bytes(now)
        yield from _differs(f"The {what}", before, now)


def _instruction_sets(pairs: Iterable[tuple[Measurement, Measurement]]) -> Iterator[str]:
    found = dict.fromkeys((before.contender, before.isa, now.isa) for before, now in pairs)
    for contender, before, now in found:
        yield from _differs(f"The instruction set of {contender}", before, now)


def _versions(
    old: Results, new: Results, pairs: Iterable[tuple[Measurement, Measurement]]
) -> Iterator[str]:
    measured = {before.contender for before, _ in pairs}
    versions = [
        results.software
        | {each["title"]: each["version"] for each in results.peers if each["name"] in measured}
        for results in (old, new)
    ]
    for name in dict.fromkeys([*versions[0], *versions[1]]):
        before, now = (each.get(name, "") for each in versions)
        yield from _differs(f"The version of {name.replace('_', ' ')}", before, now)
