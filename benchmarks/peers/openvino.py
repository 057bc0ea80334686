"""OpenVINO: inference only, in its own choice of precision."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..problem import Problem
from .onnx_model import make_onnx_model
from .peer import Peer, Predict


class OpenVino(Peer):
    """A model compiled for the CPU and for the number of rows."""

    name = "openvino"
    option = "openvino"
    title = "OpenVINO"
    packages = ("openvino", "onnx")
    distributions = ("openvino", "onnx")

    def refuses_training(self, problem: Problem) -> str:
        return "it only predicts"

    def predictor(self, problem: Problem, n_rows: int, n_threads: int) -> tuple[Predict, str]:
        import openvino

        core = openvino.Core()
        model = core.read_model(make_onnx_model(problem).SerializeToString())
        model.reshape([n_rows, problem.sizes[0]])
        compiled = core.compile_model(
            model,
            "CPU",
            {
                "INFERENCE_NUM_THREADS": n_threads,
                "NUM_STREAMS": 1,
                "PERFORMANCE_HINT": "LATENCY",
            },
        )
        request = compiled.create_infer_request()
        kinds = {"f32": "float32", "bf16": "bfloat16", "f16": "float16"}
        kind = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()

        def predict(x: NDArray[np.float32]) -> NDArray[Any]:
            request.infer([x], share_inputs=True, share_outputs=True)
            found: NDArray[Any] = request.get_output_tensor().data
            return found

        return predict, kinds.get(kind, kind)
