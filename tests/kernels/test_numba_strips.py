"""Rows that the numba backend gathers straight to tiles of AMX: bit by bit as from panels.

On a CPU with AMX; test_numba_amx.py runs it where the instructions are emulated.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

pytest.importorskip("numba", reason="Numba is not installed: pip install 'fastmlp[numba]'")

import fastmlp
from fastmlp import plan
from fastmlp.kernels import numba_backend, numba_memory
from fastmlp.kernels.numba_names import INPUT_STRIP


@pytest.fixture(autouse=True)
def _needs_tiles() -> None:
    if {info.name: info.bfloat16_isa for info in fastmlp.backends()}["numba"] != "amx":
        pytest.skip("this needs AMX")


def trained(
    x: np.ndarray,
    monkeypatch: pytest.MonkeyPatch,
    n_threads: int = 1,
    dropout: Any = 0.0,
    without_strips: bool = False,
) -> tuple[bytes, set[bool]]:
    """The parameters after an epoch, and whether the inputs were strips of tiles."""
    network = fastmlp.Network([x.shape[1], 40, 3], seed=0, input_scale=0.01, input_center=3.0)
    used = set()
    monkeypatch.setattr(plan, "available_cpus", lambda: 8)  # else no more threads than CPUs
    monkeypatch.setattr(numba_backend, "VALUES_PER_MEETING", 1)  # nor as many
    make = numba_memory.Workspace.__init__

    def recorded(self: Any, *given: Any, **named: Any) -> None:
        make(self, *given, **named)
        assert self.n_threads == n_threads
        used.add(bool(self.call[INPUT_STRIP] != 0))

    with monkeypatch.context() as patch:
        patch.setattr(numba_memory.Workspace, "__init__", recorded)
        if without_strips:
            never = property(lambda self: None, lambda self, tiles: None)
            patch.setattr(numba_memory.Parameters, "tiles", never, raising=False)
        trainer = fastmlp.Trainer(
            network, precision="bfloat16", backend="numba", batch_size=37, n_threads=n_threads,
            seed=0, dropout=dropout,
        )  # fmt: skip
        trainer.fit(x, np.arange(len(x)) % 3, epochs=1, progress=False)
    return network.parameters.tobytes(), used


@pytest.mark.parametrize("n_threads", [1, 3, 6])
@pytest.mark.parametrize("columns", [1, 31, 50, 129])
def test_strips_change_no_bit(
    n_threads: int, columns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = np.random.default_rng(columns).integers(0, 256, (100, 2 * columns), np.uint8)
    for rows in (x[:, :columns], x[:, ::2], x.astype(np.float32)[:, ::2], x.astype(np.float64)):
        by_panels, used = trained(rows, monkeypatch, n_threads, without_strips=True)
        assert used == {False}
        assert trained(rows, monkeypatch, n_threads) == (by_panels, {True})


def test_inputs_that_are_dropped_are_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).integers(0, 256, (100, 50), np.uint8)
    dropped, used = trained(x, monkeypatch, dropout=fastmlp.Dropout(0.0, input=0.5))
    assert used == {False}
    assert dropped != trained(x, monkeypatch)[0]
