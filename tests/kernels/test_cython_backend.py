"""The compiled extension: products against longdouble, gathering, threads, the choice of ISA."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastmlp import Network, Trainer, backends, plan

INFO = {info.name: info for info in backends()}["cython"]
pytestmark = pytest.mark.skipif(not INFO.available, reason=INFO.reason)

RunPython = Callable[..., subprocess.CompletedProcess[str]]


def cython_backend():
    from fastmlp.backend import get_backend

    return get_backend("cython")


MATMUL_CHECK = """
import json, numpy as np
from fastmlp.backend import get_backend
backend = get_backend("cython")
random = np.random.default_rng(0)
worst = {}
for dtype in ("float32", "float64"):
    bound = 0.0
    for rows, inner, columns in [
        (1, 1, 1), (1, 784, 10), (3, 17, 5), (13, 16, 16), (14, 33, 31), (27, 100, 33),
        (128, 784, 128),
        (5, 1000, 3), (64, 2, 129), (200, 7, 16), (12, 15, 17), (26, 64, 48),
        (300, 300, 800), (37, 3, 1601),  # rows are packed first
    ]:
        a = random.standard_normal((rows, inner)).astype(dtype)
        b = random.standard_normal((inner, columns)).astype(dtype)
        exact = a.astype(np.longdouble) @ b.astype(np.longdouble)
        scale = np.abs(a).astype(np.longdouble) @ np.abs(b).astype(np.longdouble)
        error = np.abs(backend.matmul(a, b) - exact) / scale
        bound = max(bound, float(error.max() / np.finfo(dtype).eps / inner))
    worst[dtype] = bound
print(json.dumps({"isa": backend.isa, "error": worst}))
"""


def test_weaker_caps_are_those_below_the_isa_in_use(run_python: RunPython) -> None:
    code = """
from fastmlp.backend import get_backend
for name in ("cython", "numpy", "python"):
    print(get_backend(name).weaker_caps)
print(get_backend("cython").isa)
"""
    for cap in ("baseline", "avx2"):
        *caps, isa = run_python(code, isa_cap=cap).stdout.splitlines()
        assert caps == ["('baseline',)" if isa == "avx2" else "()", "()", "()"]
        assert isa == cap or isa == "baseline"


def test_matmul_against_longdouble_on_every_isa(
    isa_cap: str, run_python: RunPython, allowed_isas: Callable[[str], tuple[str, ...]]
) -> None:
    result = run_python(MATMUL_CHECK, isa_cap=isa_cap)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["isa"] in allowed_isas(isa_cap)
    # |error| <= inner * eps * (|a| @ |b|), componentwise (Higham, 2002, section 3.5).
    assert found["error"]["float32"] <= 1.0
    assert found["error"]["float64"] <= 1.0


def test_matmul_with_nothing_to_sum_is_zero() -> None:
    product = cython_backend().matmul(np.ones((3, 0), np.float32), np.ones((0, 4), np.float32))
    assert product.shape == (3, 4)
    assert not product.any()


def test_matmul_propagates_nan_and_infinity() -> None:
    a = np.ones((4, 20), np.float32)
    b = np.ones((20, 5), np.float32)
    a[1, 3] = np.nan
    a[2, 7] = np.inf
    product = cython_backend().matmul(a, b)
    assert np.isnan(product[1]).all()
    assert np.isposinf(product[2]).all()
    assert (product[[0, 3]] == 20.0).all()


def test_the_extension_refuses_an_unknown_cap(run_python: RunPython) -> None:
    result = run_python("import fastmlp.kernels.cython_backend", isa_cap="avx9")
    assert result.returncode != 0
    assert "FASTMLP_MAX_ISA must be one of baseline" in result.stderr
    assert "got 'avx9'" in result.stderr


def trained(n_threads: int, sizes: list[int], batch_size: int, **settings: str) -> np.ndarray:
    random = np.random.default_rng(1)
    x = random.random((203, sizes[0]), dtype=np.float32)
    network = Network(sizes, activation="gelu", seed=2)
    trainer = Trainer(
        network, backend="cython", n_threads=n_threads, batch_size=batch_size, seed=3, **settings
    )
    trainer.fit(x, random.integers(0, sizes[-1], len(x)), epochs=2)
    return np.concatenate(
        [network.parameters, trainer.predict_proba(x).ravel(), trainer.history.loss]
    )


SMALL = [[5, 3], [20, 40, 10], [70, 100, 33, 3], [3, 200, 150]]
WIDE = [9, 901, 800, 3]
"""One thread packs the rows of a batch first, and several do not."""


@pytest.mark.parametrize(
    ("batch_size", "sizes"), [*itertools.product((1, 10, 64), SMALL), (64, WIDE)]
)
def test_bits_do_not_depend_on_the_number_of_threads(
    sizes: list[int], batch_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plan, "available_cpus", lambda: 8)  # else no more threads than CPUs
    alone = trained(1, sizes, batch_size, optimizer="adam")
    for n_threads in (2, 3, 7):
        np.testing.assert_array_equal(
            trained(n_threads, sizes, batch_size, optimizer="adam"), alone
        )


@pytest.mark.parametrize("pause", [0.0, 0.001])
def test_threads_that_wake_up_late_change_no_prediction(
    pause: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    import time

    monkeypatch.setattr(plan, "available_cpus", lambda: 8)
    x = np.random.default_rng(0).normal(size=(128, 40)).astype(np.float32)
    network = Network([40, 6000, 600, 3], seed=0)  # enough for all of them
    alone = Trainer(network, backend="cython", n_threads=1)
    wanted = [each.predict_proba(x) for each in (alone, alone.quantize(x))]
    team = Trainer(network, backend="cython", n_threads=7)
    for found_by, outputs in zip((team, team.quantize(x)), wanted, strict=True):
        for n_rows in (128, 100, 17) * 5:
            time.sleep(pause)  # then all of them sleep
            np.testing.assert_array_equal(found_by.predict_proba(x[:n_rows]), outputs[:n_rows])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on this system")
def test_training_works_in_a_child_of_fork(run_python: RunPython) -> None:
    # In a process of its own: forking the test runner, which has threads, is not safe.
    code = """
