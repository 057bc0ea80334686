"""The compiled loops against the NumPy and the Python backend, and what is around them."""

from __future__ import annotations

import inspect
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

from fastmlp import Network, Trainer
from fastmlp.kernels import numba_cpu, numba_memory, numba_source
from fastmlp.kernels.formulas import ACTIVATIONS, LOSSES, STEPS, random_bits
from fastmlp.kernels.numba_backend import NumbaEngine
from fastmlp.kernels.numba_backend import backend as numba_backend
from fastmlp.kernels.numpy_backend import backend as numpy_backend
from fastmlp.kernels.numpy_backend import compile_formulas
from fastmlp.losses import NAMED_LOSSES

PRECISIONS = ("float32", "float64")
RunPython = Callable[..., subprocess.CompletedProcess[str]]


def numbers(precision: str, largest: float = 100.0) -> np.ndarray:
    """Return numbers of all sizes and both signs, limits and NaN, as a matrix (rows, 37)."""
    random = np.random.default_rng(7)
    sizes = np.exp(random.uniform(np.log(1e-6), np.log(largest), 37 * 20))
    values = sizes * random.choice([-1.0, 1.0], sizes.size)
    values[:8] = [0.0, -0.0, np.inf, -np.inf, np.nan, 1e30, -1e30, 88.5]
    return values.astype(precision).reshape(20, 37)


def same_bits(found: np.ndarray, expected: np.ndarray) -> bool:
    """Compare bit by bit; a NaN equals a NaN, whatever its bits."""
    assert found.dtype == expected.dtype
    both_nan = np.isnan(found) & np.isnan(expected)
    signs = np.signbit(found) == np.signbit(expected)
    return bool((both_nan | ((found == expected) & signs)).all())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation_and_derivative_have_numpys_bits(name: str, precision: str) -> None:
    z = numbers(precision)
    with np.errstate(all="ignore"):
        a = numpy_backend.activation(name, z)
        slope = numpy_backend.activation_derivative(name, z, a)
    assert same_bits(numba_backend.activation(name, z), a)
    assert same_bits(numba_backend.activation_derivative(name, z, a), slope)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", STEPS)
def test_update_has_numpys_bits(name: str, precision: str) -> None:
    step = STEPS[name]
    random = np.random.default_rng(1)
    w, g = random.normal(size=(2, 1003)).astype(precision)
    state = np.abs(random.normal(size=(len(step.states), 1003))).astype(precision)
    coefficients = random.uniform(0.01, 1.0, step.n_coefficients).tolist()
    expected_w, expected_state = w.copy(), state.copy()
    numpy_backend.update(name, expected_w, g, expected_state, coefficients)
    before = w.copy()
    numba_backend.update(name, w, g, state, coefficients)
    assert same_bits(w, expected_w)
    assert same_bits(state, expected_state)
    assert not np.array_equal(w, before)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("name", LOSSES)
def test_loss_and_slope(name: str, precision: str) -> None:
    random = np.random.default_rng(2)
    z = (5.0 * random.normal(size=(9, 11))).astype(precision)
    targets = random.uniform(size=(9, 11)).astype(precision)
    own = NAMED_LOSSES[name].parameters(11)
    losses, slopes = numba_backend.loss(name, z, targets, own)
    expected_losses, expected_slopes = numpy_backend.loss(name, z, targets, own)
    unit = np.finfo(precision).eps
    np.testing.assert_allclose(losses, expected_losses, rtol=50 * unit)
    np.testing.assert_allclose(slopes, expected_slopes, rtol=50 * unit, atol=50 * unit)
    if LOSSES[name].of == "logits":
        slope = compile_formulas(precision)[LOSSES[name].slope.__name__]
        rows = [np.array(row, precision) for row in own]
        assert same_bits(slopes, slope(z, targets, *rows))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", [(1, 1, 1), (9, 300, 33), (13, 5, 64), (8, 16, 70)])
def test_matmul_of_odd_shapes(shape: tuple[int, int, int], precision: str) -> None:
    rows, inner, columns = shape
    random = np.random.default_rng(3)
    a = random.normal(size=(rows, inner)).astype(precision)
    b = random.normal(size=(inner, columns)).astype(precision)
    product = numba_backend.matmul(a, b)
    assert product.dtype == a.dtype
    bound = np.abs(a).astype(np.float64) @ np.abs(b) * np.finfo(precision).eps * inner
    assert (np.abs(product - a.astype(np.float64) @ b) <= bound).all()


