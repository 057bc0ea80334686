"""bfloat16: its rounding bit by bit, its products within their bound, the same in every backend."""

from __future__ import annotations

import json
import os
import re
import subprocess
from array import array
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import fastmlp
from fastmlp import Clipping, Dropout, Regularization, backends
from fastmlp.backend import warn_of_emulation
from fastmlp.explain import explain
from fastmlp.kernels.bfloat16 import rounded_array, rounded_row
from fastmlp.kernels.isa_cap import CAPS
from fastmlp.optimizers import NAMED_OPTIMIZERS

pytestmark = pytest.mark.filterwarnings("ignore:the .* backend emulates bfloat16")

INFOS = {info.name: info for info in backends()}
COMPILED = [info.name for info in backends() if info.name in ("cython", "numba") and info.available]
WITH_BFLOAT16 = [info.name for info in backends() if "bfloat16" in info.precisions]
EMULATING = [
    info.name
    for info in backends()
    if info.name in WITH_BFLOAT16 and info.name != "cython" and not info.bfloat16_isa
]
NUMBA_CAPS = ("baseline", "avx2", "avx512", "avx512_bf16")  # each is compiled for

# ------------------------------------------------------------------------------------ rounding


def by_ml_dtypes(values: np.ndarray) -> np.ndarray:
    """The bits of float32 values rounded by another library."""
    with np.errstate(all="ignore"):
        return values.astype(ml_dtypes.bfloat16).astype(np.float32).view(np.uint32)


def test_rounding_of_every_upper_half_and_what_decides() -> None:
    # Below, at and above a tie, for all signs, exponents (denormals, infinity, NaN) and mantissas.
    upper = np.arange(1 << 16, dtype=np.uint32) << 16
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], np.uint32)
    values = (upper[:, None] | lower).ravel().view(np.float32)
    assert np.array_equal(rounded_array(values).view(np.uint32), by_ml_dtypes(values))


@given(st.lists(st.floats(width=32), min_size=1))
def test_a_row_is_rounded_as_ml_dtypes_does(row: list[float]) -> None:
    wanted = by_ml_dtypes(np.array(row, np.float32))
    found = array("I", array("f", rounded_row(row)).tobytes())
    is_nan = np.isnan(row)  # a Python float may lose the sign of a NaN on the way
    assert np.array_equal(np.array(found)[~is_nan], wanted[~is_nan])
    assert np.isnan(np.array(rounded_row(row))[is_nan]).all()


def test_the_shape_is_kept() -> None:
    strided = np.ones((4, 6), np.float32)[:, ::2] * np.float32(1.001)
    assert np.array_equal(rounded_array(strided), np.ones((4, 3)))


# ------------------------------------------------------------------------------------ products

# All three products of a network without activations, in units of their bound: componentwise,
# n * 2^-24 * (|a| @ |b|) for sums of n, each term of which is exact (and a sum of z starts with b).
PRODUCTS = """
import json, warnings, numpy as np
from fastmlp import Network, Trainer
from fastmlp.kernels.bfloat16 import rounded_array
warnings.simplefilter("ignore")
worst, found = 0.0, []
def compare(product, a, b, plus=0.0):
    global worst
    a, b = (rounded_array(np.asarray(each)).astype(np.longdouble) for each in (a, b))
    bound = (a.shape[1] + 1) * 2.0**-24 * (abs(a) @ abs(b) + abs(plus))
    error = abs(product - (a @ b + plus))
    worst = max(worst, float((error / np.where(bound > 0.0, bound, 1.0)).max()))
    found.append(product.ravel().tolist())
backend = BACKEND
for rows, sizes in [
    (1, (1, 1, 1)), (3, (5, 7, 2)), (13, (17, 33, 10)), (14, (16, 31, 16)), (128, (50, 128, 64)),
    (600, (30, 70, 300)), (40, (20, 513, 77)), (9, (300, 47, 48)), (1030, (4, 49, 33)),
]:
    random = np.random.default_rng(rows)
    x, y = (random.standard_normal((rows, n)).astype(np.float32) for n in (sizes[0], sizes[-1]))
    network = Network(sizes, activation="identity", output="identity", seed=1)
    for b in network.biases:
        b[...] = random.standard_normal(b.shape)
    w, b = network.weights, network.biases
    trainer = Trainer(network, precision="bfloat16", backend=backend, n_threads=2)
    found_here = trainer.gradients(x, y)
    z, a, dz, dw = (getattr(found_here, name) for name in ("z", "a", "dz", "dw"))
    compare(z[0], x, w[0], b[0])
    compare(z[1], a[0], w[1], b[1])
    compare(dz[0], dz[1], w[1].T)
    compare(dw[0], x.T, dz[0])
    compare(dw[1], a[0].T, dz[1])
print(json.dumps({"worst": worst, "found": found[::5]}))
"""


