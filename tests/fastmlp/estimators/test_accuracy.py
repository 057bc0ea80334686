"""Scores beside scikit-learn's, with the same settings, over several seeds: a table."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn.neural_network
from sklearn.datasets import (
    load_breast_cancer,
    load_diabetes,
    load_digits,
    load_iris,
    make_classification,
)
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler, scale

import fastmlp
from fastmlp.datasets import load_mnist, synthetic_digits

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

CONTENDERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "scikit-learn": (sklearn.neural_network, {}),
    "fastmlp": (fastmlp, {}),
    "float32": (fastmlp, {"precision": "float32"}),
}


def like_california_housing(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw blocks of houses: skewed features, two cities by the sea, and prices cut off at 5.

    The real ones are a download.
    """
    random = np.random.default_rng(0)
    income = random.lognormal(1.2, 0.45, n_rows)
    age = random.integers(1, 53, n_rows).astype(np.float64)
    rooms = 3.0 + 0.5 * income + random.lognormal(0.0, 0.5, n_rows)
    bedrooms = 0.2 * rooms + random.lognormal(-2.0, 0.5, n_rows)
    population = random.lognormal(7.0, 0.7, n_rows)
    occupancy = 1.5 + random.lognormal(0.2, 0.4, n_rows)
    cities = np.array([[37.8, -122.3], [34.0, -118.2]])
    center = cities[random.integers(0, 2, n_rows)]
    place = center + random.normal(0.0, 0.7, (n_rows, 2))
    away = np.linalg.norm(place - center, axis=1)
    price = 0.5 * income * np.exp(-0.6 * away) + 0.8 / occupancy + 0.008 * age
    price = np.clip(price * random.lognormal(0.0, 0.2, n_rows), 0.15, 5.0)
    columns = [income, age, rooms, bedrooms, population, occupancy, *place.T]
    return np.column_stack(columns), price


def drawn_digits(n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = synthetic_digits(n_rows, seed=0)
    return x[:, ::2].astype(np.float64), y


PROBLEMS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "iris": ("MLPClassifier", lambda: load_iris(return_X_y=True), {"max_iter": 150}),
    "iris, sgd": (
        "MLPClassifier",
        lambda: load_iris(return_X_y=True),
        {"solver": "sgd", "learning_rate_init": 0.05, "batch_size": 20, "max_iter": 60},
    ),
    "digits": ("MLPClassifier", lambda: load_digits(return_X_y=True), {"max_iter": 30}),
    "digits, early stopping": (
        "MLPClassifier",
        lambda: load_digits(return_X_y=True),
        {"early_stopping": True, "max_iter": 40, "learning_rate_init": 0.005},
    ),
    "breast cancer": (
        "MLPClassifier",
        lambda: load_breast_cancer(return_X_y=True),
        {"max_iter": 40},
    ),
    "breast cancer, lbfgs": (
        "MLPClassifier",
        lambda: load_breast_cancer(return_X_y=True),
        {"solver": "lbfgs", "max_iter": 30, "alpha": 1.0, "hidden_layer_sizes": (30,)},
    ),
    "diabetes": (
        "MLPRegressor",
        lambda: (load_diabetes().data, scale(load_diabetes().target)),
        {"max_iter": 100, "batch_size": 50, "alpha": 1.0},
    ),
    "like California housing": (
        "MLPRegressor",
        lambda: like_california_housing(3000),
        {"max_iter": 30, "hidden_layer_sizes": (50, 20)},
    ),
    "classes, 20 features": (
        "MLPClassifier",
        lambda: make_classification(2000, 20, n_informative=8, n_classes=4, random_state=0),
        {"max_iter": 40},
    ),
    "drawn digits": (
        "MLPClassifier",
        lambda: drawn_digits(3000),
        {"max_iter": 8, "hidden_layer_sizes": (64,)},
    ),
}


def scores(problem: str, contender: str, seeds: range) -> np.ndarray:
    """Return a test score per seed, of split and estimator alike."""
    name, load, settings = PROBLEMS[problem]
    module, more = CONTENDERS[contender]
    x, y = load()
    found = []
    for seed in seeds:
        stratify = y if name == "MLPClassifier" else None
        parts = train_test_split(x, y, test_size=0.3, random_state=seed, stratify=stratify)
        x_train, x_test, y_train, y_test = parts
        scaler = StandardScaler().fit(x_train)
        model = getattr(module, name)(random_state=seed, **settings, **more)
        model.fit(scaler.transform(x_train), y_train)
        found.append(model.score(scaler.transform(x_test), y_test))
    return np.array(found)


def compare(problems: Iterable[str], seeds: range, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{'score on held-out rows':24}" + "".join(f"{each:>20}" for each in CONTENDERS)]
    wrong = []
    for problem in problems:
        by_contender = {each: scores(problem, each, seeds) for each in CONTENDERS}
        cells = [f"{each.mean():.4f} ± {each.std(ddof=1):.4f}" for each in by_contender.values()]
        lines.append(f"{problem:24}" + "".join(f"{cell:>20}" for cell in cells))
        theirs = by_contender["scikit-learn"]
        for contender, ours in by_contender.items():
            # Pairs of a seed: mostly the same numbers, but that ours stratifies all held-out rows.
            difference = ours - theirs
            noise = difference.std(ddof=1) / np.sqrt(len(seeds))
            if abs(difference.mean()) > 3.0 * noise + 0.015:
                wrong.append(f"{problem}, {contender}: {difference.mean():+.4f}")
    with capsys.disabled():
        print(f"\n{len(seeds)} seeds, the same settings\n" + "\n".join(lines))
    assert not wrong


def test_scores_over_two_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    compare(PROBLEMS, range(2), capsys)


@pytest.mark.slow
def test_scores_over_ten_seeds(capsys: pytest.CaptureFixture[str]) -> None:
    compare(PROBLEMS, range(10), capsys)


@pytest.mark.slow
def test_scores_on_mnist_over_ten_seeds(
    real_data: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        mnist = load_mnist(real_data, download=False)
    except OSError:
        pytest.skip(f"no MNIST in {real_data}; set FASTMLP_DATA to the folder that has it")
    rows = np.random.default_rng(0).permutation(len(mnist.x_train))[:15_000]
    data = mnist.x_train[rows].reshape(len(rows), -1).astype(np.float64), mnist.y_train[rows]
    settings = {"max_iter": 5, "hidden_layer_sizes": (64,)}
    monkeypatch.setitem(PROBLEMS, "MNIST, 15,000 rows", ("MLPClassifier", lambda: data, settings))
    compare(["MNIST, 15,000 rows"], range(10), capsys)
