"""Inference: one row, a batch and many rows through 784-128-10."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from fastmlp.datasets import Dataset

from .case import Case, Prepared, Setting
from .peers import PEERS
from .problem import SEED, Problem

NETWORK = Problem((784, 128, 10), 128)
ROW_COUNTS = (1, 64, 10_000)
ROWS_COMPARED = 64
REFERENCE_ROWS = 16


def prepare_inference(setting: Setting, data: Dataset, *, problem: Problem) -> Prepared:
    """Return a prediction of all class probabilities; the rows are float32, ready to be read."""
    x = np.random.default_rng(SEED).random((setting.rows, problem.sizes[0]), np.float32)
    precision = ""
    if setting.kind == "peer":
        peer = PEERS[setting.contender]
        predict, precision = peer.predictor(problem, setting.rows, setting.n_threads)
    else:
        trainer = problem.trainer(setting.contender, setting.precision, setting.n_threads, 1.0)
        x = x.astype(trainer.plan.dtype)
        predict = trainer.predict_proba

    def note() -> str:
        trainer = problem.trainer("numpy", "float64", 1, 1.0)
        few = x[:ROWS_COMPARED]
        expected = trainer.predict_proba(few)
        error = float(np.abs(predict(x)[:ROWS_COMPARED] - expected).max())
        return f"probabilities within {error:.0e} of those in float64"

    return Prepared(lambda: predict(x), lambda: predict(x), note=note, precision=precision)


def _refuses(setting: Setting) -> str:
    return "" if setting.kind == "backend" else PEERS[setting.contender].refuses_inference()


def _cases() -> Iterator[Case]:
    for rows in ROW_COUNTS:
        shown = f"{rows:,} row{'s' if rows > 1 else ''}"
        yield Case(
            f"predict_{rows}",
            "inference",
            f"{NETWORK.name}, {shown}",
            f"All class probabilities of {shown} of 784 float32 features.",
            rows=rows,
            prepare=partial(prepare_inference, problem=NETWORK),
            level="quick" if rows <= ROWS_COMPARED else "default",
            reference_rows=min(rows, REFERENCE_ROWS),
            parameters={"sizes": list(NETWORK.sizes), "rows": rows, "activation": "relu"},
            flops=NETWORK.inference_flops(rows),
            dimensions="full",
            with_peers=True,
            refuses=_refuses,
        )


INFERENCE = tuple(_cases())