# ---- Engines.

CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "softmax": (
        {"layer_sizes": [7, 19, 6, 3], "activation": ["gelu", "tanh"], "input_scale": 0.7},
        {"optimizer": "adam", "precision": "float64"},
    ),
    "sigmoid, float32": (
        {"layer_sizes": [7, 16, 5], "activation": "relu", "output": "sigmoid"},
        {"optimizer": "nesterov", "precision": "float32"},
    ),
    "not merged": (
        {"layer_sizes": [7, 5, 2], "activation": "softplus", "output": "sigmoid"},
        {"loss": "squared_error", "optimizer": "adamw", "precision": "float64"},
    ),
    **{
        f"{normalization} normalisation": (
            {"layer_sizes": [7, 19, 6, 3], "activation": "gelu", "normalization": normalization},
            {"optimizer": "adam", "precision": "float64"},
        )
        for normalization in ("batch", "layer")
    },
}


def make_trainer(case: str, backend: str, **changes: Any) -> Trainer:
    of_network, of_trainer = CASES[case]
    others = {key: value for key, value in of_network.items() if key != "layer_sizes"}
    network = Network(of_network["layer_sizes"], seed=0, **others)
    return Trainer(
        network, backend=backend, **{"batch_size": 8, "seed": 0, **of_trainer, **changes}
    )


