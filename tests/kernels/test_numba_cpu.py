"""What Numba compiles for, without loading it where nobody has set it up."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

from fastmlp.kernels import numba_cpu

RunPython = Callable[..., subprocess.CompletedProcess[str]]

TARGET = """
import json, os, sys
os.chdir({folder!r})
from fastmlp.kernels.numba_cpu import numba_target, target
found = target()
print(json.dumps([found, "numba" in sys.modules, numba_target()]))
"""

of_x86 = pytest.mark.skipif(
    not numba_cpu.target()[0].startswith("x86_64"), reason="caps are of x86-64"
)


def found_in(run_python: RunPython, folder: Path, **settings: str) -> tuple[list[str], bool]:
    """What the target is, once it was found to be what Numba says; and whether Numba was loaded."""
    result = run_python(TARGET.format(folder=str(folder)), **settings)
    assert result.returncode == 0, result.stderr
    found, was_loaded, of_numba = json.loads(result.stdout)
    assert found == of_numba
    return found, was_loaded


def test_it_is_what_numba_takes(run_python: RunPython, tmp_path: Path) -> None:
    _, was_loaded = found_in(run_python, tmp_path)
    assert not was_loaded


@of_x86
@pytest.mark.parametrize("cap", numba_cpu.LEVELS)
def test_a_cap_is_known(run_python: RunPython, tmp_path: Path, cap: str) -> None:
    if cap != "baseline" and cap not in numba_cpu.weaker_caps(numba_cpu.host_cpu()):
        pytest.skip("this CPU is not above it")
    found, was_loaded = found_in(run_python, tmp_path, FASTMLP_MAX_ISA=cap)
    assert (found[1:], was_loaded) == ([numba_cpu.LEVELS[cap][0], ""], False)


@of_x86
def test_numba_is_asked_where_it_was_set_up(run_python: RunPython, tmp_path: Path) -> None:
    settings = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": "+sse3"}
    found, was_loaded = found_in(run_python, tmp_path, **settings)
    assert (found[1:], was_loaded) == (["x86-64", "+sse3"], True)


def test_numba_is_asked_where_its_settings_lie(run_python: RunPython, tmp_path: Path) -> None:
    (tmp_path / numba_cpu.SETTINGS_FILE).write_text("{}\n", encoding="utf-8")
    _, was_loaded = found_in(run_python, tmp_path)
    assert was_loaded
