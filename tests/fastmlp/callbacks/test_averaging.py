"""Weight averaging: the averages by their definitions, and training that goes on beneath."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from fastmlp import Adam, Callback, Trainer, WeightAveraging


class Snapshots(Callback):
    """Keeps the parameters after each epoch, or after each `batches_per_call` batches."""

    def __init__(self, batches_per_call: int | None = None) -> None:
        self.batches_per_call = batches_per_call
        self.taken: list[np.ndarray] = []

    def on_chunk_end(self, trainer: Trainer, n_batches_done: int, n_batches: int) -> None:
        every = self.batches_per_call
        if every and (n_batches_done % every == 0 or n_batches_done == n_batches):
            self.taken.append(trainer.network.parameters.copy())

    def on_epoch_end(self, trainer: Trainer) -> None:
        if self.batches_per_call is None:
            self.taken.append(trainer.network.parameters.copy())


def test_the_mean_of_the_epochs(backend_name: str, make_trainer: Any, make_problem: Any) -> None:
    trainer = make_trainer(backend_name)
    snapshots, averaging = Snapshots(), WeightAveraging(start=2)
    trainer.fit(*make_problem(), epochs=5, callbacks=[snapshots, averaging])
    wanted = np.mean(snapshots.taken[2:], axis=0)
    assert averaging.n_averaged == 3
    np.testing.assert_allclose(trainer.network.parameters, wanted, rtol=1e-13)


def test_the_moving_average_of_the_batches(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    trainer = make_trainer(backend_name, batch_size=2)
    snapshots, averaging = Snapshots(4), WeightAveraging(decay=0.6, every=4)
    trainer.fit(*make_problem(20), epochs=3, callbacks=[snapshots, averaging])
    # 10 batches an epoch: after 4, 8 and 10, the average of 4, 4 and 2 batches.
    wanted = snapshots.taken[0]
    for n, (parameters, n_steps) in enumerate(zip(snapshots.taken, [4, 4, 2] * 3, strict=True)):
        if n > 0:
            kept = min(0.6, (1 + n) / (10 + n)) ** n_steps
            wanted = kept * wanted + (1 - kept) * parameters
    np.testing.assert_allclose(trainer.network.parameters, wanted, rtol=1e-12)


@pytest.mark.parametrize("averaging", [WeightAveraging, lambda: WeightAveraging(0.9, every=3)])
def test_training_goes_on_as_if_nothing_were_averaged(
    averaging: Any, backend_name: str, make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    x, y = make_problem()
    averaged, plain = (make_trainer(backend_name, optimizer=Adam(0.01)) for _ in range(2))
    listener = averaging()
    averaged.fit(x, y, epochs=2, callbacks=listener)
    assert not np.array_equal(averaged.network.parameters, listener._in_training)
    averaged.fit(x, y, epochs=2, callbacks=listener)
    plain.fit(x, y, epochs=4)
    swapped_in = averaged.network.parameters.copy()
    averaged.network.parameters[...] = listener._in_training
    assert state_of(averaged) == state_of(plain)
    # Two calls average what one call averages.
    once, again = make_trainer(backend_name, optimizer=Adam(0.01)), averaging()
    once.fit(x, y, epochs=4, callbacks=again)
    assert np.array_equal(once.network.parameters, swapped_in)


def test_parameters_that_were_set_meanwhile_are_kept(make_trainer: Any, make_problem: Any) -> None:
    trainer, averaging = make_trainer(), WeightAveraging()
    trainer.fit(*make_problem(), callbacks=averaging)
    trainer.network.parameters[...] = 0.0
    seen: list[float] = []

    class Look(Callback):
        def on_fit_start(self, trainer: Trainer, n_epochs: int) -> None:
            seen.append(float(np.abs(trainer.network.parameters).max()))

    trainer.fit(*make_problem(), callbacks=[averaging, Look()])
    assert seen == [0.0]


def test_before_the_start_nothing_is_swapped_in(
    make_trainer: Any, make_problem: Any, state_of: Any
) -> None:
    averaged, plain = make_trainer(), make_trainer()
    for averaging in (WeightAveraging(start=3), WeightAveraging(0.9, start=3)):
        averaged.fit(*make_problem(), callbacks=averaging)
        plain.fit(*make_problem())
        assert averaging.average is None
    assert state_of(averaged) == state_of(plain)


def test_float32_averages_are_added_up_in_float64(make_trainer: Any, make_problem: Any) -> None:
    trainer, averaging = make_trainer(precision="float32"), WeightAveraging()
    trainer.fit(*make_problem(), epochs=3, callbacks=averaging)
    assert averaging.average is not None and averaging.average.dtype == np.float64
    assert trainer.network.dtype == "float32"


def test_bad_settings() -> None:
    for arguments, text in (
        ({"decay": 1.0}, "decay must be"),
        ({"start": -1}, "start must be an integer >= 0"),
        ({"every": 0}, "every must be an integer >= 1"),
    ):
        with pytest.raises(ValueError, match=text):
            WeightAveraging(**arguments)


def test_statistics_are_averaged_along(
    backend_name: str, make_trainer: Any, make_problem: Any
) -> None:
    class Statistics(Callback):
        taken: list[np.ndarray] = []

        def on_epoch_end(self, trainer: Trainer) -> None:
            self.taken.append(trainer.network.learned)

    averaged, plain = (make_trainer(backend_name, normalization="batch") for _ in range(2))
    averaging, taken = WeightAveraging(), Statistics()
    averaged.fit(*make_problem(), epochs=3, callbacks=[taken, averaging])
    np.testing.assert_allclose(averaged.network.learned, np.mean(taken.taken, axis=0), rtol=1e-13)
    averaged.fit(*make_problem(), callbacks=averaging)
    plain.fit(*make_problem(), epochs=4)
    np.testing.assert_array_equal(averaging._in_training, plain.network.learned)
