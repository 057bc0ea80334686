"""What each constructor parameter may be, in scikit-learn's own terms and with its own errors."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options, StrOptions

from ..backend import BACKENDS
from ..custom import CustomActivation
from ..initializers import INITIALIZERS
from ..kernels.contract import PRECISIONS
from ..kernels.formulas import ACTIVATIONS
from ..network import NORMALIZATIONS
from ..optimizers import NAMED_OPTIMIZERS, Optimizer
from ..regularization import Clipping, Dropout, Regularization
from .own_names import OWN_NAMES

SHARED: dict[str, Any] = {
    # scikit-learn's
    "hidden_layer_sizes": ["array-like", Interval(Integral, 1, None, closed="left")],
    "activation": [StrOptions({*OWN_NAMES, *ACTIVATIONS}), CustomActivation, list, tuple],
    "solver": [StrOptions({"lbfgs", "sgd", "adam"})],
    "alpha": [Interval(Real, 0, None, closed="left")],
    "batch_size": [StrOptions({"auto"}), Interval(Integral, 1, None, closed="left")],
    "learning_rate": [StrOptions({"constant", "invscaling", "adaptive"})],
    "learning_rate_init": [Interval(Real, 0, None, closed="neither")],
    "power_t": [Interval(Real, 0, None, closed="left")],
    "max_iter": [Interval(Integral, 1, None, closed="left")],
    "shuffle": ["boolean"],
    "random_state": ["random_state"],
    "tol": [Interval(Real, 0, None, closed="left")],
    "verbose": ["verbose"],
    "warm_start": ["boolean"],
    "momentum": [Interval(Real, 0, 1, closed="both")],
    "nesterovs_momentum": ["boolean"],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="left")],
    "beta_1": [Interval(Real, 0, 1, closed="left")],
    "beta_2": [Interval(Real, 0, 1, closed="left")],
    "epsilon": [Interval(Real, 0, None, closed="neither")],
    "n_iter_no_change": [Interval(Integral, 1, None, closed="left"), Options(Real, {np.inf})],
    "max_fun": [Interval(Integral, 1, None, closed="left")],
    # fastmlp's
    "optimizer": [StrOptions(set(NAMED_OPTIMIZERS)), Optimizer, None],
    "dropout": [Interval(Real, 0, 1, closed="left"), Dropout],
    "normalization": [StrOptions(set(NORMALIZATIONS)), None],
    "regularization": [Regularization, None],
    "clipping": [Clipping, None],
    "init": [StrOptions({"auto", *INITIALIZERS})],
    "scale_inputs": [StrOptions({"standard", "minmax", "robust"}), None],
    "scoring": [str, callable, None],
    "callbacks": "no_validation",  # the Trainer checks them
    "time_limit": [Interval(Real, 0, None, closed="neither"), None],
    "progress": ["boolean"],
    "backend": [StrOptions({"auto", *BACKENDS})],
    "precision": [StrOptions({"auto", *PRECISIONS})],
    "n_threads": [Interval(Integral, 1, None, closed="left"), None],
}
"""Of both estimators."""
