"""One epoch: the order of the rows, batches by calls, divergence."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from fastmlp import SGD, Callback, DivergenceError, Network, Trainer
from fastmlp.callbacks.base import Training
from fastmlp.epoch import Epoch, epoch_order


def begun(trainer: Trainer, x: Any, y: Any, order: Any, **settings: Any) -> Epoch:
    """Return an epoch of a trainer."""
    return Epoch(
        trainer._bound,
        trainer._bound.check(x, y),
        order,
        optimizer=trainer.optimizer,
        regularization=trainer.regularization,
        clipping=trainer.clipping,
        history=trainer.history,
        **{"n_steps": 0, "dropout_seed": 0, **settings},
    )


def fix_calls(trainer: Trainer, batches_per_call: int) -> None:
    """Have each call take so many batches, which otherwise goes by the clock."""
    trainer._bound.batches_per_call = batches_per_call
    trainer._bound.plan_next_call = lambda n_batches, seconds: None  # type: ignore[method-assign]


def test_an_epoch_is_trained_some_batches_at_a_time(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=10)
    trainer, by_fit = (make_trainer(backend_name, batch_size=2) for _ in range(2))
    engine, history = trainer._bound, trainer.history
    epoch = begun(trainer, x, y, epoch_order(True, trainer.random, 10), n_steps=7)
    engine.batches_per_call = 3
    epoch.train(2)
    assert (epoch.n_batches, epoch.n_done, epoch.n_steps, epoch.is_done) == (5, 2, 9, False)
    engine.batches_per_call = 1
    epoch.train(5)
    assert epoch.n_done == len(history.batch_losses) == 3 and history.n_epochs == 0
    while not epoch.is_done:
        epoch.train(5)
    epoch.note()
    by_fit.fit(x, y)
    assert epoch.n_steps == 12 and history.loss == by_fit.history.loss
    assert np.array_equal(trainer.network.parameters, by_fit.network.parameters)


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_how_many_batches_a_call_has_does_not_matter(
    precision: str, backend_name: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    x, y = make_problem(n_rows=60)
    states = []
    for batches_per_call in (1, 3, 100):
        trainer = make_trainer(backend_name, precision=precision, optimizer="adam")
        fix_calls(trainer, batches_per_call)
        trainer.fit(x, y, epochs=2)
        states.append(state_of(trainer))
    assert states[0] == states[1] == states[2]


class Looking(Callback):
    """Keeps what the parameters are after each chunk."""

    def __init__(self) -> None:
        self.seen: list[bytes] = []

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        self.seen.append(trainer.network.parameters.tobytes())


class Counting(Looking):
    """Says that it does not look, and looks at a network of its own accord."""

    looks_at_chunks = False

    def on_fit_start(self, trainer: Training, n_epochs: int) -> None:
        self.network = trainer.network

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        self.seen.append(self.network.parameters.tobytes())


@pytest.mark.filterwarnings("ignore:the .* backend emulates bfloat16")
@pytest.mark.parametrize("precision", ["float32", "float64", "bfloat16"])
def test_parameters_stay_packed_where_no_callback_looks(
    precision: str, compiled_or_numpy_name: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    x, y = make_problem(n_rows=60)
    states = []
    for callbacks in ([], [Looking()], [Looking(), Counting()], [Counting()]):
        trainer = make_trainer(compiled_or_numpy_name, precision=precision, optimizer="adam")
        fix_calls(trainer, 2)
        trainer.fit(x, y, epochs=2, callbacks=callbacks)
        states.append(state_of(trainer))
        for each in callbacks[:1]:
            n_chunks, last = len(each.seen), trainer.network.parameters.tobytes()
            assert n_chunks >= 6 and each.seen[-1] == last
            # All of them new; or those of the start and of the end of two epochs.
            packs = type(each) is Counting and compiled_or_numpy_name != "numpy"
            assert len(set(each.seen)) == (3 if packs else n_chunks)
    assert states[0] == states[1] == states[2] == states[3]


class Copying(Callback):
    """Says that it does not look, and does: by way of the Trainer, which then tells the truth."""

    looks_at_chunks = False

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        if n_batches_done == 4:
            self.copy = copy.deepcopy(trainer)
        elif n_batches_done == 6:
            self.parameters = trainer.network.parameters.copy()


def test_a_trainer_shows_what_is_learned_in_the_middle_of_an_epoch(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=80)
    trainer, four, six = (make_trainer(backend_name, shuffle=False) for _ in range(3))
    fix_calls(trainer, 2)
    copying = Copying()
    trainer.fit(x, y, callbacks=copying)
    four.fit(x[:32], y[:32])
    six.fit(x[:48], y[:48])
    assert copying.copy.n_steps == 4
    assert np.array_equal(copying.copy.network.parameters, four.network.parameters)
    assert np.array_equal(copying.parameters, six.network.parameters)


class Ending(Counting):
    """Ends training in the middle of an epoch, one way or another."""

    def __init__(self, way: str, *, looks: bool) -> None:
        super().__init__()
        self.way, self.looks_at_chunks = way, looks

    def on_chunk_end(self, trainer: Training, n_batches_done: int, n_batches: int) -> None:
        if n_batches_done >= 4:
            if self.way == "interrupt":
                raise KeyboardInterrupt
            trainer.stop("enough")


@pytest.mark.parametrize("way", ["stop", "interrupt"])
def test_parameters_are_unpacked_wherever_training_ends(
    way: str, backend_name: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    x, y = make_problem(n_rows=60)
    states = []
    for looks in (False, True):
        trainer = make_trainer(backend_name, optimizer="adam")
        fix_calls(trainer, 2)
        trainer.fit(x, y, callbacks=Ending(way, looks=looks))
        assert trainer.n_steps == 4
        states.append(state_of(trainer))
    assert states[0] == states[1]


def test_whatever_is_called_sees_what_was_packed(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=40)
    packed, plain = (make_trainer(backend_name, batch_size=8) for _ in range(2))
    rows = np.arange(40)
    epochs = [begun(packed, x, y, rows, stays_packed=True), begun(plain, x, y, rows)]
    for step in range(5):
        for epoch in epochs:
            epoch._engine.batches_per_call = 1
            epoch.train(1)
        if step == 1:
            assert np.array_equal(packed.predict_proba(x), plain.predict_proba(x))
        elif step == 2:
            assert packed.evaluate(x, y) == plain.evaluate(x, y)
        elif step == 3:
            found, wanted = packed.gradients(x, y), plain.gradients(x, y)
            assert found.loss == wanted.loss and np.array_equal(found.dw[0], wanted.dw[0])
        packed._bound.unpack()
        assert np.array_equal(packed.network.parameters, plain.network.parameters)


def test_divergence_gives_back_what_was_packed(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(n_rows=32, output="identity")
    trainer, wanted = (
        make_trainer(backend_name, output="identity", batch_size=8, shuffle=False) for _ in range(2)
    )
    wanted.fit(x[:16], y[:16])
    y[16:20] *= 1e200  # whose square is infinite
    fix_calls(trainer, 1)
    with pytest.raises(DivergenceError):
        trainer.fit(x, y)
    assert trainer.n_steps == 2
    assert np.array_equal(trainer.network.parameters, wanted.network.parameters)


def test_infinite_parameters_do_not_stay_packed(backend_name: str, make_trainer: Any) -> None:
    trainer = make_trainer(
        backend_name, sizes=(1, 1), output="identity", batch_size=1, shuffle=False
    )
    trainer.optimizer = SGD(1e9)
    fix_calls(trainer, 1)
    before = trainer.network.parameters.copy()
    # The second of five batches makes an infinite weight, and the third one's loss shows it.
    x, y = np.ones((5, 1)), np.ones((5, 1))
    x[:2, 0] = y[:2, 0] = 0.0, 1e150
    with pytest.raises(DivergenceError):
        trainer.fit(x, y)
    assert np.array_equal(trainer.network.parameters, before) and trainer.n_steps == 0


@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_divergence(
    precision: str, backend_name: str, make_trainer: Any, make_problem: Any, assert_usable: Any
) -> None:
    x, y = make_problem(output="identity")
    trainer = make_trainer(backend_name, output="identity", activation="relu", precision=precision)
    before = trainer.network.parameters.copy()
    trainer.optimizer = SGD(learning_rate=1e6)
    with pytest.raises(DivergenceError) as caught:
        trainer.fit(x * 30.0, y, epochs=50)
    text = str(caught.value)
    assert "training diverged in epoch" in text and "smaller learning rate (now 1e+06)" in text
    assert "inputs of about unit size" in text and "input_scale" in text
    assert trainer.history.stop_reason == "diverged"
    assert np.isfinite(trainer.network.parameters).all()
    trainer.optimizer = SGD(learning_rate=1e-3)
    trainer.network.parameters[...] = before
    assert_usable(trainer, x, y)


def test_a_first_step_into_the_infinite_leaves_the_start(
    backend_name: str, make_trainer: Any, state_of: Any
) -> None:
    trainer = make_trainer(backend_name, sizes=(1, 1), output="identity", precision="float64")
    trainer.optimizer = SGD(1e9)
    before = trainer.network.parameters.copy()
    with pytest.raises(DivergenceError):
        trainer.fit([[1e200]], [1e150])
    assert np.array_equal(trainer.network.parameters, before) and trainer.n_steps == 0


def test_a_batch_of_weight_zero_does_no_harm(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem(24)
    weights = np.zeros(24)
    weights[0] = 1.0  # one batch of three has weight
    trainer = make_trainer(backend_name)
    history = trainer.fit(x, y, epochs=2, sample_weight=weights)
    assert np.isfinite(trainer.network.parameters).all()
    assert np.isfinite(history.batch_losses).all() and history.batch_losses.count(0.0) == 2
    assert history.loss[-1] == pytest.approx(sum(history.batch_losses))


def test_without_shuffling_the_rows_come_in_their_order(backend_name: str) -> None:
    X, y = np.arange(8.0).reshape(4, 2), np.array([[0.0], [1.0], [1.0], [0.0]])
    trainers = [
        Trainer(
            Network([2, 3, 1], output="identity", seed=0),
            batch_size=2,
            precision="float64",
            backend=backend_name,
            shuffle=shuffle,
        )
        for shuffle in (False, np.arange)
    ]
    for trainer in trainers:
        trainer.fit(X, y, epochs=2)
    by_hand = Trainer(
        Network([2, 3, 1], output="identity", seed=0),
        batch_size=2,
        precision="float64",
        backend=backend_name,
    )
    for _ in range(2):
        by_hand.fit(X[:2], y[:2], epochs=1)
        by_hand.fit(X[2:], y[2:], epochs=1)
    for trainer in trainers:
        np.testing.assert_allclose(
            trainer.network.parameters, by_hand.network.parameters, rtol=1e-12
        )


@pytest.mark.parametrize("weighted", [False, True])
def test_an_order_may_take_some_rows_only(weighted: bool) -> None:
    x, y = np.arange(16.0).reshape(8, 2) / 16, np.arange(8) % 2
    weights = np.arange(1.0, 9.0) if weighted else None
    some = np.array([6, 1, 4])
    losses = []
    for rows, order in ((slice(None), lambda n: some), (some, np.arange)):
        trainer = Trainer(Network([2, 3, 2], seed=0), batch_size=2, shuffle=order)
        part = None if weights is None else weights[rows]
        losses.append(trainer.fit(x[rows], y[rows], epochs=2, sample_weight=part).loss)
    assert losses[0] == losses[1]


@pytest.mark.parametrize(
    ("order", "message"),
    [
        (lambda n: np.zeros((n, 1), int), r"flat array of integers; got the shape \(4, 1\)"),
        (lambda n: np.zeros(0, int), r"flat array of integers; got the shape \(0,\)"),
        (lambda n: np.arange(float(n)), "flat array of integers;.*dtype float64"),
        (lambda n: np.arange(n) + 1, "row numbers from 0 to 3; got 1 to 4"),
    ],
)
def test_an_order_that_does_not_fit_is_refused(
    order: Callable[[int], np.ndarray], message: str
) -> None:
    trainer = Trainer(Network([2, 3, 2]), shuffle=order)
    with pytest.raises(ValueError, match=message):
        trainer.fit(np.zeros((4, 2)), [0, 1, 0, 1])


def test_shuffle_must_be_a_choice_or_a_callable() -> None:
    with pytest.raises(TypeError, match="shuffle must be True, False or a callable; got 'no'"):
        Trainer(Network([2, 3, 2]), shuffle="no")


def test_a_divergence_puts_the_statistics_back(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    x, y = make_problem()
    trainer = make_trainer(
        backend_name, normalization="batch", output="identity", optimizer=SGD(1e9)
    )
    targets = np.eye(3)[y]
    with pytest.raises(DivergenceError), np.errstate(all="ignore"):
        trainer.fit(x, targets, epochs=100)
    assert np.isfinite(trainer.network.learned).all()
