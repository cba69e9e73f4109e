"""A small ONNX model for sweeps."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def two_products() -> onnx.ModelProto:
    """A product, a Relu and a product, of 32 x 32 weights each: x (n, 32) -> y (n, 32)."""
    rng = np.random.default_rng(0)
    tensors = [numpy_helper.from_array(rng.laplace(size=(32, 32)).astype(np.float32), n) for n in ("w0", "w1")]
    nodes = [
        helper.make_node("MatMul", ["x", "w0"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 32]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