def make_data(case: str, n_rows: int = 43) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return x of float64, targets and row weights, a few of them 0; 43 rows: a partial batch."""
    random = np.random.default_rng(4)
    sizes = CASES[case][0]["layer_sizes"]
    x = random.normal(size=(n_rows, sizes[0]))
    y = random.uniform(size=(n_rows, sizes[-1]))
    weights = random.uniform(0.0, 2.0, n_rows) * (random.uniform(size=n_rows) > 0.2)
    return x, y if "output" in CASES[case][0] else y.argmax(axis=1), weights


def tolerance(case: str) -> float:
    return 2e-5 if CASES[case][1]["precision"] == "float32" else 1e-11


@pytest.mark.parametrize("reference", ["python", "numpy"])
@pytest.mark.parametrize("case", CASES)
def test_engine_equals_the_reference(case: str, reference: str) -> None:
    x, y, weights = make_data(case)
    close = {"rtol": tolerance(case), "atol": tolerance(case)}
    found, expected = make_trainer(case, "numba"), make_trainer(case, reference)
    for sample_weight in (None, weights):
        gradients = found.gradients(x, y, sample_weight)
        expected_gradients = expected.gradients(x, y, sample_weight)
        assert gradients.loss == pytest.approx(expected_gradients.loss, rel=tolerance(case))
        for name in ("z", "a", "dz", "dw", "db", "dgamma"):
            pairs = zip(getattr(gradients, name), getattr(expected_gradients, name), strict=True)
            for ours, theirs in pairs:
                np.testing.assert_allclose(ours, theirs, **close)
        for trainer in (found, expected):
            trainer.fit(x, y, epochs=2, sample_weight=sample_weight)
        np.testing.assert_allclose(found.history.loss, expected.history.loss, **close)
        np.testing.assert_allclose(found.network.parameters, expected.network.parameters, **close)
        np.testing.assert_allclose(found.optimizer_state, expected.optimizer_state, **close)
        np.testing.assert_allclose(found.predict_proba(x), expected.predict_proba(x), **close)
        ours, theirs = found.evaluate(x, y, sample_weight), expected.evaluate(x, y, sample_weight)
        assert ours.loss == pytest.approx(theirs.loss, rel=tolerance(case))
        assert ours.score == pytest.approx(theirs.score, rel=tolerance(case))


def test_inputs_of_any_type_and_strides_give_the_same_bits(tmp_path: Path) -> None:
    random = np.random.default_rng(5)
    _, y, _ = make_data("softmax")
    bytes_ = random.integers(0, 256, (43, 7)).astype(np.uint8)
    expected = make_trainer("softmax", "numba").gradients(bytes_.astype(np.float64), y)

    wide = np.zeros((86, 21), np.uint8)
    wide[::2, ::3] = bytes_
    backwards = np.ascontiguousarray(bytes_[::-1, ::-1])
    bytes_.tofile(tmp_path / "x.bin")
    mapped = np.memmap(tmp_path / "x.bin", np.uint8, mode="r", shape=bytes_.shape)
    variants = {
        "strided": wide[::2, ::3],
        "negative strides": backwards[::-1, ::-1],
        "Fortran order": np.asfortranarray(bytes_),
        "memory map": mapped,
        "float32": bytes_.astype(np.float32),
    }
    for name, x in variants.items():
        found = make_trainer("softmax", "numba").gradients(x, y)
        assert found.loss == expected.loss, name
        assert all(map(np.array_equal, found.dw, expected.dw)), name


def test_many_rows_are_predicted_in_blocks() -> None:
    x, y, _ = make_data("softmax", n_rows=700)
    trainer = make_trainer("softmax", "numba")
    outputs = trainer.predict_proba(x)
    np.testing.assert_array_equal(outputs[600:], trainer.predict_proba(x[600:]))
    parts = [trainer.evaluate(x[:300], y[:300]).loss, trainer.evaluate(x[300:], y[300:]).loss]
    whole = (300 * parts[0] + 400 * parts[1]) / 700
    assert trainer.evaluate(x, y).loss == pytest.approx(whole, rel=1e-12)


def test_memory_is_for_the_rows_that_there_are() -> None:
    x, y, _ = make_data("softmax", n_rows=43)
    trainer = make_trainer("softmax", "numba", batch_size=10**9)
    engine = trainer._bound.engine()
    assert isinstance(engine, NumbaEngine)
    trainer.fit(x, y, epochs=2)
    assert engine.workspace is not None and engine.workspace.n_rows == 43
    whole = make_trainer("softmax", "numba", batch_size=43)
    whole.fit(x, y, epochs=2)
    np.testing.assert_array_equal(trainer.network.parameters, whole.network.parameters)
    trainer.predict(np.tile(x, (30, 1)))  # a batch of predictions is small whatever batch_size is
    assert {each.n_rows for each in engine.predicting} == {128}


def test_stops_before_the_update_at_a_loss_that_is_not_finite() -> None:
    x, y, _ = make_data("softmax", n_rows=24)
    x[9] = np.nan
    trainer = make_trainer("softmax", "numba")
    parameters, state = trainer.network.parameters.copy(), trainer.optimizer_state.copy()
    engine = numba_backend.compile(trainer.plan, parameters, state, np.zeros(0))
    coefficients = trainer.optimizer.coefficients(1, 3)
    labels, order = y.astype(np.int32), np.arange(24)
    sums = engine.train(x, labels, None, order, coefficients)
    assert len(sums) == 2
    assert np.isfinite(sums[0])
    assert np.isnan(sums[1])

    once, once_state = trainer.network.parameters.copy(), trainer.optimizer_state.copy()
    engine = numba_backend.compile(trainer.plan, once, once_state, np.zeros(0))
    engine.train(x, labels, None, order[:8], coefficients[:1])
    np.testing.assert_array_equal(parameters, once)
    np.testing.assert_array_equal(state, once_state)
    assert not np.array_equal(once, trainer.network.parameters)


@pytest.mark.parametrize("case", ["softmax", "batch normalisation", "layer normalisation"])
def test_pad_columns_are_never_read(case: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, y, _ = make_data("softmax")
    trainer = make_trainer(case, "numba")
    expected = trainer.gradients(x, y)
    make_zeros = numba_memory.aligned_zeros

    def make_nan(n_bytes: int) -> np.ndarray:
        memory = make_zeros(n_bytes)
        memory[...] = 0xFF  # NaN, in float64 as in float32
        return memory

    monkeypatch.setattr(numba_memory, "aligned_zeros", make_nan)
    engine = make_trainer(case, "numba")._bound.engine()
    found = engine.gradients(x, y.astype(np.int32), None)
    assert found.loss == expected.loss
    assert all(map(np.array_equal, found.dw + found.db, expected.dw + expected.db))


@pytest.fixture
def compile_activation(compile_anew: Callable[..., Any]) -> Callable[[str], Any]:
    """Return a function that compiles an activation anew, for float32."""
    load = numba_source.load_activation.__wrapped__
    return lambda name: compile_anew(lambda: load(name, "float32", numba_cpu.select_cpu()))


@pytest.mark.parametrize("name", ["mish", "tanh"])
def test_no_float64_in_a_float32_formula(name: str, compile_activation: Callable[..., Any]) -> None:
    module = compile_activation(name)
    for function in (module.activate, module.differentiate):
        text = function.inspect_llvm()
        assert " float " in text
        assert "double" not in text


def test_formulas_run_in_vectors(compile_activation: Callable[..., Any]) -> None:
    module = compile_activation("gelu")
    assert re.search(r"fmul <\d+ x float>", module.activate.inspect_llvm())


def test_memory_that_is_not_contiguous_is_refused() -> None:
    trainer = make_trainer("softmax", "numba")
    parameters = np.zeros(2 * trainer.plan.n_parameters)[::2]
    with pytest.raises(ValueError, match="contiguous"):
        numba_backend.compile(trainer.plan, parameters, trainer.optimizer_state, np.zeros(0))


# ---- The cache and the cap on the instruction set.

ACTIVATE = """
import re, sys
import numpy as np
from fastmlp.kernels import numba_backend, numba_compiling
widest = 0
def look(function, names):
    global widest
    widths = re.findall(r"<(\\d+) x float>", function.inspect_llvm())
    widest = max(widest, *map(int, widths))
    return object_code(function, names)
