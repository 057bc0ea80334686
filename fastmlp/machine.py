"""What this runs on: the machine and the versions. No host name, no user, no path."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from .kernels.cpus import available_cpus

PACKAGES = ("numpy", "numba", "llvmlite", "cython")


def describe_machine() -> dict[str, Any]:
    """Return the CPU's model, cores and memory, and the operating system."""
    return {
        "cpu": cpu_model(),
        "architecture": platform.machine(),
        "logical_cpus": os.cpu_count() or 1,
        "usable_cpus": available_cpus(),
        "memory_bytes": memory_bytes(),
        "os": operating_system(),
    }


def describe_software() -> dict[str, str]:
    """Return the versions of Python, its compiler and the packages that matter ("" if absent)."""
    versions = {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_compiler": platform.python_compiler(),
    }
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = ""
    return versions


def cpu_model() -> str:
    """Return the CPU's name as its maker writes it; if it cannot be had, the architecture."""
    try:
        if sys.platform == "win32":
            import winreg

            key = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
            with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, key) as opened:
                name = str(winreg.QueryValueEx(opened, "ProcessorNameString")[0])
        elif sys.platform == "darwin":
            command = ["/usr/sbin/sysctl", "-n", "machdep.cpu.brand_string"]
            name = subprocess.run(command, capture_output=True, text=True, timeout=5).stdout
        else:
            text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
            found = re.search(r"^(?:model name|Hardware|cpu model)\s*:\s*(.+)$", text, re.MULTILINE)
            name = found.group(1) if found else ""
    except (OSError, subprocess.SubprocessError):
        name = ""
    return " ".join(name.split()) or platform.machine() or "unknown"


def memory_bytes() -> int:
    """Return the size of the machine's memory, 0 if it cannot be had."""
    try:
        if sys.platform == "win32":
            import ctypes

            class Status(ctypes.Structure):
                _fields_ = [
                    ("length", ctypes.c_ulong),
                    ("load", ctypes.c_ulong),
                    *((f"field_{i}", ctypes.c_ulonglong) for i in range(7)),
                ]

            status = Status(length=ctypes.sizeof(Status))
            ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status))
            return int(status.field_0)
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (OSError, ValueError, AttributeError):
        return 0


def operating_system() -> str:
    """Return the system and its version, such as "Linux (Debian GNU/Linux 12)"."""
    if sys.platform == "darwin":
        return f"macOS {platform.mac_ver()[0]}"
    if sys.platform == "win32":
        return f"Windows {platform.release()}"
    try:
        return f"{platform.system()} ({platform.freedesktop_os_release()['PRETTY_NAME']})"
    except (OSError, KeyError):
        return platform.system()


def format_bytes(count: int) -> str:
    """Return a size in GiB."""
    return f"{count / 2**30:.1f} GiB" if count else "unknown"
