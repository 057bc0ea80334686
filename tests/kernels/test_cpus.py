"""How many CPUs there are: the affinity and the container's quota are obeyed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from fastmlp.kernels import cpus


@pytest.fixture(autouse=True)
def asked_anew(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """Five CPUs, no container, and nothing remembered, before and after."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 2, 3, 5, 6}, raising=False)
    monkeypatch.setattr(cpus, "CGROUP_LIMIT", tmp_path / "cpu.max")
    cpus.available_cpus.cache_clear()
    yield
    cpus.available_cpus.cache_clear()


def test_the_affinity_is_obeyed() -> None:
    assert cpus.available_cpus() == 5


def test_without_an_affinity_all_cpus_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert cpus.available_cpus() == 12


@pytest.mark.parametrize(
    ("limit", "expected"),
    [
        ("max 100000", 5),
        ("150000 100000", 2),  # one and a half: rounded up
        ("10000 100000", 1),
        ("900000 100000", 5),
        ("damaged", 5),
        ("1 0", 5),
    ],
)
def test_the_containers_quota_is_obeyed(limit: str, expected: int) -> None:
    cpus.CGROUP_LIMIT.write_text(limit + "\n", encoding="ascii")
    assert cpus.available_cpus() == expected
