"""The network as an ONNX model, for the libraries that only predict."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..problem import Problem

OPERATORS = {
    "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "identity": "Identity",
    "softmax": "Softmax",
}  # fmt: skip
OPERATOR_SET, FORMAT_VERSION = 17, 8


def make_onnx_model(problem: Problem) -> Any:
    """Return an ``onnx.ModelProto`` with the initial weights: x (rows, n_inputs) to probabilities.

    Parameters
    ----------
    problem : Problem
    """
    from onnx import TensorProto, checker, helper, numpy_helper

    network = problem.network()
    nodes, constants, name = [], [], "x"
    for index, activation in enumerate(network.layer_activations):
        weights, biases = network.weights[index], network.biases[index]
        constants.append(numpy_helper.from_array(np.ascontiguousarray(weights), f"w{index}"))
        constants.append(numpy_helper.from_array(np.ascontiguousarray(biases), f"b{index}"))
        nodes.append(helper.make_node("Gemm", [name, f"w{index}", f"b{index}"], [f"z{index}"]))
        name = f"a{index}"
        nodes.append(helper.make_node(OPERATORS[activation], [f"z{index}"], [name]))
    inputs = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", network.sizes[0]])
    outputs = helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", network.sizes[-1]])
    graph = helper.make_graph(nodes, "network", [inputs], [outputs], constants)
    model = helper.make_model(
        graph,
        opset_imports=[helper.make_opsetid("", OPERATOR_SET)],
        ir_version=FORMAT_VERSION,
    )
    checker.check_model(model)
    return model
