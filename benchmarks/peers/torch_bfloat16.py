"""PyTorch under autocast to bfloat16."""

from __future__ import annotations

from ..problem import Problem, Rows
from .peer import Model
from .torch_eager import TorchEager, TorchModel


class TorchBfloat16(TorchEager):
    """PyTorch eager, products in bfloat16, weights and update in float32."""

    name = "torch_bfloat16"
    option = "torch-bfloat16"
    title = "PyTorch bfloat16 autocast"
    precision = "bfloat16"

    def model(self, problem: Problem, rows: Rows, n_threads: int) -> Model:
        return TorchModel(problem, rows, n_threads, bfloat16=True)
