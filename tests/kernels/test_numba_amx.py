"""The numba backend's products by AMX: the machine code itself, on any x86-64 CPU with Linux.

Each instruction of AMX that this CPU does not know raises a signal, whose handler does its work
(amx_trap.c, with the tiles of amx_emulation.h): so nothing of the code is replaced. On a CPU that
has AMX the tests of test_bfloat16.py run it.
"""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

import llvmlite.binding as llvm
from amx_products import compiler

from fastmlp.kernels import numba_amx_check, numba_cpu
from fastmlp.kernels.numba_cpu import Cpu

HERE = Path(__file__).parent
NATIVE = HERE.parents[1] / "kernels" / "native"
TILES = "+amx-tile,+amx-bf16"

pytestmark = pytest.mark.skipif(
    platform.machine().lower() not in ("x86_64", "amd64"), reason="AMX is of x86-64"
)


@pytest.fixture(scope="module")
def trap(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library that does what the instructions would do."""
    if not sys.platform.startswith("linux") or llvm.get_host_cpu_features().get("amx-tile"):
        pytest.skip("this needs Linux and a CPU without AMX")
    if not llvm.get_host_cpu_features().get("avx2"):
        pytest.skip("without AVX2 vectors of 512 bits take too long")
    built = tmp_path_factory.mktemp("trap") / "amx_trap.so"
    command = [
        *compiler(), "-O2", "-std=gnu11", "-Wall", "-Wextra", "-Wno-psabi", "-fPIC", "-shared",
        "-DFASTMLP_EMULATES_AMX", "-DFASTMLP_ISA=amx", f"-I{NATIVE}", f"-I{HERE}",
        str(HERE / "amx_trap.c"), "-o", str(built), "-lm",
    ]  # fmt: skip
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return built


def run_trapped(trap: Path, *arguments: str) -> str:
    """Run pytest where the numba backend has AMX; return what it says."""
    features = llvm.get_host_cpu_features()
    named = features.flatten().split(",")
    # Without tiles products are emulated there, on every CPU.
    others = [each for each in named if not each[1:].startswith(("amx-", "avx512bf16"))]
    environment = os.environ | {
        "NUMBA_CPU_FEATURES": ",".join([*others, TILES]),
        "FASTMLP_AMX_TRAP": str(trap),
        "PYTHONPATH": str(HERE),
    }
    for name in ("FASTMLP_MAX_ISA", "NUMBA_CPU_NAME", "PYTHONSAFEPATH"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "amx_trap", "-p", "no:cacheprovider"]
    command += ["-p", "no:faulthandler", "-p", "no:xdist"]  # which takes the signal for its own
    result = subprocess.run(
        [*command, *arguments], env=environment, capture_output=True, text=True, cwd=HERE.parents[1]
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
    return result.stdout


def test_products(trap: Path) -> None:
    tests = [str(HERE / name) for name in ("trapped_numba_amx.py", "test_numba_strips.py")]
    found = run_trapped(trap, *tests)
    assert re.search(r"^\d+ passed", found, re.MULTILINE) and "skipped" not in found


@pytest.mark.slow
def test_training_and_prediction(trap: Path) -> None:
    # What starts processes of its own has no tiles there.
    found = run_trapped(
        trap, "-k", "numba and not longdouble and not reason", str(HERE / "test_bfloat16.py")
    )
    assert re.search(r"^\d+ passed", found, re.MULTILINE)


OBJECT_CODE = """
from fastmlp.kernels import numba_compiling
from fastmlp.kernels.numba_cpu import Cpu
from fastmlp.kernels.numba_source import load_amx
def show(function, names):
    print("--", function._library.get_asm_str())
    return object_code(function, names)
object_code, numba_compiling.object_code = numba_compiling.object_code, show
load_amx(Cpu("x86-64-v4", "AVX-512", 512, 32))
"""


def test_object_code(tmp_path: Path) -> None:
    """For a CPU with AVX-512 too: compiled, not run."""
    target = {"NUMBA_CPU_NAME": "x86-64-v4", "NUMBA_CPU_FEATURES": TILES}
    result = subprocess.run(
        [sys.executable, "-c", OBJECT_CODE],
        env=os.environ | target | {"FASTMLP_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    functions = result.stdout.split("--")[1:]
    with_tiles = [text for text in functions if "ldtilecfg" in text]
    assert (len(functions), len(with_tiles)) == (5, 4)  # rows are gathered without them
    for text in with_tiles:
        found = re.findall(r"^\s(ldtilecfg|tile\w+|tdp\w+)", text, re.MULTILINE)
        assert found[0] == "ldtilecfg" and found.count("ldtilecfg") == 1
        assert found.count("tilerelease") == 1
        assert {"tilezero", "tileloadd", "tilestored", "tdpbf16ps"} <= set(found)
        # LLVM took tiles of its own choice when it was told of them: b, a, sums.
        products = re.findall(r"tdpbf16ps\s+%tmm(\d), %tmm(\d), %tmm(\d)", text)
        assert set(products) == {("6", "4", "0"), ("7", "4", "1"), ("6", "5", "2"), ("7", "5", "3")}


# ------------------------------------------------------------------------- where it is not tried

WIDE = Cpu("some", "AVX-512", 512, 32)


def test_without_tiles_nothing_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTMLP_MAX_ISA", raising=False)
    monkeypatch.setattr(numba_amx_check, "cpu_has_tiles", lambda: False)
    monkeypatch.setattr(numba_amx_check, "system_refusal", lambda: pytest.fail("it was asked"))
    assert numba_amx_check.tile_products.__wrapped__(WIDE) == (None, "")


@pytest.mark.parametrize(
    ("may_use", "features", "cap"),
    [
        (numba_amx_check.may_try, TILES, "amx"),
        (numba_cpu.multiplies_pairs, "+avx512bf16", "avx512_bf16"),
    ],
)
def test_what_the_target_lacks_is_left_alone(
    may_use: Callable[[Cpu], bool], features: str, cap: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """LLVM would end the process, as where NUMBA_CPU_NAME names an older CPU."""
    monkeypatch.delenv("FASTMLP_MAX_ISA", raising=False)
    monkeypatch.setattr(numba_amx_check, "cpu_has_tiles", lambda: True)
    target: list[str] = []
    monkeypatch.setattr(numba_cpu, "target", lambda: ("", "znver4", ",".join(target)))
    assert not may_use(WIDE)
    target += ["+avx512f", *features.split(",")]
    assert may_use(WIDE)
    assert not may_use(Cpu("some", "AVX2", 256, 16))
    monkeypatch.setenv("FASTMLP_MAX_ISA", "avx512")
    assert not may_use(WIDE)
    monkeypatch.setenv("FASTMLP_MAX_ISA", cap)
    assert may_use(WIDE)


def test_pairs_are_multiplied_where_the_cpu_gains_by_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FASTMLP_MAX_ISA", raising=False)
    for name, gains in (("znver4", True), ("znver5", True), ("sapphirerapids", False)):
        monkeypatch.setattr(numba_cpu, "target", lambda: ("", name, "+avx512f,+avx512bf16"))  # noqa: B023
        assert numba_cpu.multiplies_pairs(WIDE) is gains


def test_a_system_without_tiles_refuses_with_a_reason() -> None:
    reason = numba_amx_check.system_refusal()
    if not llvm.get_host_cpu_features().get("amx-tile"):
        assert reason
    assert reason == "" or reason.startswith(("the system does not give", "AMX is tried on"))
