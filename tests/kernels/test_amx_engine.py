"""The cython engine with AMX, built with emulated tiles: as the tests of the engines want it.

Panels are 16 numbers wide then, by AVX2's vectors: slow, but the same code.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import fastmlp

ROOT = Path(__file__).parents[2]
ROW = re.compile(
    r'^( +(?:ISA|INT8|BFLOAT16|AMX)\((\w+), .*?)"([^"]*)"(.*), [^,\n]+\)( \\)?$', re.MULTILINE
)
FLAGS = {
    "avx512": "-mavx2 -mfma -Wno-psabi -DFASTMLP_PORTABLE",
    "amx": "-mavx2 -mfma -Wno-psabi -DFASTMLP_EMULATES_AMX -Itests/kernels",
}


def emulated_row(row: re.Match[str]) -> str:
    """A row of isa_table.h, for any CPU if it is one of those that are emulated, else for none."""
    start, name, _, rest, goes_on = row.groups()
    runs = 1 if name in FLAGS or name == "baseline" else 0
    return f'{start}"{FLAGS.get(name, row[3])}"{rest}, {runs}){goes_on or ""}'


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with fastmlp, whose AMX is emulated."""
    info = {info.name: info for info in fastmlp.backends()}["cython"]
    if sys.platform == "win32" or info.isa in ("", "baseline"):
        pytest.skip("this needs a CPU with AVX2, and GCC or Clang")
    pytest.importorskip("Cython")
    folder = tmp_path_factory.mktemp("emulated")
    source = folder / "source"
    left_out = shutil.ignore_patterns(".*", "build", "dist", "*.so", "*.egg-info", "__pycache__")
    for part in ("fastmlp", "kernels", "benchmarks", "tests/kernels"):
        shutil.copytree(ROOT / part, source / part, ignore=left_out)
    for part in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / part, source / part)
    table = source / "kernels" / "native" / "isa_table.h"
    text, n = ROW.subn(emulated_row, table.read_text(encoding="utf-8"))
    assert n == 6
    table.write_text(text, encoding="utf-8")
    dispatch = source / "kernels" / "native" / "dispatch.c"
    text = dispatch.read_text(encoding="utf-8")
    assert text.count("= amx_refusal();") == 1
    text = text.replace("= amx_refusal();", '= getenv("REFUSE_AMX");')
    dispatch.write_text("#include <stdlib.h>\n" + text, encoding="utf-8")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command += ["--no-build-isolation", "--target", str(folder / "installed"), str(source)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert list((folder / "installed").glob("fastmlp/kernels/cython_backend*")), "it was not built"
    return folder / "installed"


def run(installed: Path, *arguments: str, **environment: str) -> str:
    left_out = ("FASTMLP_MAX_ISA", "FASTMLP_FLOAT32_PRODUCTS")
    inherited = {name: value for name, value in os.environ.items() if name not in left_out}
    result = subprocess.run(
        [sys.executable, *arguments],
        env=inherited | {"PYTHONPATH": str(installed), "PYTHONSAFEPATH": "1"} | environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


INSTRUCTION = """
import fastmlp
info = {info.name: info for info in fastmlp.backends()}["cython"]
print(info.isa, info.bfloat16_isa or "emulated", info.bfloat16_note, sep="; ")
"""


@pytest.mark.slow
def test_amx_is_taken_unless_it_is_capped_or_refused(installed: Path) -> None:
    assert run(installed, "-c", INSTRUCTION) == "avx512; amx; \n"
    capped = run(installed, "-c", INSTRUCTION, FASTMLP_MAX_ISA="avx512_bf16")
    assert capped == "avx512; emulated; \n"
    refused = run(installed, "-c", INSTRUCTION, REFUSE_AMX="no tiles today")
    assert refused == "avx512; emulated; no tiles today\n"


def run_tests(installed: Path, selected: str, *names: str, **environment: str) -> None:
    tests = [str(Path(__file__).with_name(name)) for name in names]
    pytest_run = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", selected)
    found = run(installed, *pytest_run, *tests, **environment)
    assert re.search(r"^\d+ passed", found, re.MULTILINE) and "failed" not in found


@pytest.mark.slow
def test_training_and_prediction(installed: Path) -> None:
    run_tests(installed, "not numba", "test_bfloat16.py")


# ------------------------------------------------------------------- float32 by split products

REASON = """
import fastmlp
print(fastmlp.Trainer(fastmlp.Network([20, 3]), backend="cython").backend_reason)
"""


@pytest.mark.slow
def test_float32_is_split_where_it_is_asked_for(installed: Path) -> None:
    asked_for = {"FASTMLP_FLOAT32_PRODUCTS": "amx"}
    plain = run(installed, "-c", REASON)
    assert plain == "cython: asked for by name\n"
    split = "products of float32 by amx, each number as three bfloat16"
    assert run(installed, "-c", REASON, **asked_for) == f"{plain[:-1]}; {split}\n"
    refused = "; products of float32 by avx512, not AMX: no tiles today\n"
    found = run(installed, "-c", REASON, REFUSE_AMX="no tiles today", **asked_for)
    assert found == plain[:-1] + refused
    info = run(installed, "-m", "fastmlp", "info", **asked_for)
    assert f"bfloat16 (amx); {split}" in info


PREDICTIONS = """
import numpy as np
import fastmlp
x = np.random.default_rng(0).normal(size=(100, 40)).astype(np.float32)
x[33, 5], x[70, 1] = 1e-36, 3e38  # whose tiles are left to multiply-add
network = fastmlp.Network([40, 100_000, 3], seed=0)  # enough for many threads
found = set()
for n_threads in range(1, 8):
    trainer = fastmlp.Trainer(network, backend="cython", n_threads=n_threads)
    found.add(trainer.predict_proba(x).tobytes())
print(len(found))
"""


@pytest.mark.slow
def test_predictions_do_not_depend_on_threads(installed: Path) -> None:
    assert run(installed, "-c", PREDICTIONS, FASTMLP_FLOAT32_PRODUCTS="amx") == "1\n"


@pytest.mark.slow
def test_float32_between_large_layers(installed: Path) -> None:
    run_tests(installed, "not numba", "test_float32_products.py")


@pytest.mark.slow
def test_float32_as_every_engine_computes_it(installed: Path) -> None:
    names = ("test_contract_parity.py", "test_cython_backend.py", "test_combinations.py")
    selected = "(cython or not numpy and not python and not numba) and not float64"
    run_tests(installed, selected, *names, FASTMLP_FLOAT32_PRODUCTS="amx")
