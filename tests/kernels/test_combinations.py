"""Networks with everything at once: every backend against the reference, also when taken up again.

Normalisation, several softmax groups, Muon, a center and a scale per input, sparse rows, dropout,
penalties, clipping and weights of rows each have tests of their own; here they meet.
"""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import sparse

import fastmlp
from fastmlp import (
    AdamW,
    CategoricalCrossEntropy,
    Clipping,
    Dropout,
    Muon,
    Network,
    Regularization,
    Trainer,
)

TOLERANCES = {"float64": 1e-11, "float32": 2e-5}
N_ROWS, N_INPUTS, GROUPS = 40, 60, (3, 5)
MUON = Muon(0.05, weight_decay=0.1, adam_learning_rate=0.01)

Make = Callable[..., Trainer]


@pytest.fixture(params=["batch", "layer", None])
def make(request: pytest.FixtureRequest) -> Make:
    """Return a function that makes a Trainer of a combined network; its arguments override."""

    def trainer(
        backend: str, *, centered: bool = True, precision: str = "float64", **arguments: Any
    ) -> Trainer:
        network = Network(
            [N_INPUTS, 9, 17, 6, sum(GROUPS)],
            "silu",
            group_sizes=GROUPS,
            normalization=request.param,
            input_center=np.linspace(-1.0, 1.0, N_INPUTS) if centered else 0.0,
            input_scale=np.linspace(0.5, 2.0, N_INPUTS),
            seed=0,
            dtype=precision,
        )
        defaults: dict[str, Any] = {
            "loss": CategoricalCrossEntropy(label_smoothing=0.1),
            "optimizer": MUON,
            "dropout": Dropout(0.2, input=0.1),
            "regularization": Regularization(l1=0.01, l2=0.1, max_norm=1.5),
            "clipping": Clipping(value=0.05, norm=0.1),
            "batch_size": 16,  # so that the last batch has 8 rows
            "seed": 3,
        }
        return Trainer(network, backend=backend, precision=precision, **{**defaults, **arguments})

    return trainer


def problem(form: str, precision: str = "float64") -> tuple[Any, Any, Any]:
    """Return rows, sparse or dense, labels (rows, groups) and weights."""
    random = np.random.default_rng(1)
    x: Any = sparse.random(N_ROWS, N_INPUTS, density=0.1, format="csr", random_state=1)
    if form == "dense":
        x = random.normal(size=(N_ROWS, N_INPUTS))
    y = np.stack([random.integers(0, size, N_ROWS) for size in GROUPS], axis=1)
    return x.astype(precision), y, random.uniform(0.5, 2.0, N_ROWS)


def outcome(trainer: Trainer, x: Any) -> np.ndarray:
    """Return all that was learned, and what is predicted."""
    parts = [trainer.network.learned, np.ravel(trainer.predict_proba(x))]
    return np.concatenate(parts).astype(np.float64)


def difference(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("form", ["dense", "sparse"])
def test_two_epochs_are_those_of_the_reference(
    form: str, precision: str, make: Make, backend_name: str
) -> None:
    if backend_name == "python" and precision == "float32":
        pytest.skip("the reference is float64")
    x, y, weights = problem(form, precision)
    found = make(backend_name, centered=form == "dense", precision=precision)
    wanted = make("python", centered=form == "dense")
    wanted.network.learned = found.network.learned
    start = outcome(found, x)
    for trainer in (found, wanted):
        trainer.fit(x, y, epochs=2, sample_weight=weights)
    assert difference(outcome(found, x), outcome(wanted, x)) < TOLERANCES[precision]
    assert difference(outcome(found, x), start) > 1e-2
    evaluations = [trainer.evaluate(x, y, weights).loss for trainer in (found, wanted)]
    assert evaluations[0] == pytest.approx(evaluations[1], rel=TOLERANCES[precision])


@pytest.mark.parametrize("without", ["dropout", "clipping", "regularization"])
def test_each_of_them_matters(without: str, make: Make, compiled_or_numpy_name: str) -> None:
    # Else the test above could pass with settings that nobody looks at.
    nothing = {"dropout": 0.0, "clipping": Clipping(), "regularization": Regularization()}
    x, y, weights = problem("dense")
    found = []
    for changes in ({}, {without: nothing[without]}):
        trainer = make(compiled_or_numpy_name, **changes)
        trainer.fit(x, y, sample_weight=weights)
        found.append(outcome(trainer, x))
    assert difference(*found) > 1e-4


def test_muon_moves_all_but_hidden_matrices_as_adamw(make: Make, backend_name: str) -> None:
    plain = {"regularization": Regularization(), "clipping": Clipping(), "batch_size": N_ROWS}
    x, y, weights = problem("dense")
    networks = []
    for optimizer in (MUON, AdamW(0.01, weight_decay=0.1)):
        trainer = make(backend_name, optimizer=optimizer, **plain)
        trainer.fit(x, y, sample_weight=weights)  # one step
        networks.append(trainer.network)
    muon, adamw = networks
    for name in ("biases", "gammas"):  # what is added after a normalisation is its beta
        for found, wanted in zip(getattr(muon, name), getattr(adamw, name), strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-13)
    for layer, (found, wanted) in enumerate(zip(muon.weights, adamw.weights, strict=True)):
        is_hidden_matrix = layer in (1, 2)
        assert np.allclose(found, wanted, rtol=1e-13, atol=0.0) == (not is_hidden_matrix)


@pytest.mark.parametrize("way", ["saved", "pickled", "copied"])
def test_it_goes_on_bit_by_bit(
    way: str, make: Make, backend_name: str, tmp_path: Path, state_of: Any
) -> None:
    x, y, weights = problem("dense")
    whole, trainer = make(backend_name), make(backend_name)
    whole.fit(x, y, sample_weight=weights)
    whole.fit(x, y, sample_weight=weights)
    trainer.fit(x, y, sample_weight=weights)
    if way == "saved":
        fastmlp.save(trainer, tmp_path / "model.npz")
        again = fastmlp.load(tmp_path / "model.npz", backend=backend_name)
    else:
        again = pickle.loads(pickle.dumps(trainer)) if way == "pickled" else copy.deepcopy(trainer)
    again.fit(x, y, sample_weight=weights)
    assert state_of(again) == state_of(whole)
    assert again.predict_proba(x).tobytes() == whole.predict_proba(x).tobytes()


def test_what_has_no_place_for_it_says_so(make: Make) -> None:
    from fastmlp.explain.document import explain

    trainer = make("numpy")
    with pytest.raises(ValueError, match=r"several softmax groups .* cannot be quantized"):
        trainer.quantize(problem("dense")[0])
    with pytest.raises(ValueError, match="explain walks through networks with"):
        explain(trainer.network, max_parameters=10_000)
