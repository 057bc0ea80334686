"""One thread for NumPy's matrix products: the experiments' are so small that more are slower."""

from __future__ import annotations

import contextlib
import importlib


def one_blas_thread() -> contextlib.AbstractContextManager[object]:
    """Return a context in which NumPy's BLAS uses one thread.

    It needs threadpoolctl (extra ``peers``). Without it nothing changes: the numbers are the same,
    the waiting is longer.
    """
    try:
        threadpoolctl = importlib.import_module("threadpoolctl")
    except ImportError:
        return contextlib.nullcontext()
    limits: contextlib.AbstractContextManager[object] = threadpoolctl.threadpool_limits(
        1, user_api="blas"
    )
    return limits
