"""The registry of backends: what there is, why not, which one is taken, under which cap."""

from __future__ import annotations

import os
import subprocess
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

import fastmlp
from fastmlp import BackendUnavailableError, Network, Trainer, backend


@pytest.fixture
def fresh_registry() -> Iterator[None]:
    """Forget what was loaded, before and after."""
    backend._load.cache_clear()
    yield
    backend._load.cache_clear()


def without(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    for name in names:
        entry = backend._ENTRIES[name]
        missing = backend._Entry(entry.module, lambda: "it was taken away")
        monkeypatch.setitem(backend._ENTRIES, name, missing)


def test_the_ones_that_are_always_there() -> None:
    infos = {info.name: info for info in fastmlp.backends()}
    assert list(infos) == ["cython", "numba", "numpy", "python"]
    for name in ("numpy", "python"):
        assert infos[name].available and infos[name].reason == ""
    for info in infos.values():
        assert info.available != bool(info.reason)
        if info.available:
            assert info.isa and info.n_threads >= 1
            assert info.precisions == ("float32", "float64")


def test_auto_takes_the_fastest_and_says_why(
    monkeypatch: pytest.MonkeyPatch, fresh_registry: None
) -> None:
    without(monkeypatch, "cython", "numba")
    trainer = Trainer(Network([2, 2]))
    assert trainer.backend_name == "numpy"
    reason = trainer.backend_reason
    assert "numpy: the fastest that is available; cython is not available (it was taken" in reason


def test_the_environment_chooses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTMLP_BACKEND", " Python ")
    trainer = Trainer(Network([2, 2]))
    assert trainer.backend_name == "python"
    assert trainer.backend_reason == "python: set by the environment (FASTMLP_BACKEND)"
    assert Trainer(Network([2, 2]), backend="numpy").backend_name == "numpy"
    monkeypatch.setenv("FASTMLP_BACKEND", "auto")
    assert Trainer(Network([2, 2])).backend_name in backend.BACKENDS
    monkeypatch.setenv("FASTMLP_BACKEND", "cythn")
    with pytest.raises(ValueError, match=r"FASTMLP_BACKEND must be one of.*Did you mean 'cython'"):
        Trainer(Network([2, 2]))


def test_a_missing_backend_says_why(monkeypatch: pytest.MonkeyPatch, fresh_registry: None) -> None:
    without(monkeypatch, "numba")
    with pytest.raises(
        BackendUnavailableError, match="'numba' is not available: it was taken away"
    ):
        Trainer(Network([2, 2]), backend="numba")


def test_a_backend_that_fails_to_load_says_why(
    monkeypatch: pytest.MonkeyPatch, fresh_registry: None
) -> None:
    def fail(name: str, package: str | None = None) -> types.ModuleType:
        raise OSError("a broken library")

    monkeypatch.setattr(backend.importlib, "import_module", fail)
    reasons = {info.name: info.reason for info in fastmlp.backends()}
    assert reasons["numpy"] == "loading it failed: OSError: a broken library"


def test_numba_and_cython_missing_tell_how_to_get_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: None)
    assert "pip install 'fastmlp[numba]'" in backend._numba_missing()
    assert "install a C compiler" in backend._cython_missing()


# ---------------------------------------------------------------------------------------------
# FASTMLP_MAX_ISA is read when the extension is loaded: each cap needs a process of its own.

ISAS = ("baseline", "avx2", "avx512")

PARITY = """
import numpy as np
import fastmlp
info = next(info for info in fastmlp.backends() if info.name == "cython")
assert info.available, info.reason
random = np.random.default_rng(0)
x, y = random.normal(size=(50, 37)), np.arange(50) % 5
for precision, tolerance in (("float64", 1e-12), ("float32", 2e-5)):
    found = []
    for backend in ("cython", "numpy"):
        network = fastmlp.Network([37, 41, 5], activation="gelu", seed=1, dtype=precision)
        trainer = fastmlp.Trainer(
            network, batch_size=16, backend=backend, precision=precision, seed=2
        )
        trainer.fit(x, y, epochs=2)
        found.append(np.concatenate([network.parameters, trainer.predict_proba(x).ravel()]))
    assert np.abs(found[0] - found[1]).max() < tolerance, precision
print(info.isa)
"""


def run_with_cap(cap: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PARITY],
        env={**os.environ, "FASTMLP_MAX_ISA": cap},
        capture_output=True,
        text=True,
    )


def needs_cython() -> None:
    info: Any = next(info for info in fastmlp.backends() if info.name == "cython")
    if not info.available:
        pytest.skip(f"backend cython: {info.reason}")


@pytest.mark.parametrize("cap", ISAS)
def test_a_cap_on_the_instruction_set(cap: str) -> None:
    needs_cython()
    run = run_with_cap(cap)
    assert run.returncode == 0, run.stderr
    isa = run.stdout.strip()
    assert isa in ISAS[: ISAS.index(cap) + 1]


def test_an_unknown_cap_is_an_error_that_names_it() -> None:
    needs_cython()
    run = run_with_cap("sse9")
    assert run.returncode != 0
    assert "FASTMLP_MAX_ISA" in run.stderr and "sse9" in run.stderr
