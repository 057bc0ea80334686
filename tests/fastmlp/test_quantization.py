"""`Trainer.quantize` and `QuantizedNetwork`: close to float32, saved, clear about its limits."""

from __future__ import annotations

import copy
import pickle
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.sparse

import fastmlp
from fastmlp import CustomActivation, FormatError, Network, QuantizedNetwork, Trainer, backend
from fastmlp.kernels.quantized import MOST_INPUTS, Int8Layer, Int8Reference
from fastmlp.persistence import read_archive, write_archive

CYTHON = {info.name: info for info in fastmlp.backends()}["cython"]
pytestmark = pytest.mark.filterwarnings("ignore:int8 runs on its NumPy reference")


def square_of_z(z: float) -> float:
    return z * z


def square_of_z_derivative(z: float) -> float:
    return 2.0 * z


@pytest.fixture
def digits() -> tuple[np.ndarray, np.ndarray]:
    return fastmlp.datasets.synthetic_digits(1500, seed=0)


@pytest.fixture
def trained(digits: Any) -> Trainer:
    trainer = Trainer(Network([784, 32, 10], input_scale=1 / 255, seed=0), batch_size=32, seed=0)
    trainer.fit(*digits, epochs=3)
    return trainer


# ---------------------------------------------------------------------------- what it computes


def test_it_predicts_what_float32_predicts(trained: Trainer, digits: Any) -> None:
    x, y = digits
    quantized = trained.quantize(x[:300])
    assert isinstance(quantized, QuantizedNetwork) and quantized.sizes == (784, 32, 10)
    p, wanted = quantized.predict_proba(x), trained.predict_proba(x)
    assert p.shape == wanted.shape and p.dtype == np.float32
    assert 0.0 < np.abs(p - wanted).max() < 0.1  # it is not float32
    np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-6)
    classes = quantized.predict(x)
    assert classes.dtype == np.int64 and np.array_equal(classes, p.argmax(axis=1))
    right = [(each == y).mean() for each in (classes, trained.predict(x))]
    assert right[0] > right[1] - 0.003


def test_the_error_is_that_of_the_steps(make_trainer: Any, make_problem: Any) -> None:
    # One layer: each input is off by half a step, each weight by half of its own, at most.
    x, _ = make_problem(n_rows=200, n_inputs=6)
    trainer = make_trainer(sizes=(6, 4), output="identity", precision="float32", input_scale=0.5)
    quantized = trainer.quantize(x)
    w = trainer.network.weights[0].astype(np.float64)
    input_step, weight_step = quantized.layers[0].step * 0.5, np.abs(w).max(axis=0) / 127
    assert quantized.layers[0].step == pytest.approx((x.max() - x.min()) / 255)
    bound = np.abs(w).sum(axis=0) * input_step / 2 + (
        np.abs(x * 0.5).sum(axis=1, keepdims=True) + 6 * input_step / 2
    ) * (weight_step / 2)
    error = np.abs(quantized.predict_proba(x) - trainer.predict_proba(x))
    assert (error <= bound + 1e-5).all() and error.max() > 0.0


def test_pixels_are_steps_as_they_are(trained: Trainer, digits: Any) -> None:
    x, _ = digits
    dark = np.minimum(x, 100)  # the range of the sample does not matter
    first = trained.quantize(dark).layers[0]
    assert (first.step, first.zero_point) == (1.0, 0)
    # The first layer's sums are those of the pixels with rounded weights, to float32's digits.
    one = Trainer(trained.network.up_to(0))
    found = one.quantize(dark).predict_proba(x)
    weight_steps = np.abs(one.network.weights[0]).max(axis=0).astype(np.float64) / 127
    w = np.rint(one.network.weights[0] / weight_steps) * weight_steps
    wanted = np.maximum(x / 255.0 @ w + one.network.biases[0], 0.0)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)


def test_pixels_in_any_type_are_the_same(trained: Trainer, digits: Any) -> None:
    x, _ = digits
    quantized = trained.quantize(x[:100])
    wanted = quantized.predict_proba(x)
    for kind in (np.float32, np.float64, np.int64):
        assert np.array_equal(quantized.predict_proba(x.astype(kind)), wanted)


