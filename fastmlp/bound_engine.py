"""`BoundEngine`: a plan's engine on a network's memory, and how a user's rows reach it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data import (
    Examples,
    Features,
    check_dense,
    check_features,
    check_sample_weight,
    check_targets,
)
from .kernels.contract import Backend, Engine, Gradients, Plan
from .network import Network
from .rows import Rows, SparseRows

SECONDS_PER_CALL = 0.1
"""How long one engine call should take: Ctrl-C and callbacks wait about so long, if a batch may."""

FEW_BATCHES, SECONDS_OF_FEW = 4, 0.2
"""A call of so many batches may take longer, this long: where a callback looks at the parameters in
between, each call packs and unpacks all of them."""

MULTIPLICATIONS_PER_CALL, ROWS_PER_CALL = 10**9, 2048
"""How much one engine call predicts: so many multiplications, but at least so many rows."""


class BoundEngine:
    """Calls of an engine on rows of any kind, cut into parts, one call at a time.

    Parameters
    ----------
    backend : Backend
    plan : Plan
    network : Network
        Its parameters may be replaced as a whole: the engine is made again then.
    optimizer_state : ndarray, shape (n_states, n_parameters)

    Attributes
    ----------
    batches_per_call : int
        How many batches `train` should be given at once, by what the calls so far have taken.
    """

    def __init__(
        self, backend: Backend, plan: Plan, network: Network, optimizer_state: NDArray[Any]
    ) -> None:
        self.backend, self.plan, self.network = backend, plan, network
        self.optimizer_state = optimizer_state
        self.batches_per_call = 1
        self._engine: Engine | None = None
        center, scale = (np.abs(each).max() for each in (plan.input_center, plan.input_scale))
        largest = float(np.finfo(plan.dtype).max) / max(1.0, scale)
        # Up to here inputs stay finite in any column; half of it for what a difference rounds to.
        self._input_limit = largest / 2.0 - center if center else largest
        self._rows_per_call = max(ROWS_PER_CALL, MULTIPLICATIONS_PER_CALL // plan.n_parameters)
        # At hand for a single row, which takes few microseconds in all.
        self._n_inputs, self._n_outputs = network.sizes[0], network.sizes[-1]
        self._dtype = np.dtype(plan.dtype)
        # An engine's buffers serve one call at a time.
        self._lock = threading.RLock()

    def engine(self, *, may_be_packed: bool = False) -> Engine:
        """Return the engine, bound to the network's present memory, which is true.

        While another thread trains, what is learned may be packed: `may_be_packed` leaves it so.
        """
        network = self.network
        if self._engine is None or self._engine.parameters is not network.parameters:
            if network.dtype != self.plan.dtype:
                raise ValueError(
                    f"the network's parameters must be {self.plan.dtype} for this Trainer; "
                    f"another Trainer or network.convert made them {network.dtype}. Give each "
                    "precision a network of its own (copy.deepcopy) or convert it back"
                )
            self._engine = self.backend.compile(
                self.plan, network.parameters, self.optimizer_state, network.statistics
            )
        if self._engine.is_packed and not may_be_packed:
            self._engine.unpack()
        return self._engine

    def check_learned(self) -> None:
        """Refuse to train what is read-only or not finite."""
        for name in ("parameters", "statistics"):
            values = getattr(self.network, name)
            if not values.flags.writeable:
                raise ValueError(
                    f"network.{name} must be writable to be trained; it is read-only: train a copy "
                    "(copy.deepcopy) or set its flags.writeable"
                )
            if not np.isfinite(values).all():
                raise ValueError(
                    f"network.{name} must be finite before training; got NaN or infinity in them: "
                    "make a new Network, or load one"
                )

    # ---------------------------------------------------------------------------------- rows

    def check(
        self, x: object, y: object, sample_weight: object = None, *, prefix: str = ""
    ) -> Examples:
        """Return features, targets and weights that fit the plan; errors name them by `prefix`."""
        features = self.check_features(x, f"{prefix}X")
        n_rows = len(features)
        return Examples(
            features,
            check_targets(y, self.plan, n_rows, f"{prefix}y"),
            check_sample_weight(sample_weight, n_rows, self.plan.dtype, f"{prefix}sample_weight"),
        )

    def check_validation(self, validation_data: Sequence[object] | None) -> Examples | None:
        """Return the (X, y) or (X, y, sample_weight) of `Trainer.fit`, checked."""
        if validation_data is None:
            return None
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise TypeError(
                "validation_data must be a tuple (X, y) or (X, y, sample_weight); got "
                f"{type(validation_data).__name__}"
            )
        return self.check(*validation_data, prefix="validation ")

    def check_features(
        self, x: object, argument: str = "X", *, looks_at_values: bool = True
    ) -> Features:
        """Return features that fit the plan, as they are; `argument` is what errors call them."""
        limit = self._input_limit if looks_at_values else None
        found = check_features(x, self.plan.n_inputs, argument, limit, self.network.scaled)
        if isinstance(found, SparseRows) and any(self.plan.input_center):
            raise ValueError(
                f"{argument} must be dense where the network has an input_center, because zeros "
                f"would not stay zeros; got a sparse matrix: take {argument}.toarray(), or a "
                "Network with input_center=0 (or an estimator that was fitted to sparse rows)"
            )
        return found

    def dense(self, x: Features, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        """Return some rows, dense."""
        if isinstance(x, Rows):
            return check_dense(
                x[rows], self.plan.n_inputs, "X", self._input_limit, self.network.scaled
            )
        return np.asarray(x[rows])

    def _becomes_dense(self, x: Features) -> bool:
        """Tell whether rows are made dense, part by part, for the engine."""
        return isinstance(x, Rows) and not self._stays_sparse(x)

    def _stays_sparse(self, x: Features) -> bool:
        """Tell whether the engine reads the rows as they are stored; not where it rounds them."""
        is_rounded = self.plan.precision == "bfloat16"
        return (
            isinstance(x, SparseRows) and self.backend.reads_sparse and x.is_thin and not is_rounded
        )

    def _part(self, x: Features, rows: slice) -> Any:
        """Return consecutive rows as the engine reads them."""
        if isinstance(x, SparseRows) and self._stays_sparse(x):
            return x.compressed(self.plan.precision, rows)
        return self.dense(x, rows)

    def chunks(self, x: Features, most: int | None = None) -> Iterator[slice]:
        """Cut rows into parts that one engine call works on, so that Ctrl-C comes through.

        A part has `most` rows, or else as many as are predicted in a call.
        """
        step = self._rows_per_call if most is None else most
        if isinstance(x, Rows):
            step = min(step, x.most_rows())
        return (slice(start, start + step) for start in range(0, len(x), step))

    # --------------------------------------------------------------------------------- calls

    def train(
        self,
        examples: Examples,
        order: NDArray[np.int64],
        coefficients: NDArray[np.float64],
        dropout_keys: NDArray[np.int64] | None,
        *,
        stays_packed: bool = False,
    ) -> tuple[list[float], float]:
        """Train on the rows of `order`; return the sum of the loss per batch, and the seconds.

        Parameters
        ----------
        examples : Examples
        order : ndarray of int64, shape (rows,)
        coefficients : ndarray of float64, shape (n_batches, n_coefficients)
        dropout_keys : ndarray of int64, shape (n_batches, n_layers), or None
        stays_packed : bool
            Nobody looks at the network's parameters before the next call or `unpack`.
        """
        start = time.perf_counter()
        x, targets, weights = examples.x, examples.targets, examples.weights
        is_part = self._becomes_dense(x)
        if is_part:
            x, targets = self.dense(x, order), targets[order]
            weights = None if weights is None else weights[order]
            order = np.arange(len(order))
        part = self._part(x, slice(None))
        with self._lock:
            sums = self.engine(may_be_packed=True).train(
                part,
                targets,
                weights,
                order,
                coefficients,
                dropout_keys,
                stays_packed=stays_packed,
                is_part=is_part,
            )
        seconds = time.perf_counter() - start
        self.plan_next_call(len(coefficients), seconds)
        return list(sums), seconds

    def unpack(self) -> None:
        """Make the network's parameters and the optimizer's state true again."""
        with self._lock:
            if self._engine is not None:
                self._engine.unpack()

    def most_batches(self, x: Features) -> int:
        """Return how many batches of these rows the next call should train."""
        most = self.batches_per_call
        if isinstance(x, Rows) and self._becomes_dense(x):
            most = min(most, max(1, x.most_rows() // self.plan.batch_size))
        return most

    def plan_next_call(self, n_batches: int, seconds: float) -> None:
        """Aim at SECONDS_PER_CALL, or at a few batches; grow at most eightfold at a time."""
        per_second = n_batches / max(seconds, 1e-9)
        few = min(FEW_BATCHES, int(per_second * SECONDS_OF_FEW))
        fitting = max(few, int(per_second * SECONDS_PER_CALL))
        self.batches_per_call = max(1, min(fitting, 8 * n_batches))

    def predict(self, X: object) -> NDArray[Any]:  # noqa: N803 (the field's own name)
        """Return the outputs of rows that nobody has checked, (rows, n_outputs)."""
        if type(X) is np.ndarray:  # quickly: the engine looks at the values
            x: Features = check_dense(X, self._n_inputs, limit=None)
        else:
            x = self.check_features(X, looks_at_values=False)
        n_rows = len(x)
        out = np.empty((n_rows, self._n_outputs), self._dtype)
        if n_rows <= self._rows_per_call and isinstance(x, np.ndarray):  # quickly, for single rows
            with self._lock:
                finite = self.engine().predict(x, out)
        else:
            finite = True
            for rows in self.chunks(x):
                part = self._part(x, rows)
                with self._lock:
                    finite = self.engine().predict(part, out[rows]) and finite
        if not finite:
            self.check_features(x)  # says which value it is
        return out

    def evaluate(self, examples: Examples) -> tuple[float, NDArray[Any]]:
        """Return the (weighted) mean loss, and the outputs (rows, n_outputs)."""
        x, targets, weights = examples.x, examples.targets, examples.weights
        out = np.empty((len(x), self.plan.n_outputs), self.plan.dtype)
        loss_sum = 0.0
        for rows in self.chunks(x):
            part = self._part(x, rows)
            row_weights = None if weights is None else weights[rows]
            with self._lock:
                loss_sum += self.engine().evaluate(part, targets[rows], row_weights, out[rows])
        return loss_sum / examples.total_weight, out

    def gradients(self, examples: Examples, rows: slice = slice(None)) -> Gradients:
        """Return everything of one batch of consecutive rows."""
        part, weights = self._part(examples.x, rows), examples.weights
        row_weights = None if weights is None else weights[rows]
        with self._lock:
            return self.engine().gradients(part, examples.targets[rows], row_weights)
