"""load_mnist: where it looks, what it checks, and the real files where there are any."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fastmlp.datasets import load_mnist, read_idx
from fastmlp.datasets.locations import cache_folder
from fastmlp.errors import FormatError

Write = Callable[..., Path]
Encode = Callable[[NDArray[Any]], bytes]


@pytest.mark.parametrize("packed", [False, True])
def test_small_files(
    tmp_path: Path, small_mnist: dict[str, bytes], write_files: Write, packed: bool
) -> None:
    folder = write_files(tmp_path / "data", small_mnist, packed=packed)
    mnist = load_mnist(folder, download=False)
    assert mnist.name == "mnist"
    assert mnist.n_classes == 10
    assert mnist.image_shape == (4, 3)
    assert (mnist.x_train.shape, mnist.x_train.dtype) == ((20, 12), np.uint8)
    assert (mnist.x_test.shape, mnist.x_test.dtype) == ((10, 12), np.uint8)
    assert mnist.y_train.dtype == mnist.y_test.dtype == np.int64
    np.testing.assert_array_equal(mnist.y_train, np.arange(20) % 10)
    pixels = small_mnist["train-images-idx3-ubyte"][16:]
    assert mnist.x_train.tobytes() == pixels


def test_order_of_the_folders(
    tmp_path: Path,
    small_mnist: dict[str, bytes],
    write_files: Write,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first_pixel(data_dir: Path | None = None) -> int:
        return int(load_mnist(data_dir, download=False).x_train[0, 0])

    def marked(pixel: int) -> dict[str, bytes]:
        images = small_mnist["train-images-idx3-ubyte"]
        changed = images[:16] + bytes([pixel]) + images[17:]
        return {**small_mnist, "train-images-idx3-ubyte": changed}

    with pytest.raises(FileNotFoundError):
        first_pixel()
    write_files(cache_folder() / "mnist", marked(1))
    assert first_pixel() == 1
    variable = tmp_path / "variable"
    monkeypatch.setenv("FASTMLP_DATA", str(variable))
    write_files(variable / "mnist", marked(2))
    assert first_pixel() == 2
    write_files(variable, marked(3))
    assert first_pixel() == 3
    given = tmp_path / "given"
    write_files(given / "mnist", marked(4))
    assert first_pixel(given) == 4
    # A folder without all four files is passed over.
    (variable / "t10k-labels-idx1-ubyte").unlink()
    assert first_pixel() == 2


def test_absent_files_message(
    tmp_path: Path, small_mnist: dict[str, bytes], write_files: Write
) -> None:
    del small_mnist["t10k-labels-idx1-ubyte"]
    folder = write_files(tmp_path / "data", small_mnist)
    with pytest.raises(FileNotFoundError) as caught:
        load_mnist(folder, download=False)
    text = str(caught.value)
    for part in (
        "train-images-idx3-ubyte",
        f"{folder} (missing: t10k-labels-idx1-ubyte)",
        f"{folder / 'mnist'} (no such folder)",
        f"into {cache_folder() / 'mnist'}",
        "FASTMLP_DATA",
        "--data-dir",
        "FASTMLP_MNIST_MIRROR",
        "digits",
    ):
        assert part in text


@pytest.mark.parametrize(
    ("name", "array", "said"),
    [
        ("train-labels-idx1-ubyte", np.zeros(19, np.uint8), "19 labels; expected 20"),
        ("t10k-labels-idx1-ubyte", np.full(10, 10, np.uint8), "label 10; expected labels from 0"),
        ("t10k-labels-idx1-ubyte", np.zeros(10, np.int32), "1 dimensions of int32"),
        ("t10k-labels-idx1-ubyte", np.zeros((10, 1), np.uint8), "2 dimensions of uint8"),
        ("train-images-idx3-ubyte", np.zeros((20, 12), np.uint8), "2 dimensions of uint8"),
        ("train-images-idx3-ubyte", np.zeros((20, 4, 3), np.float32), "3 dimensions of float32"),
        ("t10k-images-idx3-ubyte", np.zeros((10, 3, 4), np.uint8), r"\(3, 4\); expected \(4, 3\)"),
    ],
)
def test_files_that_do_not_agree(
    tmp_path: Path,
    small_mnist: dict[str, bytes],
    write_files: Write,
    encode_idx: Encode,
    name: str,
    array: NDArray[Any],
    said: str,
) -> None:
    small_mnist[name] = encode_idx(array)
    with pytest.raises(FormatError, match=said) as caught:
        load_mnist(write_files(tmp_path / "data", small_mnist))
    assert name in str(caught.value)


def test_real_files(real_data: Path) -> None:
    try:
        mnist = load_mnist(real_data, download=False)
    except FileNotFoundError:
        pytest.skip(f"no MNIST in {real_data}; set FASTMLP_DATA to the folder that has it")
    assert mnist.x_train.shape == (60_000, 784)
    assert mnist.x_test.shape == (10_000, 784)
    # The published counts of each digit's training and test images.
    train = [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    test = [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    np.testing.assert_array_equal(np.bincount(mnist.y_train), train)
    np.testing.assert_array_equal(np.bincount(mnist.y_test), test)
    assert round(float(mnist.x_train.mean()) / 255, 4) == 0.1307  # the well known mean


def test_real_files_have_the_checksums_of_the_download(real_data: Path) -> None:
    import hashlib

    from fastmlp.datasets.mnist import _find_files
    from fastmlp.datasets.mnist_download import UNPACKED_FILES

    files = _find_files([real_data, real_data / "mnist"])
    if files is None:
        pytest.skip(f"no MNIST in {real_data}; set FASTMLP_DATA to the folder that has it")
    for file, (name, n_bytes, checksum) in zip(files, UNPACKED_FILES, strict=True):
        assert file.name.startswith(name)
        array = read_idx(file)
        header = 4 + 4 * array.ndim
        assert header + array.nbytes == n_bytes
        shape = b"".join(length.to_bytes(4, "big") for length in array.shape)
        content = bytes([0, 0, 8, array.ndim]) + shape + array.tobytes()
        assert hashlib.sha256(content).hexdigest() == checksum