@pytest.mark.parametrize("name", COMPILED)
def test_products_against_longdouble(
    name: str, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    result = run_python(PRODUCTS.replace("BACKEND", repr(name)))
    assert result.returncode == 0, result.stderr
    assert 0.0 < json.loads(result.stdout)["worst"] <= 1.0


@pytest.mark.parametrize("name", COMPILED)
def test_products_against_longdouble_on_every_isa(
    name: str, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    first_products = []
    for cap in CAPS if name == "cython" else NUMBA_CAPS:
        result = run_python(PRODUCTS.replace("BACKEND", repr(name)), isa_cap=cap)
        assert result.returncode == 0, result.stderr
        report = json.loads(result.stdout)
        assert 0.0 < report["worst"] <= 1.0, cap
        first_products.append(report["found"])
    # Emulated and by an instruction: sums of the same terms in another order.
    for products in first_products[1:]:
        for found, wanted in zip(products, first_products[0], strict=True):
            np.testing.assert_allclose(found, wanted, atol=1e-5 * np.abs(wanted).max())


def first_layer_output(x: np.ndarray, w: np.ndarray, backend: str) -> np.ndarray:
    network = fastmlp.Network(w.shape, output="identity")
    network.weights[0][...] = w
    network.biases[0][...] = 0.0
    trainer = fastmlp.Trainer(network, precision="bfloat16", backend=backend)
    return trainer.predict_proba(x).reshape(len(x), -1)


@pytest.mark.parametrize("name", WITH_BFLOAT16)
def test_a_product_with_one_is_the_rounded_number(name: str) -> None:
    random = np.random.default_rng(2)
    bits = random.integers(0, 1 << 32, 3000, dtype=np.uint32)
    x = bits.view(np.float32)
    x = x[np.isfinite(x) & (np.abs(x) < 3.3e38)].reshape(-1, 1)
    found = first_layer_output(x, np.ones((1, 1), np.float32), name)
    # An instruction may take numbers below 2^-126 for zero.
    is_denormal = np.abs(x) < 2.0**-126
    wanted = rounded_array(x)
    assert np.array_equal(found[~is_denormal], wanted[~is_denormal])
    small = found[is_denormal]
    assert ((small == 0.0) | (small == wanted[is_denormal])).all()


@pytest.mark.parametrize("name", WITH_BFLOAT16)
def test_infinity_and_nan_stay_in_their_output(name: str) -> None:
    w = np.ones((5, 3), np.float32)
    w[2, 0], w[4, 1] = np.nan, np.inf
    with np.errstate(all="ignore"):
        found = first_layer_output(np.ones((3, 5), np.float32), w, name)
    assert np.isnan(found[:, 0]).all()
    assert np.isposinf(found[:, 1]).all()
    assert (found[:, 2] == 5.0).all()


@pytest.mark.parametrize("name", WITH_BFLOAT16)
def test_what_an_odd_number_of_inputs_leaves_over_is_not_read(name: str) -> None:
    # Few rows read the flat vector: past the third unit there is then x * b = infinity.
    network = fastmlp.Network((1, 3, 8), activation="relu", output="identity", init="zeros")
    network.biases[0][...] = 20.0
    network.weights[1][...] = 1.0
    trainer = fastmlp.Trainer(network, precision="bfloat16", backend=name)
    x = np.full((5, 1), 3e38, np.float32)
    assert (trainer.predict_proba(x) == 60.0).all()


# ------------------------------------------------------------------------------------ training


def difference(found: Any, wanted: Any) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


SETTINGS: dict[str, dict[str, Any]] = {
    **{name: {"optimizer": name} for name in NAMED_OPTIMIZERS},
    "penalties": {"regularization": Regularization(l1=0.01, l2=0.1)},
    "max norm": {"regularization": Regularization(max_norm=0.5)},
    "clipping by value": {"clipping": Clipping(value=0.01)},
    "clipping by norm": {"clipping": Clipping(norm=0.05), "optimizer": "adam"},
    "dropout": {"dropout": Dropout(input=0.2, hidden=0.5)},
}


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("name", WITH_BFLOAT16)
def test_training_follows_the_reference(
    name: str, setting: str, make_trainer: Any, make_problem: Any
) -> None:
    # A number that lies near a tie may be rounded up here and down there: 2^-8 of one factor.
    x, y = make_problem(n_rows=23)
    weights = np.linspace(0.5, 2.0, 23)
    results = []
    for backend, precision in ((name, "bfloat16"), ("numpy", "bfloat16"), ("numpy", "float32")):
        sizes = (4, 6, 5, 3) if setting == "muon" else (4, 6, 3)  # with a hidden matrix
        trainer = make_trainer(backend, sizes, precision="float32", **{"batch_size": 8})
        trainer = fastmlp.Trainer(
            trainer.network, backend=backend, precision=precision, batch_size=8, seed=5,
            **SETTINGS[setting],
        )  # fmt: skip
        trainer.fit(x, y, epochs=2, sample_weight=weights)
        assert trainer.network.dtype == trainer.optimizer_state.dtype == np.float32
        results.append((trainer.network.parameters, trainer.evaluate(x, y).loss))
    (found, loss), (wanted, wanted_loss), (of_float32, _) = results
    if setting == "lion":  # a step is the sign of the gradient, whose last bits decide near zero
        assert np.abs(found - wanted).max() <= 6 * 2 * 1e-3
    else:
        assert difference(found, wanted) < 2e-3
    assert loss == pytest.approx(wanted_loss, rel=2e-3)
    assert 0.0 < difference(found, of_float32) < 0.1


@pytest.mark.parametrize("center", [0.0, 33.3])
@pytest.mark.parametrize("name", WITH_BFLOAT16)
def test_pixels_are_scaled_before_they_are_rounded(name: str, center: float) -> None:
    x = np.arange(256, dtype=np.uint8).reshape(-1, 1)
    network = fastmlp.Network((1, 1), output="identity", input_scale=1 / 255, input_center=center)
    network.weights[0][...], network.biases[0][...] = 1.0, 0.0
    trainer = fastmlp.Trainer(network, precision="bfloat16", backend=name)
    wanted = rounded_array((x.astype(np.float32) - np.float32(center)) * np.float32(1 / 255))
    assert np.array_equal(trainer.predict_proba(x).ravel(), wanted.ravel())


@pytest.mark.parametrize("sizes", [(5, 3), (20, 40, 10), (70, 100, 33, 3), (3, 200, 150)])
@pytest.mark.parametrize("batch_size", [1, 11, 64])
@pytest.mark.parametrize("name", COMPILED)
def test_bits_do_not_depend_on_the_number_of_threads(
    name: str, sizes: tuple[int, ...], batch_size: int, make_problem: Any
) -> None:
    x, y = make_problem(203, sizes[0], sizes[-1])
    results = []
    for n_threads in (1, 2, 3):
        trainer = fastmlp.Trainer(
            fastmlp.Network(sizes, activation="gelu", seed=2), backend=name, optimizer="adam",
            precision="bfloat16", n_threads=n_threads, batch_size=batch_size, seed=3,
        )  # fmt: skip
        trainer.fit(x, y, epochs=2)
        results.append(
            np.concatenate([trainer.network.parameters, trainer.predict_proba(x).ravel()])
        )
    assert np.array_equal(results[0], results[1]) and np.array_equal(results[0], results[2])


@pytest.mark.parametrize("sizes", [(5, 2), (7, 130, 10), (3, 17, 33, 5), (6, 9, 9, 3), (4, 16, 8)])
@pytest.mark.parametrize("name", COMPILED)
def test_few_rows_are_predicted_as_many_are(name: str, sizes: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(300, sizes[0]))
    network = fastmlp.Network(sizes, seed=0)
    trainer = fastmlp.Trainer(network, precision="bfloat16", backend=name)
    many = trainer.predict_proba(x)
    for n in (1, 3, 8, 17, 128):
        few = [trainer.predict_proba(x[i : i + n]) for i in range(0, 300, n)]
        assert np.array_equal(np.concatenate(few), many), n


@pytest.mark.parametrize("name", WITH_BFLOAT16)
def test_save_and_load_go_on_as_without(name: str, make_problem: Any, tmp_path: Any) -> None:
    x, y = make_problem(30)

    def made() -> fastmlp.Trainer:
        return fastmlp.Trainer(
            fastmlp.Network((4, 6, 3), seed=0), precision="bfloat16", backend=name, seed=1,
            optimizer="adam", batch_size=8,
        )  # fmt: skip

    straight, stopped = made(), made()
    straight.fit(x, y, epochs=4)
    stopped.fit(x, y, epochs=2)
    fastmlp.save(stopped, tmp_path / "model.npz")
    resumed = fastmlp.load(tmp_path / "model.npz", backend=name)
    assert resumed.plan.precision == "bfloat16" and resumed.network.dtype == "float32"
    resumed.fit(x, y, epochs=2)
    assert np.array_equal(resumed.network.parameters, straight.network.parameters)


# ------------------------------------------------------------------- what is said of it, refusals


def make(backend: str) -> fastmlp.Trainer:
    return fastmlp.Trainer(fastmlp.Network([2, 2]), precision="bfloat16", backend=backend)


@pytest.mark.parametrize("name", EMULATING)
def test_emulation_is_slower_and_says_so_once(name: str) -> None:
    warn_of_emulation.cache_clear()
    with pytest.warns(UserWarning, match=f"the {name} backend emulates bfloat16 here") as caught:
        trainer = make(name)
        make(name)
    assert len(caught) == 1 and caught[0].filename == __file__
    assert "; products of bfloat16 are emulated" in trainer.backend_reason
    assert trainer.backend_reason.endswith(", slower than float32")


@pytest.mark.parametrize("name", COMPILED)
def test_the_reason_names_the_instruction(
    name: str, run_python: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    code = (
        "import fastmlp; print(fastmlp.Trainer(fastmlp.Network([2, 2]), precision='bfloat16',"
        f" backend={name!r}).backend_reason)"
    )
    isa = INFOS[name].bfloat16_isa
    wanted = isa and f"; products of bfloat16 by {isa}"
    here = os.environ.get("FASTMLP_MAX_ISA")  # what this process, whose words `wanted` are, may use
    best, capped = (run_python(code, isa_cap=cap) for cap in (here, "avx512"))
    assert (wanted or "; products of bfloat16 are emulated") in best.stdout
    assert INFOS[name].bfloat16_note in best.stdout
    assert capped.stdout.strip().endswith("are emulated, slower than float32")
    assert re.search("or FASTMLP_MAX_ISA( or NUMBA_CPU_NAME)? leaves it out", capped.stderr)
    assert bool(wanted) == ("leaves it out" not in best.stderr)


def test_every_backend_has_it() -> None:
    assert [info.name for info in backends() if info.available] == WITH_BFLOAT16
    assert make("auto").backend_name == WITH_BFLOAT16[0]


def test_estimators_take_it() -> None:
    pytest.importorskip("sklearn")
    x = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    y = (x[:, 0] > 0.0).astype(int)
    model = fastmlp.MLPClassifier(
        precision="bfloat16", max_iter=200, random_state=0, learning_rate_init=0.01
    )
    assert model.fit(x, y).score(x, y) > 0.95


def test_the_lesson_refuses_it() -> None:
    with pytest.raises(ValueError, match="precision must be"):
        explain(precision="bfloat16")


@pytest.mark.parametrize("name", WITH_BFLOAT16)
def test_sparse_rows_are_rounded_as_dense_ones(name: str, make_problem: Any) -> None:
    sparse = pytest.importorskip("scipy.sparse")
    x, y = make_problem(30)
    x[np.abs(x) < 4.0] = 0.0  # few enough are stored for sparse rows to stay so in float32
    results = []
    for rows in (x, sparse.csr_array(x)):
        network = fastmlp.Network((4, 6, 3), seed=0)
        trainer = fastmlp.Trainer(network, precision="bfloat16", backend=name, seed=1)
        trainer.fit(rows, y, epochs=2)
        results.append((network.parameters.copy(), trainer.predict_proba(rows)))
    for dense, stored in zip(*results, strict=True):
        assert np.array_equal(dense, stored)
