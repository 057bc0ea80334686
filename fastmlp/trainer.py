"""`Trainer`: the front end that trains a Network, and predicts with it, on any backend."""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .backend import choose_backend, get_backend, warn_of_emulation
from .callbacks import Callback
from .checks import check_integer, check_seed
from .data import (
    Features,
    check_dense,
    check_features,
    check_sample_weight,
    check_targets,
    weigh_classes,
)
from .errors import DivergenceError
from .history import History
from .kernels.contract import Engine, Gradients, Plan
from .kernels.formulas import LOSSES, random_bits
from .losses import Loss, check_loss
from .network import Network
from .optimizers import SGD, Optimizer, check_optimizer
from .plan import make_plan
from .regularization import Clipping, Dropout, Regularization
from .rows import DENSE_BYTES, Rows, SparseRows

if TYPE_CHECKING:
    from .quantization import QuantizedNetwork

SECONDS_PER_CALL = 0.1
"""How long one engine call should take: Ctrl-C and callbacks wait no longer than about this."""

MULTIPLICATIONS_PER_CALL, ROWS_PER_CALL = 10**9, 2048
"""How much one engine call predicts: so many multiplications, but at least so many rows."""


@dataclass(frozen=True)
class Evaluation:
    """What `Trainer.evaluate` returns.

    Attributes
    ----------
    loss : float
        The (weighted) mean loss.
    accuracy : float or None
        The share of rows predicted right (all outputs of the row), for classes; else None.
    r2 : float or None
        The coefficient of determination over all outputs, for values; else None. Of several
        quantiles that nearest to the median counts.
    """

    loss: float
    accuracy: float | None = None
    r2: float | None = None

    @property
    def score(self) -> float:
        """The accuracy, or R^2."""
        value = self.r2 if self.accuracy is None else self.accuracy
        assert value is not None
        return value


