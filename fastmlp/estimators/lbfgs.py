"""solver="lbfgs": SciPy's L-BFGS-B over the Trainer's loss and gradient of all rows."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.utils.optimize import _check_optimize_result

from ..errors import DivergenceError
from ..trainer import Trainer
from .sklearn_versions import lbfgs_verbosity


def minimize_whole(
    trainer: Trainer,
    data: tuple[Any, Any, Any],
    *,
    max_iter: int,
    max_fun: int,
    tol: float,
    verbose: Any,
) -> tuple[float, int]:
    """Change the network's parameters to those of the smallest loss; warn if it is not reached.

    Parameters
    ----------
    trainer : Trainer
    data : tuple (X, y, sample_weight)
        As ``Trainer.objective`` takes them.
    max_iter, max_fun : int
        The most iterations, and calls of the objective.
    tol : float
        Training ends where no component of the gradient is larger.
    verbose : bool or int

    Returns
    -------
    tuple (loss, iterations)

    Raises
    ------
    DivergenceError
        If the parameters are no longer finite; the first ones are put back.
    """
    start = trainer.network.parameters.astype(np.float64)
    found = minimize(
        trainer.objective(*data),
        start,
        method="L-BFGS-B",
        jac=True,
        options={
            "maxfun": max_fun,
            "maxiter": max_iter,
            "gtol": tol,
            **lbfgs_verbosity(verbose),
        },
    )
    if not np.isfinite(found.x).all():
        trainer.network.parameters = start
        raise DivergenceError(
            "solver='lbfgs' reached parameters that are not finite, and the first ones were put "
            "back. Try inputs of about unit size (scale_inputs='standard')."
        )
    trainer.network.parameters = found.x
    return float(found.fun), int(_check_optimize_result("lbfgs", found, max_iter))
