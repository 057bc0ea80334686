"""The parts by themselves: the order of epochs, parameters as drawn, labels, old scikit-learns."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import sparse
from sklearn.utils import fixes

import fastmlp
from fastmlp.estimators.labels import ClassLabels
from fastmlp.estimators.order import EpochOrder
from fastmlp.estimators.sklearn_versions import lbfgs_verbosity
from fastmlp.losses import CategoricalCrossEntropy, Hinge


@given(n_rows=st.integers(1, 50), seed=st.integers(0, 2**31), n_epochs=st.integers(1, 4))
def test_an_order_is_a_permutation_of_the_rows_asked_for(
    n_rows: int, seed: int, n_epochs: int
) -> None:
    order = EpochOrder(np.random.RandomState(seed))
    for _ in range(n_epochs):
        assert sorted(order(n_rows)) == list(range(n_rows))
    order.rows = np.arange(0, 3 * n_rows, 3)
    assert sorted(order(3 * n_rows)) == order.rows.tolist()
    order.shuffle = False
    assert order(3 * n_rows).tolist() == order.rows.tolist()


@given(
    labels=st.one_of(
        st.lists(st.integers(-5, 5), min_size=2), st.lists(st.sampled_from("abcd"), min_size=2)
    ),
    loss=st.sampled_from([None, Hinge(), CategoricalCrossEntropy()]),
)
def test_labels_come_back(labels: list[Any], loss: Any) -> None:
    # A softmax over one class is refused.
    assume(len(set(labels)) > 1 or not isinstance(loss, CategoricalCrossEntropy))
    y = np.array(labels)
    encoded = ClassLabels(y, loss)
    targets = encoded.encode(y)
    width = encoded.n_outputs
    assert width == (1 if encoded.kind == "binary" else len(set(labels)))
    if targets.ndim == 1 and width > 1:
        outputs = np.eye(width)[targets]
    else:
        outputs = targets.reshape(len(y), -1).astype(float)
    if encoded.has_margins:
        outputs = 2.0 * outputs - 1.0
    np.testing.assert_array_equal(encoded.decode(outputs), y)
    numbers = encoded.numbers(targets)
    np.testing.assert_array_equal(encoded.classes[numbers], y)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_multilabel_comes_back(form: Any) -> None:
    y = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]])
    labels = ClassLabels(form(y))
    assert labels.kind == "multilabel" and labels.output == "sigmoid" and labels.n_outputs == 3
    decoded = labels.decode(labels.encode(form(y)).astype(float))
    np.testing.assert_array_equal(decoded.toarray() if sparse.issparse(decoded) else decoded, y)
    with pytest.raises(ValueError, match=r"multilabel with 3 columns.*got the shape \(3, 2\)"):
        labels.encode(y[:, :2])


def test_the_estimators_load_scikit_learn_and_nothing_else_does() -> None:
    code = (
        "import sys, fastmlp; fastmlp.Trainer(fastmlp.Network([2, 2]));"
        "print('sklearn' in sys.modules); fastmlp.MLPClassifier; print('sklearn' in sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["False", "True"]


def test_without_scikit_learn_the_error_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['sklearn'] = None\n"
        "from fastmlp import *\n"  # this works, without the estimators
        "import fastmlp, importlib.util\n"
        "importlib.util.find_spec = lambda name: None\n"
        "try:\n    from fastmlp import MLPClassifier\n"
        "except ImportError as error:\n    print(type(error).__name__, error)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.startswith("MissingExtraError fastmlp.MLPClassifier")
    assert "pip install scikit-learn" in run.stdout and "'sklearn'" in run.stdout


def test_the_names_are_listed() -> None:
    assert {"MLPClassifier", "MLPRegressor"} <= set(dir(fastmlp))
    assert "MLPClassifier" not in fastmlp.__all__  # which `import *` loads


@pytest.mark.parametrize(
    ("scipy", "verbose", "options"),
    [
        ("1.14.1", False, {"iprint": -1}),
        ("1.14.1", 0, {"iprint": -1}),
        ("1.14.1", True, {"iprint": 1}),
        ("1.14.1", 3, {"iprint": 1}),
        ("1.15.0", True, {}),
        ("1.18.0", 3, {}),
    ],
)
def test_lbfgs_is_asked_to_print_where_it_can(
    scipy: str, verbose: Any, options: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fixes, "sp_version", fixes.parse_version(scipy))
    assert lbfgs_verbosity(verbose) == options
