"""How many CPUs this process may use."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

CGROUP_LIMIT = Path("/sys/fs/cgroup/cpu.max")
"""Linux control groups, version 2: "<quota> <period>" in microseconds, or "max <period>"."""


@cache
def available_cpus() -> int:
    """Return how many CPUs this process may use: by its affinity, and by its container's quota."""
    if hasattr(os, "sched_getaffinity"):
        allowed = len(os.sched_getaffinity(0))
    else:
        allowed = os.cpu_count() or 1
    return max(1, min(allowed, _quota(allowed)))


def _quota(otherwise: int) -> int:
    """Return the whole CPUs of the container's quota, rounded up."""
    try:
        quota, period = CGROUP_LIMIT.read_text(encoding="ascii").split()
        return otherwise if quota == "max" else -(-int(quota) // int(period))
    except (OSError, ValueError, ZeroDivisionError):
        return otherwise
