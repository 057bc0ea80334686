"""PyTorch with the network and its loss compiled by torch.compile."""

from __future__ import annotations

import os
import shutil
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem, Rows
from .peer import Model, Predict, no_rows
from .torch_eager import TorchEager, TorchModel


class TorchCompile(TorchEager):
    """PyTorch compiled: forward and backward become C++ loops around the products."""

    name = "torch_compile"
    option = "torch-compile"
    title = "PyTorch compiled"
    compiles_slowly = True

    def missing_reason(self) -> str:
        missing = super().missing_reason()
        if missing:
            return missing
        compiler = os.environ.get("CXX") or ("cl" if sys.platform == "win32" else "g++")
        if shutil.which(compiler) is None and shutil.which("clang++") is None:
            return f"torch.compile needs a C++ compiler; {compiler} was not found"
        return ""

    def model(self, problem: Problem, rows: Rows, n_threads: int) -> Model:
        return TorchModel(problem, rows, n_threads, compiled=True)

    def predictor(self, problem: Problem, n_rows: int, n_threads: int) -> tuple[Predict, str]:
        model = TorchModel(problem, no_rows(problem), n_threads)
        torch = model.torch
        forward = torch.compile(model.probabilities, dynamic=False)

        def predict(x: NDArray[np.float32]) -> NDArray[Any]:
            with torch.inference_mode():
                found: NDArray[Any] = forward(torch.from_numpy(x)).numpy()
            return found

        return predict, self.precision
