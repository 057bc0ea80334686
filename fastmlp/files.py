"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO


@contextmanager
def replaced_file(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Give a file to write bytes to; at the end it takes the place of `path`, at once.

    If anything fails, or Ctrl-C comes, what was there before stays as it was.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    target = Path(path)
    # Of this thread alone: others may write the same file.
    writer = f"{os.getpid()}.{threading.get_ident()}"
    partial = target.with_name(f".{target.name}.{writer}.partial")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())  # the data must be on the disk before the name points to it
        os.replace(partial, target)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8, whole or not at all."""
    with replaced_file(path) as file:
        file.write(text.encode("utf-8"))
