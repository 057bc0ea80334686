"""The registry of backends: what there is, why not, which one is taken, under which cap."""

from __future__ import annotations

import subprocess
import types
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import fastmlp
from fastmlp import BackendUnavailableError, Network, Trainer, backend
from fastmlp.cli import main

RunPython = Callable[..., subprocess.CompletedProcess[str]]


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
            assert info.precisions == ("float32", "float64", "bfloat16")


def test_auto_takes_the_fastest_and_says_why(
    monkeypatch: pytest.MonkeyPatch, fresh_registry: None
) -> None:
    without(monkeypatch, "cython", "numba")
    trainer = Trainer(Network([2, 2]))
    assert trainer.backend_name == "numpy"
    reason = trainer.backend_reason
    assert "numpy: the fastest that is available; cython is not available (it was taken" in reason


@pytest.mark.filterwarnings("ignore:the .* backend emulates bfloat16")
@pytest.mark.parametrize(
    ("isa", "said"),
    [
        ("avx512_bf16", "; products of bfloat16 by avx512_bf16 (no tiles: why)"),
        ("", "; products of bfloat16 are emulated (no tiles: why), slower than float32"),
    ],
)
def test_an_instruction_that_is_left_aside_says_why(
    isa: str, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kind = type(backend.get_backend("numpy"))
    monkeypatch.setattr(kind, "bfloat16_isa", isa)
    monkeypatch.setattr(kind, "bfloat16_note", "no tiles: why")
    trainer = Trainer(Network([2, 2]), backend="numpy", precision="bfloat16")
    assert trainer.backend_reason == "numpy: asked for by name" + said
    assert main(["info"]) == 0
    assert f"bfloat16 ({isa or 'emulated'}; no tiles: why)" in capsys.readouterr().out


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_every_backend_normalises(normalization: str) -> None:
    network = Network([2, 2, 2], normalization=normalization)
    for info in fastmlp.backends():
        if info.available:
            assert Trainer(network, backend=info.name).backend_name == info.name


def test_a_precision_that_a_backend_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend.get_backend("numpy"), "precisions", ("float32", "float64"))
    able = [info.name for info in fastmlp.backends() if "bfloat16" in info.precisions]
    wanted = f"'numpy' cannot run this: it has no precision='bfloat16'; here {', '.join(able)} have"
    with pytest.raises(ValueError, match=wanted):
        Trainer(Network([2, 2]), backend="numpy", precision="bfloat16")


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
    # What works with a clone only: fastmlp need not be on any index.
    assert "pip install numba (or" in backend._numba_missing()
    assert "pip install '.[numba]'" in backend._numba_missing()
    text = backend._cython_missing()
    assert "install a C compiler" in text
    assert text.endswith("in the clone of fastmlp, run: pip install --force-reinstall --no-deps .")


def test_auto_is_suggested_only_where_it_is_valid() -> None:
    with pytest.raises(ValueError, match="backend must be one of 'cython', ") as caught:
        backend.get_backend("auto")
    assert "Did you mean" not in str(caught.value)
    with pytest.raises(ValueError, match=r"one of 'auto', .*Did you mean 'auto'\?"):
        Trainer(Network([2, 2]), backend="auot")
    with pytest.raises(ValueError, match=r"Did you mean 'cython'\?"):
        Trainer(Network([2, 2]), backend="Cython")


@pytest.mark.parametrize("name", ["cython", "numba"])
def test_a_wrong_cap_is_the_reason_that_is_shown(
    name: str, monkeypatch: pytest.MonkeyPatch, fresh_registry: None
) -> None:
    if not {info.name: info for info in fastmlp.backends()}[name].available:
        pytest.skip(f"backend {name} is missing anyway")
    backend._load.cache_clear()
    monkeypatch.setenv("FASTMLP_MAX_ISA", "sse9")
    reason = {info.name: info.reason for info in fastmlp.backends()}[name]
    assert reason == backend.isa_cap_error()
    assert reason == (
        "the environment variable FASTMLP_MAX_ISA must be one of "
        "baseline, avx2, avx512, avx512_vnni, avx512_bf16, amx; got 'sse9'"
    )


# ---------------------------------------------------------------------------------------------

PARITY = """
import numpy as np
import fastmlp
info = next(info for info in fastmlp.backends() if info.name == "cython")
assert info.available, info.reason
random = np.random.default_rng(0)
x, y = random.normal(size=(50, 37)), np.arange(50) % 5
for sizes, optimizer in (
    ([37, 41, 5], "sgd"),
    ([37, 20, 33, 17, 5], "adam"),  # three hidden layers
    ([37, 1, 5], "adam"),  # a single unit
):
    for precision, tolerance in (("float64", 1e-12), ("float32", 2e-5)):
        found = []
        for backend in ("cython", "numpy"):
            network = fastmlp.Network(sizes, activation="gelu", seed=1, dtype=precision)
            trainer = fastmlp.Trainer(
                network, optimizer=optimizer, batch_size=16, backend=backend,
                precision=precision, seed=2,
            )
            before = network.parameters.copy()
            trainer.fit(x, y, epochs=2)
            assert (network.parameters != before).mean() > 0.9
            found.append(np.concatenate([network.parameters, trainer.predict_proba(x).ravel()]))
        difference = np.abs(found[0] - found[1]).max()
        assert difference < tolerance, (sizes, precision, difference)
print(info.isa)
"""


def needs_cython() -> None:
    info: Any = next(info for info in fastmlp.backends() if info.name == "cython")
    if not info.available:
        pytest.skip(f"backend cython: {info.reason}")


def test_training_under_a_cap_on_the_instruction_set(
    isa_cap: str, run_python: RunPython, allowed_isas: Callable[[str], tuple[str, ...]]
) -> None:
    needs_cython()
    result = run_python(PARITY, isa_cap=isa_cap)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() in allowed_isas(isa_cap)
