"""The probe's loops do what they say: sums tell how often; no time is looked at."""

from __future__ import annotations

import re
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

probe = pytest.importorskip(
    "fastmlp.kernels.machine_probe", reason="the extension was not built: no C compiler"
)

PRECISIONS = ("float32", "float64")
VECTOR_BYTES = {"baseline": 16, "avx2": 32, "avx512": 64}
CPU_FLAGS = {
    "avx2": {"avx2", "fma"},
    "avx512": {"avx512f", "avx512dq", "avx512bw", "avx512vl"},
}


def test_the_weakest_comes_first_and_always_runs():
    names = probe.instruction_sets()
    assert names[0] == "baseline"
    assert list(names) == [name for name in VECTOR_BYTES if name in names]


@pytest.mark.skipif(not Path("/proc/cpuinfo").exists(), reason="the flags are read in /proc")
def test_only_what_the_cpu_has_is_listed():
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    flags = set(found[1].split()) if found else set()
    expected = {name for name, needed in CPU_FLAGS.items() if needed <= flags}
    assert set(probe.instruction_sets()) - {"baseline"} == expected


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("isa", probe.instruction_sets())
def test_every_step_counts_once_in_every_lane(isa: str, precision: str):
    lanes = VECTOR_BYTES[isa] // np.dtype(precision).itemsize
    assert probe.multiply_adds_per_step(isa, precision) == 12 * lanes
    for steps in (0, 1, 1001):
        assert probe.multiply_add(isa, precision, steps) == steps * 12 * lanes


@pytest.mark.parametrize("isa", probe.instruction_sets())
def test_every_byte_is_read_in_every_pass(isa: str):
    words = np.random.default_rng(0).integers(2**64, size=3 * 64, dtype=np.uint64)
    total = int(words.sum(dtype=np.uint64))
    for passes in (0, 1, 5):
        assert probe.read(isa, words, passes) == passes * total % 2**64


@pytest.mark.parametrize("isa", probe.instruction_sets())
def test_an_unaligned_start_is_read_too(isa: str):
    words = np.arange(65, dtype=np.uint64)[1:]
    assert probe.read(isa, words, 1) == int(words.sum())


def test_an_incomplete_block_is_refused():
    with pytest.raises(ValueError, match="a multiple of 512 bytes long; got 513 bytes"):
        probe.read("baseline", bytes(513), 1)


def test_an_empty_buffer_is_read():
    assert probe.read("baseline", b"", 3) == 0


@pytest.mark.parametrize("name", ["avx1024", "", "AVX2"])
def test_an_unknown_instruction_set_is_refused(name: str):
    for call in (
        lambda: probe.multiply_add(name, "float32", 1),
        lambda: probe.read(name, bytes(512), 1),
        lambda: probe.multiply_adds_per_step(name, "float32"),
    ):
        with pytest.raises(ValueError, match=f"isa must be one of baseline.*got '{name}'"):
            call()


def test_an_unknown_precision_is_refused():
    with pytest.raises(ValueError, match="precision must be float32 or float64; got 'float16'"):
        probe.multiply_add("baseline", "float16", 1)


def test_the_tile_unit_counts_right_or_says_why_it_is_missing():
    reason = probe.amx_reason()
    if reason:
        with pytest.raises(RuntimeError, match=re.escape(reason)):
            probe.multiply_tiles(1)
    else:
        for steps in (0, 1, 1001):
            expected = steps * probe.AMX_MULTIPLY_ADDS_PER_STEP
            assert probe.multiply_tiles(steps) == expected


@pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(), reason="this Python has no GIL"
)
def test_other_threads_run_meanwhile():
    # With this interval nobody else runs until the call is over, unless it gives the GIL away.
    interval = sys.getswitchinterval()
    sys.setswitchinterval(60.0)
    try:
        thread = threading.Thread(
            target=probe.multiply_add, args=("baseline", "float64", 20_000_000)
        )
        thread.start()
        turns = 0
        while thread.is_alive() and turns <= 100:
            turns += 1
        thread.join()
    finally:
        sys.setswitchinterval(interval)
    assert turns > 100
