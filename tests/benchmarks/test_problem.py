from __future__ import annotations

import numpy as np

from fastmlp.benchmarks.problem import SEED, Problem, Rows, draw_order
from fastmlp.datasets import load_digits

PROBLEM = Problem((784, 16, 10), 8)


def test_the_network_starts_the_same_every_time() -> None:
    first, second = PROBLEM.network(), PROBLEM.network(1 / 255)
    np.testing.assert_array_equal(first.parameters, second.parameters)
    assert np.ptp(first.parameters) > 0


def test_the_order_is_what_the_trainer_draws() -> None:
    """Rows that are used up in the order drawn train to the same parameters."""
    digits = load_digits(20, 0)
    rows = PROBLEM.rows(digits)
    trainer = PROBLEM.trainer("numpy", "float64", 1, rows.input_scale)
    trainer.fit(rows.x_train, rows.y_train, epochs=2)
    random = np.random.default_rng(SEED)
    by_hand = PROBLEM.trainer("numpy", "float64", 1, rows.input_scale)
    for _ in range(2):
        order = draw_order(random, 20)
        engine = by_hand._bound.engine()
        coefficients = by_hand.optimizer.coefficients(1, 3)
        engine.train(rows.x_train, rows.y_train.astype(np.int32), None, order, coefficients)
    np.testing.assert_array_equal(by_hand.network.parameters, trainer.network.parameters)


def test_tables_have_two_classes() -> None:
    rows = Problem((20, 8, 1), 8, data="table", output="sigmoid").rows(None)
    assert rows.x_train.shape == (100_000, 20) and rows.x_test.shape == (10_000, 20)
    assert set(np.unique(rows.y_train)) == {0, 1}
    assert rows.first(10).x_train.shape == (10, 20)


def test_rows_are_scaled_to_float32() -> None:
    x = np.array([[0, 51, 255]], np.uint8)
    y = np.zeros(1, np.int64)
    scaled = Rows(x, y, x, y, 1 / 255).scaled(x)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, [[0.0, 0.2, 1.0]], rtol=1e-6)
    centered = Rows(x, y, x, y, 1 / 2, input_center=50.0).scaled(x)
    assert centered.dtype == np.float32
    np.testing.assert_array_equal(centered, [[-25.0, 0.5, 102.5]])


def test_no_pixel_of_standardized_images_is_zero() -> None:
    problem = Problem((784, 16, 10), 8, data="standardized images")
    rows = problem.rows(load_digits(200, 0))
    x = rows.scaled(rows.x_train)
    assert (x != 0.0).mean() > 0.99 and abs(x.mean()) < 0.2 and 0.5 < x.std() < 1.2
    trainer = problem.trainer("numpy", "float32", 1, rows.input_scale, rows.input_center)
    scaled = problem.trainer("numpy", "float32", 1, 1.0)
    found, wanted = trainer.predict_proba(rows.x_train[:50]), scaled.predict_proba(x[:50])
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


def test_flops() -> None:
    assert PROBLEM.inference_flops(3) == 2 * 3 * (784 * 16 + 160)
    assert PROBLEM.training_flops(3) == 2 * 3 * (2 * 784 * 16 + 3 * 160)
