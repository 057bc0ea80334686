from __future__ import annotations

import getpass
import json
import platform

import numpy as np
import pytest

from fastmlp.benchmarks.machine import describe_machine, describe_software, without_paths


def test_machine_is_described() -> None:
    machine = describe_machine()
    assert machine["cpu"] and machine["os"] and machine["architecture"] == platform.machine()
    assert 1 <= machine["usable_cpus"] <= machine["logical_cpus"]
    assert machine["memory_bytes"] > 2**28
    assert json.loads(json.dumps(machine)) == machine


def test_software_is_described() -> None:
    software = describe_software()
    assert platform.python_version() in software["python"]
    assert software["numpy"] == np.__version__
    assert software["python_compiler"]


def test_nothing_tells_who() -> None:
    said = json.dumps([describe_machine(), describe_software()])
    names = {platform.node(), getpass.getuser()} - {"", "root", "localhost"}
    for name in names:
        if len(name) > 3:
            assert name not in said
    assert "/home" not in said and ":\\" not in said


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
