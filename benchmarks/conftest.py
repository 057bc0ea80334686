"""What the pytest-benchmark suites are asked for: the level, and with it the contests."""

from __future__ import annotations

import pytest

from fastmlp.commands.common import let_idle_threads_sleep


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declare the option."""
    let_idle_threads_sleep()
    from fastmlp.benchmarks.case import LEVELS

    parser.addoption(
        "--level",
        choices=LEVELS,
        default="default",
        help="which cases the benchmarks of fastmlp time: the most important ones, those of a "
        "run of `fastmlp bench` (default), or all of them",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test once per case and contender of its group, which is its name."""
    if "contest" in metafunc.fixturenames:
        from fastmlp.benchmarks.suite import contests, name_of

        group = metafunc.function.__name__.removeprefix("test_")
        chosen = contests(group, metafunc.config.getoption("--level"))
        metafunc.parametrize("contest", chosen, ids=name_of)
