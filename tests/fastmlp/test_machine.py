"""The description of the machine: what is there, and nothing that tells whose it is."""

from __future__ import annotations

import getpass
import json
import platform

import numpy as np

from fastmlp.machine import describe_machine, describe_software, format_bytes


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


def test_format_bytes() -> None:
    assert format_bytes(3 * 2**30) == "3.0 GiB"
    assert format_bytes(0) == "unknown"
