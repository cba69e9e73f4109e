"""Small ONNX models with one shared weight, as dense and as look-up models, and their outputs."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from qacomp.exporting.onnx_forms.compact import compact
from qacomp.exporting.onnx_forms.lut import to_lut
from qacomp.formats import SharedTensor
from qacomp.runtime.session import open_session

W = "layer/weight:0"
SHAPES = {
    "MatMul": ((24, 33), (2, 24)),
    "Gemm": ((33, 24), (2, 24)),
    "Conv": ((12, 5, 3, 3), (1, 5, 8, 8)),
    "Gather": ((51, 13), (4,)),
    "LSTM": ((1, 64, 11), (3, 1, 11)),
    "If": ((24, 33), (2, 24)),
}  # operator: shape of its weight, of its input


RANKS = {"Conv": 4, "LSTM": 4}  # of outputs, where it isn't 2


def shared(shape: tuple[int, ...], k: int) -> SharedTensor:
    """Random indices in which each of k random values occurs, as often as there is room."""
    rng = np.random.default_rng(0)
    indices = rng.permutation(np.resize(np.arange(k), int(np.prod(shape))))
    book = rng.standard_normal(k).astype(np.float32)
    return SharedTensor(book, indices.astype(np.uint8 if k <= 256 else np.uint16).reshape(shape))


def nodes_of(operator: str) -> list[onnx.NodeProto]:
    if operator == "If":  # the weight is read from outside, and both branches have a value called `inner`
        out = helper.make_tensor_value_info("inner", TensorProto.FLOAT, ("a", "b"))
        then = [helper.make_node("MatMul", ["x", W], ["inner"])]
        otherwise = [helper.make_node("Neg", ["x"], ["a"]), helper.make_node("MatMul", ["a", W], ["inner"])]
        branches = [helper.make_graph(nodes, "branch", [], [out]) for nodes in (then, otherwise)]
        return [helper.make_node("If", ["yes"], ["y"], then_branch=branches[0], else_branch=branches[1])]
    inputs = [W, "x"] if operator == "Gather" else ["x", W]
    if operator == "LSTM":
        return [helper.make_node("LSTM", [*inputs, "recurrent"], ["y"], hidden_size=16)]
    attributes: dict[str, Any] = {"transB": 1} if operator == "Gemm" else {}
    return [helper.make_node(operator, inputs, ["v0"], name="n", **attributes), helper.make_node("Tanh", ["v0"], ["y"])]


def model_of(operator: str, weight: NDArray[Any], opset: int = 18, ir: int = 8) -> onnx.ModelProto:
    constants = {W: weight, "yes": np.array(False), "recurrent": np.full((1, 64, 16), 0.1, np.float32)}
    used = {"If": [W, "yes"], "LSTM": [W, "recurrent"]}.get(operator, [W])
    kind = TensorProto.INT64 if operator == "Gather" else TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("x", kind, SHAPES[operator][1])]
    if ir < 4:
        inputs += [helper.make_tensor_value_info(n, TensorProto.FLOAT, constants[n].shape) for n in used]
    graph = helper.make_graph(
        nodes_of(operator),
        "g",
        inputs,
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, tuple("abcd"[: RANKS.get(operator, 2)]))],
        [numpy_helper.from_array(constants[n], n) for n in used],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=ir)


def run(model: onnx.ModelProto, operator: str, optimize: bool = True) -> NDArray[Any]:
    rng = np.random.default_rng(2)
    shape, inputs = SHAPES[operator]
    x = rng.integers(0, shape[0], inputs) if operator == "Gather" else rng.standard_normal(inputs).astype(np.float32)
    output: NDArray[Any] = open_session(model, threads=1, optimize=optimize).run(None, {"x": x})[0]
    return output


def looked_up(model: onnx.ModelProto, weight: SharedTensor) -> onnx.ModelProto:
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    forms = to_lut(twin, {W: weight})
    assert [(f.name, f.form, f.reason) for f in forms] == [(W, "lut", None)]
    compact(twin, keep=[W])
    onnx.checker.check_model(twin)
    assert [(i.domain, i.version) for i in twin.opset_import] == [(i.domain, i.version) for i in model.opset_import]
    return twin
