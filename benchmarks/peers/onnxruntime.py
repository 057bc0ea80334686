"""ONNX Runtime: inference only."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem
from .onnx_model import make_onnx_model
from .peer import Peer, Predict


class OnnxRuntime(Peer):
    """A session on the CPU."""

    name = "onnxruntime"
    option = "onnxruntime"
    title = "ONNX Runtime"
    packages = ("onnxruntime", "onnx")
    distributions = ("onnxruntime", "onnx")

    def refuses_training(self, problem: Problem) -> str:
        return "it only predicts"

    def predictor(self, problem: Problem, n_rows: int, n_threads: int) -> tuple[Predict, str]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(
            make_onnx_model(problem).SerializeToString(), options, ["CPUExecutionProvider"]
        )

        def predict(x: NDArray[np.float32]) -> NDArray[Any]:
            found: NDArray[Any] = session.run(None, {"x": x})[0]
            return found

        return predict, self.precision