import os, numpy as np
from fastmlp import Network, Trainer
def fit():
    x = np.arange(4000.0).reshape(-1, 4) % 7 / 7
    network = Network([4, 64, 3], seed=0)
    Trainer(network, backend="cython", n_threads=2, seed=0).fit(x, np.arange(1000) % 3, epochs=2)
    return network.parameters
before = fit()
child = os.fork()
if child == 0:
    os._exit(0 if np.array_equal(fit(), before) else 3)
_, status = os.waitpid(child, 0)
assert os.waitstatus_to_exitcode(status) == 0, status
assert np.array_equal(fit(), before)
"""
    result = run_python(code, PYTHONWARNINGS="ignore")
    assert result.returncode == 0, result.stderr


def test_two_trainers_in_two_python_threads_do_not_disturb_each_other() -> None:
    from concurrent.futures import ThreadPoolExecutor

    expected = trained(2, [20, 40, 10], 10)
    with ThreadPoolExecutor(4) as executor:
        found = list(executor.map(lambda _: trained(2, [20, 40, 10], 10), range(8)))
    for each in found:
        np.testing.assert_array_equal(each, expected)


def test_idle_threads_use_no_cpu_time() -> None:
    import time

    trained(2, [20, 40, 10], 10)
    before = time.process_time()
    time.sleep(0.5)
    # A spinning worker would use all of the half second.
    assert time.process_time() - before < 0.25


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("sizes", [(5, 2), (5, 3, 2), (7, 130, 10), (3, 17, 33, 5), (6, 9, 9, 3)])
def test_few_rows_are_predicted_as_many_are(
    sizes: tuple[int, ...], precision: str, make_trainer: Any
) -> None:
    # Up to 128 rows read the flat vector, with vectors that go past the end of a row of weights.
    x = np.random.default_rng(0).normal(size=(300, sizes[0]))
    trainer = make_trainer("cython", sizes=sizes, precision=precision)
    many = trainer.predict_proba(x)
    wanted = make_trainer("numpy", sizes=sizes, precision=precision).predict_proba(x)
    np.testing.assert_allclose(many, wanted, rtol=1e-4 if precision == "float32" else 1e-12)
    for n in (1, 3, 7, 8, 17, 128):
        few = [trainer.predict_proba(x[i : i + n]) for i in range(0, 300, n)]
        assert np.array_equal(np.concatenate(few), many), n
