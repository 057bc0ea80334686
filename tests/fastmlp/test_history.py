"""`History`."""

from __future__ import annotations

import json

from fastmlp import History


def test_an_empty_history() -> None:
    assert History().n_epochs == 0
    assert repr(History()) == "<History: no epoch yet>"


def test_repr_and_json() -> None:
    history = History([2.0, 1.0], [3.0, 2.5], [0.5, 0.75], [0.1, 0.15], [1.0], "epochs done")
    assert history.n_epochs == 2
    assert repr(history) == "<History: 2 epochs, loss 1.0000, validation score 0.7500, 0.25 s>"
    assert History(**json.loads(json.dumps(history.as_dict()))) == history


def test_histories_share_nothing() -> None:
    first, second = History(), History()
    first.loss.append(1.0)
    assert second.loss == []
