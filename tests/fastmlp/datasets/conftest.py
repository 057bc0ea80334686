"""What the tests of the data sets share: no real environment, and small files to read."""

from __future__ import annotations

import gzip
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

TYPE_CODES = {"u1": 0x08, "i1": 0x09, "i2": 0x0B, "i4": 0x0C, "f4": 0x0D, "f8": 0x0E}


def encode(array: NDArray[Any]) -> bytes:
    """Write an array as idx."""
    code = TYPE_CODES[array.dtype.str[1:]]
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, code, array.ndim, *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


@pytest.fixture(scope="session")
def encode_idx() -> Callable[[NDArray[Any]], bytes]:
    return encode


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """No data, no mirror, and an empty home: a test sees only the files that it made."""
    home = tmp_path / "home"
    home.mkdir()
    of_fastmlp = ("FASTMLP_DATA", "FASTMLP_MNIST_MIRROR", "FASTMLP_CACHE_DIR")
    for variable in (*of_fastmlp, "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HOME", "USERPROFILE"):  # where Path.home() looks; the second is Windows
        monkeypatch.setenv(variable, str(home))
    for variable in ("NO_PROXY", "no_proxy"):  # a proxy must not stand before a local mirror
        monkeypatch.setenv(variable, "127.0.0.1")
    yield home


@pytest.fixture
def small_mnist() -> dict[str, bytes]:
    """The four files of MNIST's form, unpacked, with 20 training and 10 test images of 4 x 3."""
    random = np.random.default_rng(0)
    files = {}
    for prefix, rows in (("train", 20), ("t10k", 10)):
        images = random.integers(0, 256, (rows, 4, 3), dtype=np.uint8)
        labels = (np.arange(rows) % 10).astype(np.uint8)
        files[f"{prefix}-images-idx3-ubyte"] = encode(images)
        files[f"{prefix}-labels-idx1-ubyte"] = encode(labels)
    return files


@pytest.fixture
def write_files() -> Callable[..., Path]:
    """Return a function that writes files, given by name, into a folder; packed if asked."""

    def write(folder: Path, files: dict[str, bytes], *, packed: bool = False) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            if packed:
                (folder / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (folder / name).write_bytes(content)
        return folder

    return write
