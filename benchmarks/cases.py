"""The table of cases: everything that is measured, by name.

A case is added to its group's file (`cases_kernels`, `cases_training`, `cases_options`,
`cases_inference`, `cases_growth`); the runner, the pytest-benchmark suites and the report
enumerate `CASES`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fastmlp.errors import unknown_name

from .case import GROUPS, LEVELS, Case, Group, Level
from .cases_growth import GROWTH
from .cases_inference import INFERENCE
from .cases_kernels import KERNELS
from .cases_options import CASES_OF_OPTIONS
from .cases_training import TRAINING

CASES: dict[str, Case] = {
    case.name: case for case in (*KERNELS, *TRAINING, *CASES_OF_OPTIONS, *INFERENCE, *GROWTH)
}


def cases_of(groups: Iterable[Group] = GROUPS, level: Level = "full") -> list[Case]:
    """Return the cases of some groups at a level, in the table's order."""
    wanted = set(groups)
    included = LEVELS[: LEVELS.index(level) + 1]
    return [case for case in CASES.values() if case.group in wanted and case.level in included]


def cases_named(names: Sequence[str], level: Level = "full") -> list[Case]:
    """Return cases by name, in the table's order; a group's name takes its cases.

    Of a group they are those of the level, or all of them if the level has none.

    Raises
    ------
    ValueError
        If there is neither a case nor a group of that name; the nearest one is suggested.
    """
    chosen: set[str] = set()
    for name in names:
        if name in GROUPS:
            found = cases_of([name], level) or cases_of([name])
            chosen |= {case.name for case in found}
        elif name.replace("-", "_") in CASES:
            chosen.add(name.replace("-", "_"))
        else:
            raise unknown_case(name)
    return [case for case in CASES.values() if case.name in chosen]


def unknown_case(name: str) -> ValueError | TypeError:
    """Make the error for an unknown case; of the many kernels it lists only the nearest."""
    short = [*GROUPS, *(case.name for case in TRAINING), *(case.name for case in INFERENCE)]
    error = unknown_name("--cases", name, short)
    from fastmlp.errors import nearest

    closest = nearest(name, CASES)
    if closest and "Did you mean" not in str(error):
        return ValueError(f"{error} Did you mean {closest!r}?")
    return error
