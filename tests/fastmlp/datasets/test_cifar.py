"""load_cifar10: small files of its form, damaged ones, and the real files where there are any."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from fastmlp.datasets import load_cifar10
from fastmlp.errors import FormatError


def rows(labels: list[int], first_pixel: int = 0) -> bytes:
    """Rows whose pixels count up from a first value, modulo 256."""
    pixels = (np.arange(3072) + first_pixel).astype(np.uint8).tobytes()
    return b"".join(bytes([label]) + pixels for label in labels)


def write(folder: Path, **files: bytes) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / f"{name}.bin").write_bytes(content)
    return folder


def test_any_batches_in_order(tmp_path: Path) -> None:
    folder = write(
        tmp_path, data_batch_5=rows([9], 7), data_batch_2=rows([3, 0], 1), test_batch=rows([8])
    )
    cifar = load_cifar10(folder)
    assert cifar.name == "cifar10"
    assert cifar.n_classes == 10
    assert cifar.image_shape == (3, 32, 32)
    assert (cifar.x_train.shape, cifar.x_train.dtype) == ((3, 3072), np.uint8)
    assert (cifar.x_test.shape, cifar.x_test.dtype) == ((1, 3072), np.uint8)
    assert cifar.y_train.dtype == cifar.y_test.dtype == np.int64
    np.testing.assert_array_equal(cifar.y_train, [3, 0, 9])
    np.testing.assert_array_equal(cifar.y_test, [8])
    np.testing.assert_array_equal(cifar.x_train[:, :2], [[1, 2], [1, 2], [7, 8]])
    assert cifar.x_train[2, -1] == (3071 + 7) % 256


def test_where_it_looks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sub = tmp_path / "cifar-10-batches-bin"
    write(sub, data_batch_1=rows([1]), test_batch=rows([2]))
    assert load_cifar10(tmp_path).y_train[0] == 1
    assert load_cifar10(str(sub)).y_train[0] == 1
    with pytest.raises(FileNotFoundError, match="FASTMLP_DATA is not set"):
        load_cifar10()
    monkeypatch.setenv("FASTMLP_DATA", str(tmp_path))
    assert load_cifar10().y_test[0] == 2


def test_absent_files_message(tmp_path: Path) -> None:
    write(tmp_path, data_batch_1=rows([1]))  # no test batch
    with pytest.raises(FileNotFoundError) as caught:
        load_cifar10(tmp_path)
    for part in ("test_batch.bin", str(tmp_path), "FASTMLP_DATA", "--data-dir"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes; expected one or more whole rows of 3073"),
        (rows([1, 2])[:-1], "6145 bytes"),
        (rows([1]) + b"x", "3074 bytes"),
        (rows([1, 10, 2]), "row 1 has the label 10; expected 0 to 9"),
    ],
)
@pytest.mark.parametrize("name", ["data_batch_3", "test_batch"])
def test_damaged_files(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    files = {"data_batch_1": rows([1]), "test_batch": rows([2]), name: content}
    with pytest.raises(FormatError, match=said) as caught:
        load_cifar10(write(tmp_path, **files))
    assert f"{name}.bin" in str(caught.value)


def test_real_files(real_data: Path) -> None:
    try:
        cifar = load_cifar10(real_data)
    except FileNotFoundError:
        pytest.skip(f"no CIFAR-10 in {real_data}; set FASTMLP_DATA to the folder that has it")
    assert len(cifar.x_train) % 10_000 == 0
    np.testing.assert_array_equal(cifar.y_train[:5], [6, 9, 9, 4, 1])  # frog, truck, truck, ...
    np.testing.assert_array_equal(cifar.x_train[0, :3], [59, 43, 50])  # the frog's first reds
