"""The data sets by name."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from fastmlp.datasets.cifar import load_cifar10
from fastmlp.datasets.dataset import Dataset
from fastmlp.datasets.digits import load_digits
from fastmlp.datasets.mnist import load_mnist
from fastmlp.errors import unknown_name

__all__ = ["DATASET_NAMES", "load"]

FROM_FILES: dict[str, Callable[..., Dataset]] = {"cifar10": load_cifar10, "mnist": load_mnist}
DRAWN: dict[str, Callable[..., Dataset]] = {"digits": load_digits}
DATASET_NAMES = tuple(sorted([*FROM_FILES, *DRAWN]))


def load(name: str, data_dir: str | os.PathLike[str] | None = None, **options: Any) -> Dataset:
    """Load a data set by its name.

    Parameters
    ----------
    name : {"cifar10", "digits", "mnist"}
        Which data set.
    data_dir : path, optional
        Where its files are; see `load_mnist` and `load_cifar10`. "digits" has no files and does
        not look at it.
    **options
        Passed on to `load_mnist`, `load_cifar10` or `load_digits`.

    Returns
    -------
    Dataset
        Training and test rows.

    Raises
    ------
    ValueError, TypeError
        If there is no data set of this name.
    FormatError, FileNotFoundError
        If its files are damaged or not found.
    """
    if isinstance(name, str):
        if name in FROM_FILES:
            return FROM_FILES[name](data_dir, **options)
        if name in DRAWN:
            return DRAWN[name](**options)
    raise unknown_name("name", name, DATASET_NAMES)
