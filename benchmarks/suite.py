"""What the pytest-benchmark suites share: the contests of a group, and how one is timed.

``pytest benchmarks`` in a checkout, or ``pytest --pyargs fastmlp.benchmarks`` (pytest reads that
package too late to know ``--level`` then). Cases are timed on the rows of the quick level, whatever
``--level`` says: saved runs stay comparable.
"""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING, Any

from fastmlp.backend import backends
from fastmlp.datasets import Dataset, load_digits
from fastmlp.plan import resolve_threads

from .case import Case, Group, Level, Setting
from .cases import cases_named
from .levels import settings_of
from .measure import calibrate
from .peers import PEERS

if TYPE_CHECKING:
    from pytest_benchmark.fixture import BenchmarkFixture

IMAGES, TEST_IMAGES = 10_000, 1_000
ROUNDS, EPOCHS = 5, 3
"""Of what may be looped, and of training: every contender trains as often."""
BETTER_THAN_CHANCE, STEPS_TO_LEARN = 0.5, 70


@cache
def images() -> Dataset:
    """Draw the images once."""
    return load_digits(IMAGES, TEST_IMAGES)


def contests(group: Group, level: Level = "default") -> list[tuple[Case, Setting]]:
    """Return each case of a group at a level with each backend and each installed peer.

    Of a group that has no case at the level, they are all its cases.
    """
    infos = [info for info in backends() if info.available]
    peers = [peer for peer in PEERS.values() if not peer.missing_reason()]
    n_threads = resolve_threads(None)
    found = []
    for case in cases_named([group], level):
        for setting in settings_of(case, "quick", infos, peers, n_threads, IMAGES):
            slow = setting.kind == "peer" and PEERS[setting.contender].compiles_slowly
            if not slow and not setting.max_isa and setting.precision == "float32":
                found.append((case, setting))
    return found


def name_of(contest: tuple[Case, Setting]) -> str:
    """Return a test's name: the case and the contender."""
    case, setting = contest
    return f"{case.name}-{setting.contender}"


def time_contest(benchmark: BenchmarkFixture, contest: tuple[Case, Setting]) -> None:
    """Time one contender in one case, and see that it learns."""
    case, setting = contest
    if setting.kind == "peer":
        for name, value in PEERS[setting.contender].environment(setting.n_threads).items():
            os.environ.setdefault(name, value)
    prepared = case.prepare(setting, images())
    prepared.warm_up()
    benchmark.group = case.title
    benchmark.extra_info.update(rows_timed=setting.rows, rows_reported=case.rows)
    # Looped as in a run of `fastmlp bench`: hundreds of pytest-benchmark's seconds are too long.
    loops = calibrate(prepared.call)[0] if case.loops and benchmark.enabled else 1
    rounds = ROUNDS if case.loops else EPOCHS
    pedantic: Any = benchmark.pedantic
    pedantic(prepared.call, rounds=rounds, iterations=loops)
    if prepared.score is not None:
        accuracy = prepared.score()
        benchmark.extra_info.update(accuracy=accuracy)
        steps = setting.rows // case.parameters["batch_size"]
        if case.group == "training" and steps >= STEPS_TO_LEARN:
            assert accuracy > BETTER_THAN_CHANCE
