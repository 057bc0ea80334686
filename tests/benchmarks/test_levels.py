from __future__ import annotations

import pytest

from fastmlp.backend import BackendInfo
from fastmlp.benchmarks import levels
from fastmlp.benchmarks.case import LEVELS, Level, Setting
from fastmlp.benchmarks.cases import CASES
from fastmlp.benchmarks.levels import peers_in_time, peers_of, settings_of
from fastmlp.benchmarks.peers import PEERS

INFOS = [BackendInfo(name, True, "", "", 2, ("float32", "float64")) for name in ("python", "numpy")]


def settings(name: str, level: Level, n_rows: int = 60_000) -> list[Setting]:
    return settings_of(CASES[name], level, INFOS, [PEERS["numpy_by_hand"]], 2, n_rows)


def test_the_reference_comes_first_on_a_slice() -> None:
    found = settings("M128", "quick")
    assert [(each.contender, each.rows) for each in found] == [
        ("python", 32), ("numpy", 6_144), ("numpy_by_hand", 6_144),
    ]  # fmt: skip
    assert [each.contender for each in settings("XL", "default")] == ["numpy", "numpy_by_hand"]


def test_dimensions_are_added_at_their_level() -> None:
    def dimensions(name: str, level: Level) -> set[tuple[str, int]]:
        return {
            (each.precision, each.n_threads)
            for each in settings(name, level)
            if each.contender == "numpy"
        }

    assert dimensions("M128", "quick") == {("float32", 2)}
    assert dimensions("M128", "default") == {("float32", 2), ("float64", 2), ("float32", 1)}
    assert dimensions("M32", "default") == {("float32", 2)}
    assert {("float64", 2), ("float32", 1)} <= dimensions("M32", "full")


def test_every_weaker_instruction_set_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(levels, "get_backend", lambda name: FakeBackend())
    for name, level in [("cython", "default"), ("numba", "full")]:  # each also without the other
        info = BackendInfo(name, True, "", "avx512", 2, ("float32",))
        found = settings_of(CASES["matmul"], level, [info], [], 2, 60_000)
        assert [each.max_isa for each in found] == ["", "baseline", "avx2", ""]


class FakeBackend:
    weaker_caps = ("baseline", "avx2")

    def usable_threads(self, n_threads: int) -> int:
        return n_threads


def test_growth_meets_the_peers_at_the_full_level_only() -> None:
    name = "growth_width_128"
    assert [each.contender for each in settings(name, "default")] == ["numpy"]
    assert [each.contender for each in settings(name, "full")] == ["numpy", "numpy_by_hand"]
    slow = settings_of(CASES[name], "full", INFOS, [PEERS["torch_compile"]], 2, 60_000)
    assert [each.contender for each in slow] == ["numpy"]


def test_a_case_may_have_its_own_number_of_threads() -> None:
    assert {each.n_threads for each in settings("growth_threads_1", "default")} == {1}


def test_rows_are_limited_by_the_images_but_not_the_tables() -> None:
    for name in ("M128", "M128_standardized"):
        assert settings(name, "full", 1_000)[1].rows == 1_000
    assert settings("tabular", "full", 1_000)[1].rows == 100_000
    assert settings("update_sgd", "full", 1_000)[1].rows == 101_770


def test_peers_of_a_level() -> None:
    quick = ["numpy_by_hand", "scikit_learn"]
    assert [peer.name for peer in peers_of("quick")] == quick
    assert [peer.name for peer in peers_of("default")] == [*quick, "torch_eager"]
    assert peers_of("full") == list(PEERS.values())
    assert set(levels.REPEATS) == set(levels.SUITE_SECONDS) == set(LEVELS)


def test_the_default_level_has_time_for_pytorch_in_two_cases() -> None:
    peers = peers_of("default")
    assert PEERS["torch_eager"] in peers_in_time(CASES["M128"], "default", peers)
    assert PEERS["torch_eager"] in peers_in_time(CASES["M32"], "default", peers)
    assert peers_in_time(CASES["XL"], "default", peers) == peers_of("quick")
    assert peers_in_time(CASES["XL"], "full", peers) == peers