object_code, numba_compiling.object_code = numba_compiling.object_code, look
z = np.linspace(-9, 9, 64, dtype=np.float32).reshape(2, 32)
print(numba_backend.backend.activation("tanh", z).tobytes().hex())
print(numba_backend.backend.isa)
print(widest)  # of what was compiled here, if anything was
print("numba" in sys.modules)
"""


def test_compiled_code_is_found_again(tmp_path: Path, run_python: RunPython) -> None:
    """And Numba, which takes long to load, is not even loaded then."""
    results = [run_python(ACTIVATE, FASTMLP_CACHE_DIR=str(tmp_path)) for _ in range(2)]
    assert [each.stderr for each in results] == ["", ""]
    first, second = [each.stdout.splitlines() for each in results]
    assert first[:2] == second[:2]
    assert int(first[2]) > 0 and first[3] == "True"
    assert second[2:] == ["0", "False"]


def test_compiled_code_of_another_target_is_not_taken(
    tmp_path: Path, run_python: RunPython
) -> None:
    settings = {"NUMBA_CPU_NAME": "x86-64", "NUMBA_CPU_FEATURES": ""}
    if not numba_cpu.target()[0].startswith("x86_64"):
        pytest.skip("x86-64 is the name of a CPU that this one cannot run as")
    for expected in (True, False):
        result = run_python(ACTIVATE, FASTMLP_CACHE_DIR=str(tmp_path))
        assert (result.stdout.splitlines()[2] != "0") == expected, result.stderr
        result = run_python(ACTIVATE, FASTMLP_CACHE_DIR=str(tmp_path), **settings)
        assert (result.stdout.splitlines()[2] != "0") == expected, result.stderr


def test_processes_may_compile_at_the_same_time(tmp_path: Path, run_python: RunPython) -> None:
    def run(_: int) -> subprocess.CompletedProcess[str]:
        return run_python(ACTIVATE, FASTMLP_CACHE_DIR=str(tmp_path))

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(run, range(3)))
    assert [each.stderr for each in results] == [""] * 3
    assert len({each.stdout.splitlines()[0] for each in results}) == 1
    assert run(0).stdout.splitlines()[2] == "0"  # found again


@pytest.mark.skipif(
    numba_cpu.host_cpu().vector_bits < 512, reason="this CPU has no AVX-512 to leave out"
)
@pytest.mark.parametrize(
    ("cap", "isa", "widest"), [("baseline", "x86-64, SSE2", 4), ("avx2", "x86-64-v3, AVX2", 8)]
)
def test_max_isa_caps_the_code(
    tmp_path: Path, run_python: RunPython, cap: str, isa: str, widest: int
) -> None:
    result = run_python(ACTIVATE, isa_cap=cap, FASTMLP_CACHE_DIR=str(tmp_path))
    assert result.stderr == ""
    bits, found_isa, found_widest, _ = result.stdout.splitlines()
    assert found_isa == isa
    assert int(found_widest) == widest
    z = np.linspace(-9, 9, 64, dtype=np.float32).reshape(2, 32)
    assert bits == numpy_backend.activation("tanh", z).tobytes().hex()


def test_weaker_caps_leave_fewer_vector_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(numba_cpu.llvm, "get_process_triple", lambda: "x86_64-unknown-linux-gnu")
    caps = {
        bits: numba_cpu.weaker_caps(numba_cpu.Cpu("a CPU", "", bits, 16))
        for bits in (128, 256, 512)
    }
    assert caps == {128: (), 256: ("baseline",), 512: ("baseline", "avx2")}
    monkeypatch.setattr(numba_cpu.llvm, "get_process_triple", lambda: "aarch64-apple-darwin")
    assert numba_cpu.weaker_caps(numba_cpu.Cpu("a CPU", "", 512, 32)) == ()


def test_max_isa_comes_too_late_after_other_compiled_code(
    tmp_path: Path, run_python: RunPython
) -> None:
    code = """
