"""Paths are kept out of what is published."""

from __future__ import annotations

import pytest

from fastmlp.benchmarks.machine import without_paths


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ImportError: /home/ann/lib/x.so: bad", "ImportError: x.so: bad"),
        ("open 'C:\\Users\\ann\\x.pyd' failed", "open 'x.pyd' failed"),
        ("reads 3/4 of them and/or none", "reads 3/4 of them and/or none"),
        ("see https://a.org/b/c", "see https://a.org/b/c"),
    ],
)
def test_without_paths(text: str, expected: str) -> None:
    assert without_paths(text) == expected
