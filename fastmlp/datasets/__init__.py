"""Data sets: MNIST and CIFAR-10 from files, digit images and tables drawn by a program.

`load` takes any of the first three by name. Every data set is a `Dataset`.
"""

from __future__ import annotations

from fastmlp.datasets.catalogue import DATASET_NAMES, load
from fastmlp.datasets.cifar import load_cifar10
from fastmlp.datasets.dataset import Dataset
from fastmlp.datasets.digits import load_digits, synthetic_digits
from fastmlp.datasets.idx import read_idx
from fastmlp.datasets.mnist import load_mnist
from fastmlp.datasets.tabular import synthetic_tabular

__all__ = [
    "DATASET_NAMES",
    "Dataset",
    "load",
    "load_cifar10",
    "load_digits",
    "load_mnist",
    "read_idx",
    "synthetic_digits",
    "synthetic_tabular",
]