import numba, os
numba.njit(lambda x: x + 1)(1)
os.environ["FASTMLP_MAX_ISA"] = "baseline"
import fastmlp.kernels.numba_backend
"""
    result = run_python(code, FASTMLP_CACHE_DIR=str(tmp_path))
    if numba_cpu.host_cpu().isa == "SSE2":
        assert result.returncode == 0
    else:
        assert "FASTMLP_MAX_ISA=baseline cannot be obeyed" in result.stderr


AFTER_OTHER_CODE = """
import numpy as np
from fastmlp.kernels import numba_backend
z = np.linspace(-9, 9, 64, dtype=np.float32).reshape(2, 32)
numba_backend.backend.activation("tanh", z)
import numba
numba.njit(lambda x: x + 1)(1)
numba_backend.load_activation.cache_clear()
numba_backend.backend.activation("tanh", z)
"""


def test_under_a_cap_what_is_compiled_runs_beside_other_code(
    tmp_path: Path, run_python: RunPython
) -> None:
    for _ in range(2):  # the second time Numba is not told of the cap
        result = run_python(AFTER_OTHER_CODE, isa_cap="baseline", FASTMLP_CACHE_DIR=str(tmp_path))
        assert (result.returncode, result.stderr) == (0, "")


BROKEN = """
import fastmlp
from fastmlp import Network, Trainer
print(next(each.reason for each in fastmlp.backends() if each.name == "numba"))
trainer = Trainer(Network([2, 3], seed=0), backend="numba", seed=0)
trainer.fit([[0.0, 1.0]], [1])
"""


def test_a_numba_that_cannot_be_loaded_is_told_of(tmp_path: Path, run_python: RunPython) -> None:
    """At once, if nothing is compiled; else by what is not."""
    (tmp_path / "numba").mkdir()
    (tmp_path / "numba" / "__init__.py").write_text("raise ImportError('needs another NumPy')")
    cache = tmp_path / "cache"
    environment = {"FASTMLP_CACHE_DIR": str(cache), "PYTHONPATH": str(tmp_path)}
    reason = "needs Numba, which cannot be loaded (ImportError: needs another NumPy); mend its"
    result = run_python(BROKEN, **environment)
    assert reason in result.stdout and "BackendUnavailableError" in result.stderr
    run_python(ACTIVATE, FASTMLP_CACHE_DIR=str(cache))
    result = run_python(BROKEN, **environment)
    assert result.stdout == "\n" and reason in result.stderr


def test_importing_the_backend_compiles_nothing(run_python: RunPython) -> None:
    code = """
from numba.core import event
with event.install_recorder("numba:compile") as recorder:
    import fastmlp.kernels.numba_backend
print(len(recorder.buffer))
"""
    result = run_python(code)
    assert (result.stdout.strip(), result.stderr) == ("0", "")


def test_the_text_of_a_function_is_its_source() -> None:
    functions = [f for each in numba_source.TEMPLATES for f in numba_source._functions_of(each)]
    assert len(functions) > 50
    for function in (*functions, random_bits):
        source = inspect.getsource(function).rstrip("\n") + "\n"
        assert numba_source._source_of(function) == source


def test_generated_modules_have_one_value_per_constant() -> None:
    values: dict[str, set[int]] = {}
    for template in numba_source.TEMPLATES:
        for name, value in vars(template).items():
            if name.isupper():
                values.setdefault(name, set()).add(value)
    assert {name: found for name, found in values.items() if len(found) > 1} == {}
