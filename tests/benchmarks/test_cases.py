from __future__ import annotations

import numpy as np
import pytest

from fastmlp.benchmarks.case import GROUPS, LEVELS, REFERENCE, Setting
from fastmlp.benchmarks.cases import CASES, cases_named, cases_of
from fastmlp.benchmarks.cases_options import OPTIONS, PLAIN
from fastmlp.benchmarks.cases_training import EPOCH_ROWS
from fastmlp.datasets import Dataset, load_digits
from fastmlp.kernels.formulas import ACTIVATIONS, LOSSES, OPTIMIZERS


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load_digits(1024, 50)


def test_every_case_is_named_by_its_key_and_belongs_to_a_group() -> None:
    assert [case.name for case in CASES.values()] == list(CASES)
    assert {case.group for case in CASES.values()} == set(GROUPS)
    assert {case.group for case in cases_of(["training"])} == {"training"}
    assert cases_of() == list(CASES.values())


def test_each_level_holds_the_one_before() -> None:
    quick, default, full = ({case.name for case in cases_of(level=level)} for level in LEVELS)
    assert quick < default < full
    assert {CASES[name].group for name in quick} == set(GROUPS) - {"options"}


def test_formulas_are_enumerated() -> None:
    assert set(ACTIVATIONS) | set(LOSSES) <= set(CASES)
    assert {f"{name}_derivative" for name in ACTIVATIONS} <= set(CASES)
    assert {f"update_{name}" for name in OPTIMIZERS} <= set(CASES)


def test_training_sizes() -> None:
    shown = {
        case.name: (case.parameters["sizes"], case.parameters["batch_size"], case.rows)
        for case in cases_of(["training"])
    }
    assert shown["S"] == ([784, 30, 10], 10, EPOCH_ROWS)
    assert shown["XL"] == ([784, 2048, 2048, 10], 512, EPOCH_ROWS)
    assert shown["tabular"] == ([20, 64, 32, 1], 32, 100_000)
    assert CASES["S"].parameters["activation"] == "sigmoid"


def test_flops_count_the_products() -> None:
    assert CASES["matmul"].flops == 2 * 128 * 784 * 128
    forward, back = 784 * 128 + 128 * 10, 128 * 10
    assert CASES["backpropagation"].flops == 2 * 128 * (2 * forward + back)
    assert CASES["predict_64"].flops == 2 * 64 * forward
    assert CASES["sigmoid"].flops is None


def test_cases_by_name_come_in_the_order_of_the_table() -> None:
    assert [case.name for case in cases_named(["XL", "S", "tabular-wide"])] == [
        "S", "XL", "tabular_wide",
    ]  # fmt: skip
    assert cases_named(["inference"]) == cases_of(["inference"])
    assert cases_named(["inference"], "quick") == cases_of(["inference"], "quick")
    assert cases_of(["options"], "default") == []  # asked for by name there are some
    assert cases_named(["options"], "default") == cases_of(["options"])


@pytest.mark.parametrize(
    ("name", "suggested"),
    [("M12", "M128"), ("trainin", "training"), ("update_adma", "update_adam")],
)
def test_an_unknown_case_is_refused(name: str, suggested: str) -> None:
    with pytest.raises(ValueError, match=f"--cases must be one of .*Did you mean '{suggested}'"):
        cases_named([name])


def test_the_reference_gets_a_slice() -> None:
    case = CASES["M128"]
    assert case.rows_timed(REFERENCE, 10_000) == 64
    assert case.rows_timed(REFERENCE, 10_000, "quick") == 32
    assert case.rows_timed("numpy", 10_000) == 10_000
    assert case.rows_timed("numpy", 70_000) == EPOCH_ROWS
    assert case.rows_timed("numpy", None, "quick") == case.rows_at["quick"]
    assert CASES["XL"].rows_timed(REFERENCE, 60_000) == 0


# Small enough for the reference, one of a kind.
SMALL = ("matmul", "gelu", "gelu_derivative", "categorical_cross_entropy", "backpropagation",
         "update_adamw", "M32", "tabular", "predict_64", "growth_width_16",
         *(case.name for case in cases_of(["options"])))  # fmt: skip


@pytest.mark.parametrize("name", SMALL)
def test_cases_run_on_every_backend(name: str, backend_name: str, digits: Dataset) -> None:
    prepared = CASES[name].prepare(Setting(backend_name, 16, 1), digits)
    prepared.warm_up()
    prepared.call()


def test_every_default_case_runs(digits: Dataset) -> None:
    for case in cases_of(level="default"):
        prepared = case.prepare(Setting("numpy", min(64, case.rows), 1), digits)
        prepared.warm_up()
        prepared.call()


def test_options_are_what_their_names_say() -> None:
    trainer = {name: option.trainer for name, option in OPTIONS.items()}
    assert trainer["plain"] == {} and PLAIN in CASES
    assert trainer["momentum"]["optimizer"].momentum == 0.9
    for name in ("adam", "adamw"):
        assert trainer[name]["optimizer"].formula_name == name
    assert trainer["l2"]["regularization"].l2 > 0.0 and trainer["clipping"]["clipping"].value > 0.0
    assert trainer["dropout"]["dropout"].hidden > 0.0
    for name in ("sample_weight", "class_weight"):
        assert list(OPTIONS[name].fit(np.arange(10))) == [name]
    for case in cases_of(["options"]):
        assert case.parameters["sizes"] == [784, 128, 10] and case.parameters["batch_size"] == 128


def test_kernels_compute_what_they_say(digits: Dataset) -> None:
    def call(name: str, rows: int = 128) -> object:
        return CASES[name].prepare(Setting("numpy", rows, 1), digits).call()

    assert np.shape(call("matmul")) == (128, 128)
    assert np.shape(call("matmul_weight_gradient", 784)) == (784, 128)
    values = np.asarray(call("sigmoid"))
    assert values.shape == (128, 128) and 0 < values.min() < values.max() < 1
    slopes = np.asarray(call("sigmoid_derivative"))
    np.testing.assert_allclose(slopes, values * (1 - values), rtol=1e-5)
    losses, _ = call("categorical_cross_entropy")  # type: ignore[misc]
    assert np.shape(losses) == (128,)
    found = call("backpropagation")
    assert [dw.shape for dw in found.dw] == [(784, 128), (128, 10)]  # type: ignore[attr-defined]


def test_training_scores_only_what_was_trained_on_enough_rows(digits: Dataset) -> None:
    case = CASES["M128"]
    assert case.prepare(Setting("numpy", 128, 1), digits).score is None
    assert case.prepare(Setting(REFERENCE, 1024, 1), digits).score is None
    whole = case.prepare(Setting("numpy", 1024, 1), digits)
    assert whole.score is not None
    before = whole.score()
    whole.warm_up()
    assert whole.score() == before  # a warm-up trains another network
    for _ in range(5):
        whole.call()
    assert whole.score() > before


def test_predictions_are_compared_with_float64(digits: Dataset) -> None:
    prepared = CASES["predict_64"].prepare(Setting("numpy", 64, 1), digits)
    assert prepared.note is not None
    assert prepared.note().startswith("probabilities within ")
    assert float(prepared.note().split()[2]) < 1e-5
