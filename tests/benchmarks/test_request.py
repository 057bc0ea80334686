from __future__ import annotations

from typing import Any

import pytest

from fastmlp.benchmarks.case import LEVELS
from fastmlp.benchmarks.cases import CASES, cases_of
from fastmlp.benchmarks.peers import PEERS
from fastmlp.benchmarks.request import LATER_ORDER, RUNNING_ORDER, Request
from fastmlp.benchmarks.sections import SECTION_NAMES


def test_the_cases_of_the_lower_levels_run_first_and_of_them_training() -> None:
    chosen = Request(level="full").chosen_cases
    assert len(chosen) == len(cases_of())
    n_before, expected = 0, RUNNING_ORDER
    for level in LEVELS:
        of_level = chosen[n_before : len(cases_of(level=level))]
        n_before += len(of_level)
        assert {case.level for case in of_level} == {level}
        groups = list(dict.fromkeys(case.group for case in of_level))
        assert groups == [each for each in expected if each in groups]
        expected = LATER_ORDER


def test_cases_and_sections_can_be_left_out() -> None:
    assert {case.group for case in Request(skip=["kernels", "growth"]).chosen_cases} == {
        "training", "inference",
    }  # fmt: skip
    assert Request(skip=["drawbacks"]).skipped_sections == ("drawbacks",)
    assert Request().skipped_sections == ()
    only = Request(cases=["S"])
    assert only.chosen_cases == [CASES["S"]] and only.skipped_sections == SECTION_NAMES


def test_peers_by_level_or_by_name() -> None:
    assert Request(peers=[]).chosen_peers == []
    assert Request(peers=["jax"]).chosen_peers == [PEERS["jax_scan"]]
    assert Request(level="full").chosen_peers == list(PEERS.values())


def test_the_command_repeats_the_run_without_folders() -> None:
    request = Request(
        data="mnist", data_dir="/home/ann", level="full", cases=["S", "M32"], backends=["numpy"],
        peers=[], n_threads=1, rows=500, skip=["growth"],
    )  # fmt: skip
    assert request.command == (
        "fastmlp bench --data mnist --full --cases S,M32 --backends numpy --skip growth "
        "--peers none --threads 1 --rows 500"
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"repeats": 0}, "repeats"),
        ({"rows": 127}, "rows must be an integer >= 128; got 127"),
        ({"n_threads": 0}, "threads"),
        ({"backends": ["nope"]}, "backend must be one of"),
        ({"peers": ["torhc"]}, "Did you mean 'torch'"),
        ({"cases": ["M12"]}, "Did you mean 'M128'"),
        ({"skip": ["rooflin"]}, "Did you mean 'roofline'"),
        ({"level": "fast"}, "level must be one of"),
    ],
)
def test_wrong_requests(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Request(**changes)
