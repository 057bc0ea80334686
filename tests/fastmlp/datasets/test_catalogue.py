"""load: every name reaches its loader."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastmlp.datasets import DATASET_NAMES, load, synthetic_digits

Write = Callable[..., Path]


def test_names() -> None:
    assert DATASET_NAMES == ("cifar10", "digits", "mnist")


def test_files_by_name(tmp_path: Path, small_mnist: dict[str, bytes], write_files: Write) -> None:
    write_files(tmp_path / "mnist", small_mnist)
    row = bytes([4]) + bytes(3072)
    batches = {"data_batch_1.bin": row, "test_batch.bin": row}
    write_files(tmp_path / "cifar-10-batches-bin", batches)
    assert load("mnist", tmp_path, download=False).name == "mnist"
    assert load("cifar10", tmp_path).name == "cifar10"


def test_options_reach_the_loader(tmp_path: Path) -> None:
    digits = load("digits", n_train=5, n_test=4, size=12, seed=3)
    assert digits.x_test.shape == (4, 144)
    np.testing.assert_array_equal(digits.x_train, synthetic_digits(5, 12, 3)[0])
    with pytest.raises(FileNotFoundError, match="downloading was not allowed"):
        load("mnist", tmp_path, download=False)


def test_unknown_name() -> None:
    with pytest.raises(ValueError, match="Did you mean 'mnist'"):
        load("mnsit")
    wrong: Any
    for wrong in (None, ["mnist"]):
        with pytest.raises(TypeError, match="name must be one of 'cifar10', 'digits', 'mnist'"):
            load(wrong)


def test_import_leaves_optional_packages_alone() -> None:
    heavy = ["pooch", "requests", "sklearn"]
    code = (
        "import numpy, sys; before = set(sys.modules); import fastmlp.datasets; "
        f"print([name for name in {heavy} if name in sys.modules and name not in before])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