def test_zero_is_a_step_and_ranges_are_kept(make_trainer: Any) -> None:
    trainer = make_trainer(sizes=(2, 3), output="identity", precision="float32")
    for low, high, zero_point in ((-1.0, 3.0, 64), (2.0, 5.0, 0), (-5.0, -2.0, 255), (0.0, 0.0, 0)):
        layer = trainer.quantize(np.array([[low, high]])).layers[0]
        reach = max(high, 0.0) - min(low, 0.0)
        assert layer.zero_point == zero_point
        assert layer.step == pytest.approx(reach / 255 if reach else 1.0)


def test_beyond_the_range_values_are_cut_off(make_trainer: Any) -> None:
    trainer = make_trainer(sizes=(1, 2), output="identity", precision="float32")
    quantized = trainer.quantize(np.array([[-1.0], [1.0]]))
    ends = quantized.predict_proba(np.array([[1.0], [50.0], [-1.0], [-1e30]]))
    assert np.array_equal(ends[0], ends[1]) and np.array_equal(ends[2], ends[3])


def test_an_output_whose_weights_are_all_zero_is_its_bias(make_trainer: Any) -> None:
    trainer = make_trainer(sizes=(4, 6, 3), output="identity", precision="float32")
    trainer.network.weights[1][:, 1] = 0.0
    trainer.network.weights[0][:, 2] = 0.0
    trainer.network.biases[1][...] = (0.5, -7.25, 2.0)
    x = np.random.default_rng(0).normal(size=(20, 4))
    found = trainer.quantize(x).predict_proba(x)
    assert (found[:, 1] == np.float32(-7.25)).all()
    np.testing.assert_allclose(found, trainer.predict_proba(x), atol=0.05)


@pytest.mark.parametrize(
    ("output", "loss", "n_outputs"),
    [("sigmoid", "auto", 1), ("sigmoid", "auto", 2), ("sigmoid", "squared_error", 1),
     ("identity", "hinge", 1), ("identity", "auto", 1), ("identity", "auto", 3),
     ("exponential", "auto", 2)],
)  # fmt: skip
def test_it_decides_as_the_trainer(
    make_trainer: Any, make_problem: Any, output: str, loss: str, n_outputs: int
) -> None:
    x, _ = make_problem(n_rows=60)
    trainer = make_trainer(
        sizes=(4, 8, n_outputs), output=output, loss=loss, precision="float32", activation="gelu"
    )
    found, wanted = trainer.quantize(x).predict(x), trainer.predict(x)
    assert found.dtype == wanted.dtype and found.shape == wanted.shape
    if found.dtype.kind == "i":
        assert (found == wanted).mean() > 0.9
    else:
        np.testing.assert_allclose(found, wanted, rtol=0.1, atol=0.1)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize("name", ["numpy", "cython"])
def test_any_trainer_may_be_quantized(
    make_trainer: Any, make_problem: Any, name: str, precision: str
) -> None:
    if name == "cython" and not CYTHON.available:
        pytest.skip(CYTHON.reason)
    x, y = make_problem(n_rows=100)
    trainer = make_trainer(backend=name, precision=precision, dropout=0.2)
    trainer.fit(x, y, epochs=3)
    quantized = trainer.quantize(x)
    np.testing.assert_allclose(quantized.predict_proba(x), trainer.predict_proba(x), atol=0.05)


def test_the_network_is_not_changed_and_not_followed(trained: Trainer, digits: Any) -> None:
    x, y = digits
    before = trained.network.parameters.tobytes()
    quantized = trained.quantize(x[:50])
    wanted = quantized.predict_proba(x)
    assert trained.network.parameters.tobytes() == before
    trained.fit(x, y)
    assert np.array_equal(quantized.predict_proba(x), wanted)


def test_sparse_rows(make_trainer: Any) -> None:
    x = np.random.default_rng(0).normal(size=(40, 4)) * np.eye(4)[np.arange(40) % 4]
    quantized = make_trainer(precision="float32").quantize(scipy.sparse.csr_array(x))
    found = quantized.predict_proba(scipy.sparse.csr_array(x))
    assert np.array_equal(found, quantized.predict_proba(x))