class Trainer:
    """Trains a network by minibatch gradient descent.

    Parameters
    ----------
    network : Network
        Changed in place.
    loss : Loss or str, default "auto"
        "auto" takes the first that suits the output. For a softmax output `CategoricalCrossEntropy`
        or `Focal`; for sigmoid `BinaryCrossEntropy` or `Focal`; for exponential `Poisson` or
        `Gamma`; for identity `Hinge`; for any but softmax `SquaredError`, `AbsoluteError`, `Huber`
        or `Quantile`. Or a name: "categorical_cross_entropy", "focal", "huber" and so on.
    optimizer : Optimizer or str, default ``SGD(learning_rate=0.1)``
        `SGD`, `Adam`, `AdamW`, `Nadam`, `RMSprop`, `Adagrad`, `Lion` or `Muon`, or a name: "sgd",
        "momentum", "nesterov", "adam" and so on.
    batch_size : int, default 32
        Rows per weight update; the last batch of an epoch may be smaller.
    backend : str, default "auto"
        "cython", "numba", "numpy" or "python"; "auto" takes the fastest that is available, unless
        the environment variable FASTMLP_BACKEND names one.
    precision : {"float32", "float64", "bfloat16"}, default "float32"
        The network is converted to it. "bfloat16" is float32 but for the products of matrices,
        which take numbers rounded to bfloat16 (two to three digits) and sum up in float32: faster
        on CPUs that multiply bfloat16, slower elsewhere, which a warning says once.
    n_threads : int or None, default None
        None takes OMP_NUM_THREADS, else the CPUs that the process may use.
    seed : int or None, default None
        Seed of the shuffling and of dropout.
    dropout : float or Dropout, default 0.0
        The rate at which the hidden layers' units are left out while training; a `Dropout` says it
        per layer, and for the inputs.
    regularization : Regularization, optional
        Penalties (L1, L2) and limits on the weights.
    clipping : Clipping, optional
        Limits on the gradient, by value or by norm.
    shuffle : bool or callable, default True
        Whether each epoch goes through the rows in a new order. A callable takes the number of
        rows and returns the row numbers of one epoch in their order: all rows, some, or some more
        than once. It is not saved: `load` gives a Trainer that shuffles by itself.

    Attributes
    ----------
    history : History
        Of all calls of `fit` so far.
    backend_name, backend_reason : str
        Which backend runs, and a sentence that says why.
    plan : Plan
        The network, loss, optimizer and batch as laid out for the engine.

    Raises
    ------
    ValueError, TypeError
        If an argument is not what is described here.
    BackendUnavailableError
        If the backend that was named cannot run here.

    Examples
    --------
    >>> from fastmlp import Network, Trainer
    >>> from fastmlp.datasets import synthetic_digits
    >>> X, y = synthetic_digits(2000)
    >>> network = Network([784, 64, 10], input_scale=1 / 255, seed=0)
    >>> trainer = Trainer(network, batch_size=64, seed=0)
    >>> history = trainer.fit(X, y, epochs=3)
    >>> history.n_epochs
    3
    """

    def __init__(
        self,
        network: Network,
        *,
        loss: Loss | str = "auto",
        optimizer: Optimizer | str = SGD(learning_rate=0.1),  # noqa: B008 (it is frozen)
        batch_size: int = 32,
        backend: str = "auto",
        precision: str = "float32",
        n_threads: int | None = None,
        seed: int | None = None,
        dropout: float | Dropout = 0.0,
        regularization: Regularization = Regularization(),  # noqa: B008 (it is frozen)
        clipping: Clipping = Clipping(),  # noqa: B008 (it is frozen)
        shuffle: bool | Callable[[int], NDArray[np.int64]] = True,
    ) -> None:
        self._optimizer = check_optimizer(optimizer)
        self._plan: Plan = make_plan(
            network,
            loss=loss,
            optimizer=self._optimizer,
            batch_size=batch_size,
            precision=precision,
            n_threads=n_threads,
            dropout=dropout,
            regularization=regularization,
            clipping=clipping,
        )
        if self._optimizer.formula.matrix is not None and not self._plan.matrix_layers:
            warnings.warn(
                f"{type(self._optimizer).__name__} has a rule of its own for the weights between "
                f"hidden layers, and this network has none (its sizes are {list(network.sizes)}): "
                "all of it is trained by AdamW, at adam_learning_rate. Add a hidden layer, or "
                "take AdamW",
                stacklevel=2,
            )
        self._regularization, self._clipping = regularization, clipping
        if seed is not None:
            seed = check_seed(seed)
        if not callable(shuffle) and not isinstance(shuffle, (bool, np.bool_)):
            raise TypeError(f"shuffle must be True, False or a callable; got {shuffle!r}")
        self.shuffle = shuffle
        self._backend, self.backend_reason = choose_backend(backend, precision, self._plan)
        if precision == "bfloat16" and not self._backend.bfloat16_isa:
            warn_of_emulation(self._backend.name)
        self._network = network
        self._loss = check_loss(loss, network.output)
        network.convert(self._plan.dtype)
        self.history = History()
        self._optimizer_state = np.zeros(
            (self.plan.n_states, self.plan.n_parameters), self.plan.dtype
        )
        self.n_steps = 0
        self.random = np.random.default_rng(seed)
        # Of its own: whether there is dropout does not change how rows are shuffled.
        self.dropout_seed = int(np.random.SeedSequence(seed).generate_state(1)[0])
        self._engine: Engine | None = None
        plan = self._plan
        center, scale = (np.abs(each).max() for each in (plan.input_center, plan.input_scale))
        largest = float(np.finfo(plan.dtype).max) / max(1.0, scale)
        # Up to here inputs stay finite in any column; half of it for what a difference rounds to.
        self._input_limit = largest / 2.0 - center if center else largest
        self._rows_per_call = max(ROWS_PER_CALL, MULTIPLICATIONS_PER_CALL // plan.n_parameters)
        # An engine's buffers serve one call at a time.
        self._lock = threading.RLock()
        self._batches_per_call = 1
        self._stop_requested = ""
        self.validates = False

    @property
    def network(self) -> Network:
        """The network that is trained."""
        return self._network

    @property
    def plan(self) -> Plan:
        """The network, loss, optimizer and batch as laid out for the engine."""
        return self._plan

    @property
    def loss(self) -> Loss:
        """The loss, with its parameters."""
        return self._loss

    @property
    def optimizer_state(self) -> NDArray[Any]:
        """The optimizer's memory, (n_states, n_parameters); its values may be changed in place."""
        return self._optimizer_state

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer; another one of the same kind may be assigned, to change its settings."""
        return self._optimizer

    @optimizer.setter
    def optimizer(self, optimizer: Optimizer | str) -> None:
        checked = check_optimizer(optimizer)
        if checked.formula_name != self._optimizer.formula_name:
            raise ValueError(
                f"optimizer can only be replaced by one of the same kind "
                f"({self._optimizer.formula_name}), whose state goes on; got {checked!r}, which is "
                f"{checked.formula_name}. Make a new Trainer for it"
            )
        self._optimizer = checked

    @property
    def regularization(self) -> Regularization:
        """Penalties and limits on the weights."""
        return self._regularization

    @property
    def clipping(self) -> Clipping:
        """Limits on the gradient."""
        return self._clipping

    @property
    def backend_name(self) -> str:
        """The backend that runs."""
        return self._backend.name

    @property
    def predicts_classes(self) -> bool:
        """Whether `predict` gives classes rather than values."""
        return LOSSES[self.plan.loss].predicts_classes

    @property
    def score_name(self) -> str:
        """What the score of an evaluation is: "accuracy" or "r2"."""
        return "accuracy" if self.predicts_classes else "r2"

    def fit(
        self,
        X: object,  # noqa: N803 (the field's own name)
        y: object,
        epochs: int = 1,
        validation_data: Sequence[object] | None = None,
        sample_weight: object = None,
        class_weight: object = None,
        callbacks: Iterable[Callback] | Callback = (),
        progress: bool = False,
    ) -> History:
        """Train for some epochs; called again, go on from where it stopped.

        Parameters
        ----------
        X : array of shape (rows, n_inputs)
            float32, float64 and uint8 are read as they are, without a copy (memory maps too).
            A sparse matrix or array of SciPy is read as it is by the cython and numba backends,
            whose first layer works on what is stored alone (at most 15%); elsewhere, like any
            other `Rows`, it is made dense chunk by chunk, never whole.
        y : array of shape (rows,) or (rows, n_outputs)
            Class numbers or one-hot rows for a softmax output (class numbers of the shape
            (rows, groups), if it has several groups); otherwise one value per output (of each
            value, if the outputs are its quantiles).
        epochs : int, default 1
            How often to go through all rows, each time in a new order.
        validation_data : tuple (X, y) or (X, y, sample_weight), optional
            Evaluated after each epoch.
        sample_weight : array of shape (rows,), optional
            How much each row counts; a batch's loss is the weighted mean of its rows.
        class_weight : "balanced" or dict, optional
            How much the rows of each class count, on top of that: by class number, 1 where there is
            none; "balanced" gives every class the same sum. For one softmax of all outputs, or a
            single one with a loss for classes.
        callbacks : iterable of Callback, or one Callback
        progress : bool, default False
            Show a progress bar with the time left.

        Returns
        -------
        History
            Of this and all earlier calls. After Ctrl-C too: its `stop_reason` is "interrupted"
            and the network holds what was learned so far.

        Raises
        ------
        ValueError, TypeError
            If the data do not fit; nothing is changed.
        DivergenceError
            If the loss or the parameters are no longer finite. The last finite ones are kept.
        """
        x = self._check_features(X)
        targets = check_targets(y, self.plan, len(x))
        weights = check_sample_weight(sample_weight, len(x), self.plan.dtype)
        weights = weigh_classes(class_weight, targets, self.plan, weights)
        n_epochs = check_integer("epochs", epochs, 0)
        validation = self._check_validation(validation_data)
        self.validates = validation is not None
        listeners = _check_callbacks(callbacks)
        if progress:
            from .progress import TrainingProgress  # imported late: only a shown bar pays for it

            listeners.append(TrainingProgress())

        for name in ("parameters", "statistics"):
            if not np.isfinite(getattr(self._network, name)).all():
                raise ValueError(
                    f"network.{name} must be finite before training; got NaN or infinity in them: "
                    "make a new Network, or load one"
                )
        history = self.history
        history.stop_reason = ""
        self._stop_requested = ""
        started: list[Callback] = []
        try:
            for listener in listeners:
                listener.on_fit_start(self, n_epochs)
                started.append(listener)
            for _ in range(n_epochs):
                if not self._run_epoch(x, targets, weights, listeners):
                    break
                if validation is not None:
                    evaluation = self._evaluate(*validation)
                    history.add_validation(evaluation.loss, evaluation.score)
                for listener in listeners:
                    listener.on_epoch_end(self)
                if self._stop_requested:
                    break
            history.stop_reason = (
                f"stopped: {self._stop_requested}" if self._stop_requested else "epochs done"
            )
        except KeyboardInterrupt:
            history.stop_reason = "interrupted"
        except DivergenceError:
            history.stop_reason = "diverged"
            raise
        except BaseException as error:
            history.stop_reason = f"failed: {type(error).__name__}"
            raise
        finally:
            self._tell_end(started)
        return history

    def _tell_end(self, listeners: Sequence[Callback]) -> None:
        """Call each `on_fit_end`, whatever the others raise; then raise the first error."""
        errors: list[BaseException] = []
        for listener in listeners:
            try:
                listener.on_fit_end(self)
            except BaseException as error:  # Ctrl-C too
                errors.append(error)
        if errors:
            raise errors[0]

    def stop(self, reason: str) -> None:
        """End `fit` after the current chunk of batches; for callbacks."""
        self._stop_requested = reason

    def predict(self, X: object) -> NDArray[Any]:  # noqa: N803 (the field's own name)
        """Predict classes or values.

        Parameters
        ----------
        X : array of shape (rows, n_inputs)

        Returns
        -------
        ndarray
            For a softmax output the class numbers (rows,) int64, or (rows, groups) of several
            groups. For a sigmoid output trained by
            cross-entropy or focal loss, and for hinge loss, 0 or 1, int64; otherwise the values in
            the plan's dtype. Both of the shape (rows,) for one output and (rows, n_outputs) for
            more.
        """
        return self._decide(self.predict_proba(X), LOSSES[self.plan.loss].decides_at)

    def predict_proba(self, X: object) -> NDArray[Any]:  # noqa: N803 (the field's own name)
        """Return the network's outputs, (rows, n_outputs): probabilities for softmax and sigmoid.

        Parameters
        ----------
        X : array of shape (rows, n_inputs)
        """
        network = self._network
        if type(X) is np.ndarray:  # quickly: the engine looks at the values
            x: Features = check_features(X, network.sizes[0], limit=None)
        else:
            x = self._check_features(X, looks_at_values=False)
        out = np.empty((len(x), network.sizes[-1]), network.parameters.dtype)
        if len(x) <= self._rows_per_call and isinstance(x, np.ndarray):  # quickly, for single rows
            with self._lock:
                finite = self._bound_engine().predict(x, out)
        else:
            finite = True
            for rows in self._row_chunks(x):
                part = self._part(x, rows)
                with self._lock:
                    finite = self._bound_engine().predict(part, out[rows]) and finite
        if not finite:
            self._check_features(x)  # says which value it is
        return out

    def hidden(self, X: object, layer: int = -1) -> NDArray[Any]:  # noqa: N803 (the field's own name)
        """Return what a hidden layer hands on, (rows, its width).

        Parameters
        ----------
        X : array of shape (rows, n_inputs)
        layer : int, default -1
            0 is the first hidden layer, -1 the last.

        Raises
        ------
        ValueError, TypeError
            If there is no such hidden layer, or X does not fit.
        """
        n_hidden = len(self.network.activations)
        if n_hidden == 0:
            raise ValueError(f"the network has no hidden layer; its sizes are {self.network.sizes}")
        number = check_integer("layer", layer, -n_hidden, n_hidden - 1) % n_hidden
        part = Trainer(
            self.network.up_to(number),
            backend=self.backend_name,
            precision=self._plan.precision,
            n_threads=self._plan.n_threads,
        )
        return part.predict_proba(X)

    def quantize(self, X_sample: object) -> QuantizedNetwork:  # noqa: N803 (the field's own name)
        """Return the network in int8, for prediction only: see `QuantizedNetwork`.

        Parameters
        ----------
        X_sample : array of shape (rows, n_inputs)
            Rows such as will be predicted, some hundreds of them. The smallest and the largest
            value that each layer takes for them are what its 256 steps reach from and to; beyond
            them values are cut off. Pixels in uint8 are steps as they are, and not cut off.

        Raises
        ------
        ValueError, TypeError
            If X_sample does not fit, the network's parameters are not finite or not trained, a
            layer has over 33,000 inputs or a range that is not finite, or the network has more
            than layers of weights, biases and fastmlp's own activations, such as an input_center
            or an input_scale for each input.
        """
        from .quantization import quantize  # imported late: it imports this module's users

        return quantize(self, X_sample)

    def evaluate(self, X: object, y: object, sample_weight: object = None) -> Evaluation:  # noqa: N803
        """Return the mean loss and the accuracy (classes) or R^2 (values).

        Parameters
        ----------
        X : array of shape (rows, n_inputs)
        y : array of shape (rows,) or (rows, n_outputs)
        sample_weight : array of shape (rows,), optional
        """
        x = self._check_features(X)
        targets = check_targets(y, self.plan, len(x))
        weights = check_sample_weight(sample_weight, len(x), self.plan.dtype)
        return self._evaluate(x, targets, weights)

    def gradients(self, X: object, y: object, sample_weight: object = None) -> Gradients:  # noqa: N803
        """Return the loss, every dw and db, and the z, a and dz on the way, for all rows at once.

        Parameters
        ----------
        X : array of shape (rows, n_inputs)
        y : array of shape (rows,) or (rows, n_outputs)
        sample_weight : array of shape (rows,), optional

        Returns
        -------
        Gradients
            Its lists have one array per layer. A batch normalisation takes the means and variances
            of these rows, and leaves the running ones as they are.
        """
        x = self._check_features(X)
        targets = check_targets(y, self.plan, len(x))
        weights = check_sample_weight(sample_weight, len(x), self.plan.dtype)
        part = self._part(x, slice(None))
        with self._lock:
            found = self._bound_engine().gradients(part, targets, weights)
        for name in ("dw", "db", "z", "a", "dz", "dgamma"):
            lists = getattr(found, name)
            setattr(found, name, [np.asarray(each, self.plan.dtype) for each in lists])
        return found

    def objective(
        self,
        X: object,  # noqa: N803 (the field's own name)
        y: object,
        sample_weight: object = None,
    ) -> Callable[[NDArray[Any]], tuple[float, NDArray[np.float64]]]:
        """Return the mean loss of all rows, with its gradient, as a function of the parameters.

        For optimizers that work on whole vectors and all the data, such as SciPy's L-BFGS. The
        penalties are in it, but there is no dropout, no clipping and no max-norm.

        Parameters
        ----------
        X : array of shape (rows, n_inputs)
        y : array of shape (rows,) or (rows, n_outputs)
        sample_weight : array of shape (rows,), optional

        Returns
        -------
        callable
            Takes parameters (n_parameters,), puts them into the network, and returns the loss and
            the gradient (n_parameters,) float64, laid out as ``network.parameters``. The rows are
            gone through chunk by chunk.

        Raises
        ------
        ValueError, TypeError
            If the data do not fit; or the network has a batch normalisation, whose loss depends on
            which rows are a batch.
        """
        if self._network.normalization == "batch":
            raise ValueError(
                "a network with normalization='batch' has no loss of all rows as a function of its "
                "parameters: it depends on which rows are a batch. Take normalization='layer', or "
                "train it with fit"
            )
        x = self._check_features(X)
        targets = check_targets(y, self.plan, len(x))
        weights = check_sample_weight(sample_weight, len(x), self.plan.dtype)

        def loss_and_gradient(parameters: NDArray[Any]) -> tuple[float, NDArray[np.float64]]:
            self.network.parameters = parameters
            return self._loss_and_gradient(x, targets, weights)

        return loss_and_gradient

    def __repr__(self) -> str:
        return (
            f"<Trainer {self.network!r}, loss {self.plan.loss}, {self.optimizer!r}, "
            f"batch {self.plan.batch_size}, {self.backend_name}, {self.n_steps:,} steps done>"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what is kept in a pickle or a copy; an engine is made again where it is loaded."""
        kept = self.__dict__ | {"_engine": None, "_backend": self.backend_name}
        del kept["_lock"]
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        self.__dict__.update(kept)
        self._backend = get_backend(kept["_backend"])
        self._lock = threading.RLock()

    def _bound_engine(self) -> Engine:
        """Return the engine, bound to the network's present memory."""
        network = self._network
        if self._engine is None or self._engine.parameters is not network.parameters:
            if network.dtype != self._plan.dtype:
                raise ValueError(
                    f"the network's parameters must be {self._plan.dtype} for this Trainer; "
                    f"another Trainer or network.convert made them {network.dtype}. Give each "
                    "precision a network of its own (copy.deepcopy) or convert it back"
                )
            self._engine = self._backend.compile(
                self._plan, network.parameters, self._optimizer_state, network.statistics
            )
        return self._engine

    def _check_features(
        self, x: object, argument: str = "X", *, looks_at_values: bool = True
    ) -> Features:
        limit = self._input_limit if looks_at_values else None
        found = check_features(x, self._plan.n_inputs, argument, limit, self._network.scaled)
        if isinstance(found, SparseRows) and any(self._plan.input_center):
            raise ValueError(
                f"{argument} must be dense where the network has an input_center, because zeros "
                "would not stay zeros; got a sparse matrix: take a Network with input_center=0, or "
                f"{argument}.toarray()"
            )
        return found

    def _becomes_dense(self, x: Features) -> bool:
        """Tell whether rows are made dense, part by part, for the engine."""
        return isinstance(x, Rows) and not self._stays_sparse(x)

    def _stays_sparse(self, x: Features) -> bool:
        """Tell whether the engine reads the rows as they are stored; not where it rounds them."""
        is_rounded = self._plan.precision == "bfloat16"
        return (
            isinstance(x, SparseRows)
            and self._backend.reads_sparse
            and x.is_thin
            and not is_rounded
        )

    def _part(self, x: Features, rows: slice) -> Any:
        """Return consecutive rows as the engine reads them."""
        if isinstance(x, SparseRows) and self._stays_sparse(x):
            return x.compressed(self._plan.precision, rows)
        return self._dense_part(x, rows)

    def _dense_part(self, x: Features, rows: slice | NDArray[np.int64]) -> NDArray[Any]:
        if isinstance(x, Rows):
            return check_dense(
                x[rows], self._plan.n_inputs, "X", self._input_limit, self._network.scaled
            )
        return np.asarray(x[rows])

    def _loss_and_gradient(
        self, x: Features, targets: NDArray[Any], weights: NDArray[Any] | None
    ) -> tuple[float, NDArray[np.float64]]:
        """Return the (weighted) mean loss of all rows with the penalties, and its gradient."""
        loss, gradient = 0.0, np.zeros(self._plan.n_parameters)
        total = len(x) if weights is None else float(weights.sum(dtype=np.float64))
        # z, a and dz of all layers are kept for each row.
        kept = 3 * 8 * sum(layer.fan_out for layer in self._plan.layers)
        for rows in self._row_chunks(x, max(1, DENSE_BYTES // kept)):
            part, row_weights = self._part(x, rows), None if weights is None else weights[rows]
            counts = len(part) if row_weights is None else float(row_weights.sum(dtype=np.float64))
            if counts == 0.0:
                continue
            with self._lock:
                found = self._bound_engine().gradients(part, targets[rows], row_weights)
            loss += found.loss * (counts / total)
            for layer, *parts in zip(
                self._plan.layers, found.dw, found.db, found.dgamma, strict=True
            ):
                flat = np.concatenate([np.ravel(part) for part in parts])
                gradient[layer.parameters] += flat * (counts / total)
        penalty = self.regularization
        share = 1.0 / total if penalty.divided_by_rows else 1.0
        for layer, weights_of_layer in zip(self._plan.layers, self.network.weights, strict=True):
            loss += share * penalty.penalty(weights_of_layer)
            gradient[layer.weights] += share * penalty.penalty_gradient(weights_of_layer).ravel()
        return loss, gradient

    def _row_chunks(self, x: Features, most: int | None = None) -> Iterable[slice]:
        """Cut rows into parts that one engine call works on, so that Ctrl-C comes through."""
        step = self._rows_per_call if most is None else most
        if isinstance(x, Rows):
            step = min(step, x.most_rows())
        return (slice(start, start + step) for start in range(0, len(x), step))

    def _check_validation(
        self, validation_data: Sequence[object] | None
    ) -> tuple[Features, NDArray[Any], NDArray[Any] | None] | None:
        if validation_data is None:
            return None
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) not in (2, 3):
            raise TypeError(
                "validation_data must be a tuple (X, y) or (X, y, sample_weight); got "
                f"{type(validation_data).__name__}"
            )
        x = self._check_features(validation_data[0], "validation X")
        y = check_targets(validation_data[1], self.plan, len(x), "validation y")
        raw_weights = validation_data[2] if len(validation_data) == 3 else None
        weights = check_sample_weight(
            raw_weights, len(x), self.plan.dtype, "validation sample_weight"
        )
        return x, y, weights

    def _run_epoch(
        self,
        x: Features,
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        listeners: Sequence[Callback],
    ) -> bool:
        """Train one epoch, chunk by chunk; return whether it was completed."""
        history, batch_size = self.history, self.plan.batch_size
        order = self._epoch_order(len(x))
        n_batches = -(-len(order) // batch_size)
        counts = _batch_weights(order, weights, batch_size)
        epochs = history.n_epochs + np.arange(n_batches) / n_batches
        coefficients = self.optimizer.coefficients(self.n_steps + 1, n_batches, epochs, len(order))
        if self.plan.adjusts_gradient:
            coefficients = np.hstack([coefficients, self._adjustments(counts)])
        keys = self._dropout_keys(n_batches)
        snapshot = self.network.learned, self.optimizer_state.copy(), self.n_steps
        sums: list[float] = []
        spent = 0.0
        history.batch_losses = []
        intervals = [each.batches_per_call for each in listeners if each.batches_per_call]
        while len(sums) < n_batches:
            to_next_call = (every - len(sums) % every for every in intervals)
            n_called = min(self._batches_per_call, *to_next_call, n_batches)
            if isinstance(x, Rows) and self._becomes_dense(x):
                n_called = min(n_called, max(1, x.most_rows() // batch_size))
            first, last = len(sums), min(len(sums) + n_called, n_batches)
            start = time.perf_counter()
            chosen = order[first * batch_size : last * batch_size]
            if isinstance(x, Rows) and self._becomes_dense(x):
                call = self._dense_call(x, targets, weights, chosen)
            else:
                call = self._part(x, slice(None)), targets, weights, chosen
            with self._lock:
                found = self._bound_engine().train(
                    *call, coefficients[first:last], None if keys is None else keys[first:last]
                )
            seconds = time.perf_counter() - start
            spent += seconds
            sums.extend(found)
            weighed = np.maximum(counts[first : len(sums)], TINY)
            history.batch_losses.extend((np.array(found) / weighed).tolist())
            diverged = not np.isfinite(sums[-1])
            self.n_steps += len(found) - diverged
            finished = len(sums) == n_batches
            if diverged or (finished and not np.isfinite(self.network.learned).all()):
                rates = self.optimizer.rates(epochs[first:last], len(order))
                self._fail_diverged(snapshot, x, float(rates.max()))
            self._plan_next_call(last - first, seconds)
            for listener in listeners:
                listener.on_chunk_end(self, len(sums), n_batches)
            if self._stop_requested and not finished:
                return False
        history.loss.append(float(np.sum(sums) / np.sum(counts)))
        history.seconds.append(spent)
        return True

    def _adjustments(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return l1, l2 and the limit of each batch, (n_batches, 3); `counts` as its rows count."""
        penalty = self.regularization
        share = 1.0 / np.maximum(counts, 1e-30) if penalty.divided_by_rows else np.ones(len(counts))
        limit = np.full(len(counts), self.clipping.largest)
        return np.column_stack([penalty.l1 * share, penalty.l2 * share, limit])

    def _dropout_keys(self, n_batches: int) -> NDArray[np.int64] | None:
        """Return the keys of dropout per batch and layer, from the next step on."""
        if not any(self.plan.dropout):
            return None
        steps = np.arange(self.n_steps, self.n_steps + n_batches, dtype=np.uint64)[:, None]
        layers = np.arange(len(self.plan.layers), dtype=np.uint64)
        keys = random_bits(random_bits(steps + np.uint64(self.dropout_seed)) + layers)
        return np.asarray(keys, np.int64)

    def _epoch_order(self, n_rows: int) -> NDArray[np.int64]:
        """Return the rows that an epoch goes through, in their order."""
        if not callable(self.shuffle):
            return self.random.permutation(n_rows) if self.shuffle else np.arange(n_rows)
        order = np.asarray(self.shuffle(n_rows))
        if order.ndim != 1 or len(order) == 0 or order.dtype.kind not in "iu":
            raise ValueError(
                "shuffle must return the numbers of the rows in order, a flat array of integers; "
                f"got the shape {order.shape} and dtype {order.dtype}"
            )
        if order.min() < 0 or order.max() >= n_rows:
            raise ValueError(
                f"shuffle must return row numbers from 0 to {n_rows - 1}; got {order.min()} to "
                f"{order.max()}"
            )
        return np.ascontiguousarray(order, np.int64)

    def _dense_call(
        self,
        x: Rows,
        targets: NDArray[Any],
        weights: NDArray[Any] | None,
        chosen: NDArray[np.int64],
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None, NDArray[np.int64]]:
        """Return the chosen rows alone, dense, and the order in which they lie."""
        part = None if weights is None else weights[chosen]
        return self._dense_part(x, chosen), targets[chosen], part, np.arange(len(chosen))

    def _plan_next_call(self, n_batches: int, seconds: float) -> None:
        """Aim at SECONDS_PER_CALL, growing at most eightfold at a time."""
        fitting = int(n_batches * SECONDS_PER_CALL / max(seconds, 1e-9))
        self._batches_per_call = max(1, min(fitting, 8 * n_batches))

    def _fail_diverged(
        self, snapshot: tuple[NDArray[Any], NDArray[Any], int], x: Features, rate: float
    ) -> None:
        """Put back the last finite parameters and raise, saying what to try."""
        learned, state, n_steps = snapshot
        if not (
            np.isfinite(self.network.learned).all() and np.isfinite(self.optimizer_state).all()
        ):
            self.network.learned = learned
            self.optimizer_state[...] = state
            self.n_steps = n_steps
        advice = [f"a smaller learning rate (now {rate:g})"]
        rows = self._dense_part(x, slice(ROWS_LOOKED_AT))
        largest = float(np.abs(self.network.scaled(rows)).max())
        if largest > 20.0:
            advice.insert(
                0,
                f"inputs of about unit size (as scaled they reach {largest:g}; pass "
                "Network(..., input_scale=..., input_center=...))",
            )
        raise DivergenceError(
            f"training diverged in epoch {self.history.n_epochs + 1} (step {self.n_steps + 1}): "
            f"the loss or the parameters are no longer finite. The last finite parameters were "
            f"kept. Try {' or '.join(advice)}."
        )

    def _decide(self, outputs: NDArray[Any], decides_at: float | None) -> NDArray[Any]:
        """Turn outputs (rows, n_outputs) into classes or values."""
        if self.plan.targets_are_labels:
            labels = [outputs[:, group].argmax(axis=1) for group in self.plan.groups]
            return np.asarray(labels[0] if len(labels) == 1 else np.stack(labels, axis=1))
        decided = outputs if decides_at is None else (outputs >= decides_at).astype(np.int64)
        return decided[:, 0] if self.plan.n_outputs == 1 else decided

    def _evaluate(
        self, x: Features, targets: NDArray[Any], weights: NDArray[Any] | None
    ) -> Evaluation:
        out = np.empty((len(x), self.plan.n_outputs), self.plan.dtype)
        loss_sum = 0.0
        for rows in self._row_chunks(x):
            part = self._part(x, rows)
            row_weights = None if weights is None else weights[rows]
            with self._lock:
                loss_sum += self._bound_engine().evaluate(
                    part, targets[rows], row_weights, out[rows]
                )
        loss = loss_sum / (len(x) if weights is None else float(weights.sum(dtype=np.float64)))
        if self.predicts_classes:
            decided = self._decide(out, LOSSES[self.plan.loss].decides_at)
            # A target between 0 and 1 counts as the class that it is nearer to.
            are_labels = self._plan.targets_are_labels
            right = decided == (targets if are_labels else self._decide(targets, 0.5))
            rows_right = right.reshape(len(x), -1).all(axis=1)
            return Evaluation(loss, accuracy=float(np.average(rows_right, weights=weights)))
        scored = self._loss.scored_outputs
        return Evaluation(loss, r2=_r2(out[:, scored], targets[:, scored], weights))


TINY = 1e-300
"""What the loss of rows without weight, 0, is divided by."""

ROWS_LOOKED_AT = 1000
"""How many rows the advice after a divergence looks at."""


def _batch_weights(
    order: NDArray[np.int64], weights: NDArray[Any] | None, batch_size: int
) -> NDArray[np.float64]:
    """Return what each batch counts for: its rows, or the sum of their weights."""
    starts = np.arange(0, len(order), batch_size)
    if weights is None:
        return np.diff(starts, append=len(order)).astype(np.float64)
    return np.add.reduceat(weights[order].astype(np.float64), starts)


def _r2(predicted: NDArray[Any], expected: NDArray[Any], weights: NDArray[Any] | None) -> float:
    """Return R^2 over all outputs: 1 - residual / total sum of squares."""
    predicted = predicted.reshape(len(predicted), -1).astype(np.float64)
    expected = expected.reshape(len(expected), -1).astype(np.float64)
    row_weights = np.ones(len(expected)) if weights is None else weights.astype(np.float64)
    mean = np.average(expected, axis=0, weights=row_weights)
    residual = float(row_weights @ ((expected - predicted) ** 2).sum(axis=1))
    total = float(row_weights @ ((expected - mean) ** 2).sum(axis=1))
    if total == 0.0:
        return 1.0 if residual == 0.0 else 0.0
    return 1.0 - residual / total


def _check_callbacks(callbacks: Iterable[Callback] | Callback) -> list[Callback]:
    if not isinstance(callbacks, Iterable):
        callbacks = [callbacks]
    listeners = list(callbacks)
    for listener in listeners:
        if not isinstance(listener, Callback):
            raise TypeError(
                f"callbacks must be objects of fastmlp.Callback; got {type(listener).__name__}"
            )
    return listeners
