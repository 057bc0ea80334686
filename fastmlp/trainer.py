"""`Trainer`: the front end that trains a Network, and predicts with it, on any backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .backend import choose_backend, get_backend, warn_of_emulation
from .bound_engine import BoundEngine
from .callbacks import Callback
from .callbacks.listeners import Listeners
from .checks import check_integer, check_seed
from .data import Examples, weigh_classes
from .epoch import Epoch, epoch_order
from .errors import DivergenceError
from .evaluation import Evaluation, decide, evaluation_of
from .history import History
from .kernels.contract import Gradients, Plan
from .kernels.formulas import LOSSES
from .losses import Loss, check_loss
from .network import Network, writable
from .objective import Objective
from .optimizers import SGD, Optimizer, check_optimizer
from .plan import make_plan, warn_of_no_matrices
from .regularization import Clipping, Dropout, Regularization

if TYPE_CHECKING:
    from .quantization import QuantizedNetwork


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
            warn_of_no_matrices(self._optimizer, network)
        self._regularization, self._clipping = regularization, clipping
        if seed is not None:
            seed = check_seed(seed)
        if not callable(shuffle) and not isinstance(shuffle, (bool, np.bool_)):
            raise TypeError(f"shuffle must be True, False or a callable; got {shuffle!r}")
        self.shuffle = shuffle
        chosen, self.backend_reason = choose_backend(backend, precision, self._plan)
        if precision == "bfloat16" and not chosen.bfloat16_isa:
            warn_of_emulation(chosen.name)
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
        self._bound = BoundEngine(chosen, self._plan, network, self._optimizer_state)
        self._stop_requested = ""
        self.validates = False
        self._own_score_name = ""

    @property
    def network(self) -> Network:
        """The network that is trained; its arrays are true, also while another thread trains it."""
        self._bound.unpack()
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
        self._bound.unpack()
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
        return self._bound.backend.name

    @property
    def predicts_classes(self) -> bool:
        """Whether `predict` gives classes rather than values."""
        return LOSSES[self.plan.loss].predicts_classes

    @property
    def score_name(self) -> str:
        """What the validation score is: "accuracy" or "r2", or the name of the last `fit`'s own."""
        return self._own_score_name or ("accuracy" if self.predicts_classes else "r2")

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
        score: Callable[[Trainer], float] | None = None,
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
        score : callable, optional
            ``score(trainer)`` after each epoch is the validation score, in the place of the
            accuracy or R^2: a number, the larger the better.

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
        examples = self._bound.check(X, y, sample_weight)
        if class_weight is not None:
            targets, weights = examples.targets, examples.weights
            weights = weigh_classes(class_weight, targets, self._plan, weights)
            examples = replace(examples, weights=weights)
        n_epochs = check_integer("epochs", epochs, 0)
        validation = self._bound.check_validation(validation_data)
        self.validates = validation is not None
        if score is not None and not self.validates:
            raise ValueError("score is of the validation data: pass validation_data=(X, y) too")
        self._own_score_name = "" if score is None else getattr(score, "__name__", "score")
        listeners = Listeners(callbacks, progress=progress)
        self._bound.unpack()
        self._bound.check_learned()

        history = self.history
        history.stop_reason = ""
        self._stop_requested = ""
        try:
            listeners.on_fit_start(self, n_epochs)
            for _ in range(n_epochs):
                if not self._run_epoch(examples, listeners):
                    break
                if validation is not None:
                    evaluation = self._evaluate(validation)
                    found = evaluation.score if score is None else math.nan
                    history.add_validation(evaluation.loss, found)
                    if score is not None:  # it may read the loss
                        history.validation_score[-1] = float(score(self))
                listeners.on_epoch_end(self)
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
            try:
                self._bound.unpack()  # an epoch that was not completed may have left them packed
            finally:
                listeners.on_fit_end(self)
        return history

    def _run_epoch(self, examples: Examples, listeners: Listeners) -> bool:
        """Train one epoch; return whether it was completed."""
        epoch = Epoch(
            self._bound,
            examples,
            epoch_order(self.shuffle, self.random, len(examples.x)),
            optimizer=self._optimizer,
            regularization=self._regularization,
            clipping=self._clipping,
            history=self.history,
            n_steps=self.n_steps,
            dropout_seed=self.dropout_seed,
            stays_packed=not listeners.any_looks_at_chunks,
        )
        while not epoch.is_done:
            try:
                epoch.train(listeners.most_batches(epoch.n_done, epoch.n_batches))
            finally:
                self.n_steps = epoch.n_steps
            listeners.on_chunk_end(self, epoch.n_done, epoch.n_batches)
            if self._stop_requested and not epoch.is_done:
                return False
        epoch.note()
        return True

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
        return decide(self._plan, self._bound.predict(X), LOSSES[self._plan.loss].decides_at)

    def predict_proba(self, X: object) -> NDArray[Any]:  # noqa: N803 (the field's own name)
        """Return the network's outputs, (rows, n_outputs): probabilities for softmax and sigmoid.

        Parameters
        ----------
        X : array of shape (rows, n_inputs)
        """
        return self._bound.predict(X)

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
        return self._evaluate(self._bound.check(X, y, sample_weight))

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
        found = self._bound.gradients(self._bound.check(X, y, sample_weight))
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
        examples = self._bound.check(X, y, sample_weight)
        return Objective(self._bound, examples, self._regularization)

    def __repr__(self) -> str:
        return (
            f"<Trainer {self.network!r}, loss {self.plan.loss}, {self.optimizer!r}, "
            f"batch {self.plan.batch_size}, {self.backend_name}, {self.n_steps:,} steps done>"
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what is kept in a pickle or a copy; an engine is made again where it is loaded."""
        self._bound.unpack()
        kept = self.__dict__ | {"_backend": self.backend_name}
        del kept["_bound"]
        return kept

    def __setstate__(self, kept: dict[str, Any]) -> None:
        backend = get_backend(kept.pop("_backend"))
        self.__dict__.update(kept)
        self._optimizer_state = writable(self._optimizer_state)
        self._bound = BoundEngine(backend, self._plan, self._network, self._optimizer_state)

    def _evaluate(self, examples: Examples) -> Evaluation:
        loss, outputs = self._bound.evaluate(examples)
        return evaluation_of(self._plan, self._loss, loss, outputs, examples)
