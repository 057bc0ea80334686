"""Where data files are looked for: a given folder, $FASTMLP_DATA, the user's cache."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from ..kernels.cache_folder import cache_folder

__all__ = ["CIFAR10_FOLDER", "DATA_VARIABLE", "MNIST_FOLDER", "cache_folder", "folders_to_search"]

DATA_VARIABLE = "FASTMLP_DATA"
MNIST_FOLDER, CIFAR10_FOLDER = "mnist", "cifar-10-batches-bin"


def folders_to_search(
    data_dir: str | os.PathLike[str] | None, subfolder: str, *, with_cache: bool = False
) -> list[Path]:
    """List the folders that may hold a data set, in the order to look.

    Parameters
    ----------
    data_dir : path or None
        The folder that the caller named; it takes the place of ``$FASTMLP_DATA``. If it is that of
        another data set, ``.../mnist``, the one beside it is searched too.
    subfolder : str
        The data set's own folder inside each of these.
    with_cache : bool
        Also look in the user's cache, last.

    Raises
    ------
    TypeError
        If `data_dir` is not a path.
    FileNotFoundError, NotADirectoryError
        If `data_dir` is given and is no folder: better than a silent look elsewhere.
    """
    roots: Sequence[Path]
    if data_dir is not None:
        if not isinstance(data_dir, (str, os.PathLike)):
            raise TypeError(
                f"data_dir must be a path or None; got {type(data_dir).__name__}: {data_dir!r}"
            )
        named = Path(data_dir).expanduser()
        if not named.exists():
            raise FileNotFoundError(f"data_dir must be an existing folder; {named} does not exist")
        if not named.is_dir():
            raise NotADirectoryError(f"data_dir must be a folder; {named} is a file")
        roots = [named]
    else:
        variable = os.environ.get(DATA_VARIABLE)
        roots = [Path(variable).expanduser()] if variable else []
    found = [folder for root in roots for folder in (root, root / subfolder)]
    others = {MNIST_FOLDER, CIFAR10_FOLDER} - {subfolder}
    found += [root.parent / subfolder for root in roots if root.name in others]
    if with_cache:
        found += [cache_folder(), cache_folder() / subfolder]
    return found