def test_threads_give_the_same_bits(digits: Any) -> None:
    found = set()
    for n_threads in (1, 2, 5):
        network = Network([784, 300, 10], input_scale=1 / 255, seed=0)
        quantized = Trainer(network, n_threads=n_threads).quantize(digits[0][:20])
        found.add(quantized.predict_proba(np.tile(digits[0], (2, 1))).tobytes())
    assert len(found) == 1


def test_calls_from_several_threads_do_not_mix(trained: Trainer, digits: Any) -> None:
    x, _ = digits
    quantized = trained.quantize(x[:50])
    wanted = quantized.predict_proba(x)
    wrong = []

    def predict(first: int) -> None:
        for _ in range(20):
            if not np.array_equal(quantized.predict_proba(x[first::7]), wanted[first::7]):
                wrong.append(first)

    threads = [threading.Thread(target=predict, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_many_rows_go_in_several_calls(
    trained: Trainer, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _ = digits
    quantized = trained.quantize(x[:50])
    wanted = quantized.predict_proba(x)
    monkeypatch.setattr(fastmlp.quantization, "ROWS_PER_CALL", 400)
    assert np.array_equal(quantized.predict_proba(x), wanted)
    wrong = x.astype(np.float32)
    wrong[1201, 3] = np.nan
    with pytest.raises(ValueError, match=r"X must hold finite numbers only; got nan"):
        quantized.predict(wrong)


# ------------------------------------------------------------------------------------ the object


def test_its_words_and_sizes(trained: Trainer, digits: Any) -> None:
    quantized = trained.quantize(digits[0][:50])
    assert quantized.n_bytes == (784 * 32 + 32 * 10) + 8 * (32 + 10)
    assert repr(quantized).startswith(
        "<QuantizedNetwork 784-32-10, hidden relu, output softmax, int8, 25,744 bytes "
        "(float32: 101,800), "
    )
    assert repr(quantized).endswith(f"{quantized.backend_name} ({quantized.isa})>")


def test_copies_and_pickles_predict_the_same(trained: Trainer, digits: Any) -> None:
    x, _ = digits
    quantized = trained.quantize(x[:50])
    wanted = quantized.predict_proba(x)
    for other in (copy.deepcopy(quantized), pickle.loads(pickle.dumps(quantized))):
        assert np.array_equal(other.predict_proba(x), wanted)


def test_without_the_extension_the_reference_serves_and_says_so(
    digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    x, _ = digits
    trained = Trainer(Network([784, 20, 10], input_scale=1 / 255, seed=0), backend="numpy")
    wanted = trained.quantize(x[:50]).predict_proba(x)
    load = backend._load
    monkeypatch.setattr(
        backend, "_load", lambda name: "not built" if name == "cython" else load(name)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(UserWarning, match=r"slower than float32: .* is not available \(not bu"):
            trained.quantize(x[:50])
    quantized = trained.quantize(x[:50])
    assert quantized.backend_name == "numpy" and isinstance(quantized._engine, Int8Reference)
    assert np.array_equal(quantized.predict_proba(x), wanted)


# ------------------------------------------------------------------------------------ saved


def test_saved_and_loaded_it_predicts_the_same(
    trained: Trainer, digits: Any, tmp_path: Path
) -> None:
    x, _ = digits
    quantized = trained.quantize(x[:50].astype(np.float32) - 3.0)
    quantized.save(tmp_path / "model")
    loaded = QuantizedNetwork.load(tmp_path / "model", n_threads=1)
    assert np.array_equal(loaded.predict_proba(x), quantized.predict_proba(x))
    assert loaded.n_bytes == quantized.n_bytes and loaded.decides_at is None
    assert (tmp_path / "model").stat().st_size < quantized.n_bytes + 4000


def test_what_it_decides_at_is_saved(make_trainer: Any, make_problem: Any, tmp_path: Path) -> None:
    x, _ = make_problem()
    quantized = make_trainer(sizes=(4, 2), output="sigmoid", precision="float32").quantize(x)
    quantized.save(tmp_path / "model")
    loaded = QuantizedNetwork.load(tmp_path / "model")
    assert loaded.decides_at == 0.5
    assert np.array_equal(loaded.predict(x), quantized.predict(x))


def test_files_of_the_other_kind(trained: Trainer, digits: Any, tmp_path: Path) -> None:
    fastmlp.save(trained, tmp_path / "trainer")
    trained.quantize(digits[0][:50]).save(tmp_path / "int8")
    with pytest.raises(
        FormatError, match=r"got 'fastmlp-int8' version 1, which fastmlp.QuantizedNetwork.load"
    ):
        fastmlp.load(tmp_path / "int8")
    with pytest.raises(FormatError, match=r"got 'fastmlp-trainer' version 1, which fastmlp.load"):
        QuantizedNetwork.load(tmp_path / "trainer")
    (tmp_path / "text").write_text("hello")
    with pytest.raises(FormatError, match=r"expected a file written by QuantizedNetwork\.save"):
        QuantizedNetwork.load(tmp_path / "text")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda header, arrays: header["layers"][0].update(step=0.0), "a positive step"),
        (lambda header, arrays: header["layers"][0].update(step=float("nan")), "a positive step"),
        (lambda header, arrays: header["layers"][1].update(zero_point=256), "a zero point from 0"),
        (
            lambda header, arrays: header["layers"][0].update(activation="rleu"),
            "unknown activation",
        ),
        (lambda header, arrays: header["layers"][0].update(activation="softmax"), "softmax"),
        (lambda header, arrays: header["layers"].pop(), "6 arrays for 1 layers"),
        (lambda header, arrays: header.update(layers=[]), "no layers"),
        (lambda header, arrays: arrays.pop("biases_1"), "biases_1"),
        (lambda header, arrays: arrays["factors_0"].fill(np.inf), "factors of layer 0 must be fin"),
        (lambda header, arrays: arrays["weights_0"].fill(-128), "may not fit 32 bits"),
        (lambda header, arrays: arrays.update(weights_1=np.zeros((5, 3), "i1")), "the shape"),
        (lambda header, arrays: arrays.update(weights_1=np.zeros(3, "i1")), "the shape"),
        (lambda header, arrays: arrays.update(weights_0=np.zeros((4, 6), "f4")), "dtype int8"),
    ],
)
def test_files_that_were_tampered_with(
    make_trainer: Any, make_problem: Any, tmp_path: Path, change: Any, text: str
) -> None:
    path = tmp_path / "model"
    make_trainer(precision="float32").quantize(make_problem()[0]).save(path)
    header, arrays = read_archive(path, "fastmlp-int8")
    arrays = {name: array.copy() for name, array in arrays.items() if name != "header"}
    change(header, arrays)
    write_archive(path, header, **arrays)
    with pytest.raises(FormatError, match=text):
        QuantizedNetwork.load(path)


# ------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize(
    ("x", "text"),
    [
        (np.ones((5, 3)), r"X_sample must have the shape \(rows, 4\)"),
        (np.ones((0, 4)), "X_sample must have at least one row"),
        (np.full((2, 4), np.nan), "X_sample must hold finite numbers only; got nan"),
        (np.full((2, 4), 1e300), "X_sample must hold numbers up to 3.4"),
    ],
)
def test_wrong_samples(make_trainer: Any, x: np.ndarray, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        make_trainer(precision="float32").quantize(x)
    with pytest.raises(TypeError, match="X_sample must hold numbers"):
        make_trainer(precision="float32").quantize([["a"] * 4])


def test_wrong_rows_to_predict(make_trainer: Any, make_problem: Any) -> None:
    quantized = make_trainer(precision="float32").quantize(make_problem()[0])
    for x, text in (
        (np.ones((5, 3)), r"X must have the shape \(rows, 4\)"),
        (np.ones((0, 4)), "X must have at least one row"),
        (np.full((2, 4), np.inf), "X must hold finite numbers only; got inf"),
        (np.full((2, 4), 1e300), "X must hold numbers up to 3.4"),
    ):
        with pytest.raises(ValueError, match=text):
            quantized.predict(x)


def test_networks_that_cannot_be_quantized(make_trainer: Any, make_problem: Any) -> None:
    x, _ = make_problem()
    trainer = make_trainer(precision="float32")
    trainer.network.weights[1][0, 0] = np.nan
    with pytest.raises(ValueError, match=r"must be finite to be quantized; got NaN.* in layer 1"):
        trainer.quantize(x)
    unfitted = make_trainer(precision="float32", init="zeros")
    with pytest.raises(ValueError, match=r"the weights of layer 0 are all 0.*train the network"):
        unfitted.quantize(x)
    wide = make_trainer(sizes=(MOST_INPUTS + 1, 2), precision="float32")
    with pytest.raises(ValueError, match=f"at most {MOST_INPUTS:,} inputs.*layer 0 has"):
        wide.quantize(np.zeros((1, MOST_INPUTS + 1), np.uint8))


@pytest.mark.parametrize(
    "scaling",
    [{"input_center": 2.0}, {"input_center": [0, 0, 0, 1]}, {"input_scale": [1, 1, 2, 1]}],
)
def test_inputs_with_numbers_of_their_own_are_refused(scaling: Any) -> None:
    trainer = Trainer(Network([4, 3, 2], seed=0, **scaling))
    with pytest.raises(ValueError, match=r"cannot be quantized.*share one step.*StandardScaler"):
        trainer.quantize(np.ones((5, 4)))


def test_one_scale_given_for_each_input_is_one_scale() -> None:
    x = np.random.default_rng(0).random((50, 4), np.float32)
    found = [
        Trainer(Network([4, 3, 2], seed=0, input_scale=scale)).quantize(x).predict_proba(x)
        for scale in (0.25, np.full(4, 0.25))
    ]
    np.testing.assert_array_equal(*found)


def test_ranges_that_are_not_finite(make_trainer: Any) -> None:
    trainer = make_trainer(sizes=(4, 3, 2), precision="float32", activation="identity")
    trainer.network.weights[0][...] = 1e38
    with pytest.raises(ValueError, match=r"hidden layer 0 \(identity\) .* must be finite"):
        trainer.quantize(np.full((2, 4), 100.0))
    last = make_trainer(sizes=(4, 2), precision="float32", output="identity")
    last.network.weights[0][...] = 1e38
    with pytest.raises(ValueError, match="factors of layer 0 must be finite in float32; got inf"):
        last.quantize(np.full((2, 4), 1e20))


@pytest.mark.usefixtures("tables_as_they_were")
def test_activations_of_the_users_own(make_problem: Any) -> None:
    own = CustomActivation(square_of_z, square_of_z_derivative)
    trainer = Trainer(Network([4, 3, 2], activation=own), backend="numpy")
    with pytest.raises(
        ValueError, match=r"activations of your own \(square_of_z\w*\) cannot be quan"
    ):
        trainer.quantize(make_problem()[0])


def test_layers_that_do_not_fit() -> None:
    layer = Int8Layer(np.ones((2, 3), "i1"), np.ones(3, "f4"), np.ones(3, "f4"), "relu", 1.0, 0)
    with pytest.raises(ValueError, match=r"weights of layer 1 must have the shape \(3, 3\)"):
        QuantizedNetwork([layer, layer])
    with pytest.raises(ValueError, match="n_threads"):
        QuantizedNetwork([layer], n_threads=0)


@pytest.mark.parametrize("normalization", ["batch", "layer"])
def test_normalised_networks_are_refused(normalization: str) -> None:
    trainer = Trainer(Network([3, 4, 2], normalization=normalization))
    with pytest.raises(ValueError, match="more than weights and biases cannot be quantized"):
        trainer.quantize(np.eye(3))


def test_several_softmax_groups_are_refused() -> None:
    trainer = Trainer(Network([4, 5], group_sizes=(3, 2)))
    with pytest.raises(ValueError, match=r"several softmax groups \(\[3, 2\]\).*in float32"):
        trainer.quantize(np.ones((10, 4)))
