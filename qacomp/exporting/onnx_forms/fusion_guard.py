"""Keep onnxruntime from fusing a Gemm with the Relu after it, since that prevents the fusion to MatMulNBits.

onnxruntime 1.31 first fuses Gemm + Relu (also MatMul + Add + Relu) to FusedGemm. Then DequantizeLinear can't be fused
any more, and the weights are dequantized in every run, which is slower than dense weights. Max(x, 0) is the same
function as Relu and isn't fused; Max and Min replace Clip in the same way.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper, numpy_helper

from qacomp.exporting.onnx_forms.node_builder import Names
from qacomp.graphs.walk import graphs


def keep_apart(model: onnx.ModelProto, weight: str, names: Names) -> None:
    """Replace, in place, the Relu or Clip directly after a product with `weight` or after its Add."""
    for graph in graphs(model.graph):
        for node in list(graph.node):
            if node.op_type in ("MatMul", "Gemm") and len(node.input) > 1 and node.input[1] == weight:
                behind = _only_reader(graph, node.output[0])
                if node.op_type == "MatMul" and behind is not None and behind.op_type == "Add":
                    behind = _only_reader(graph, behind.output[0])
                if behind is not None and behind.op_type in ("Relu", "Clip"):
                    _replace(graph, behind, names)


def _only_reader(graph: onnx.GraphProto, value: str) -> onnx.NodeProto | None:
    readers = [node for node in graph.node if value in node.input]
    return readers[0] if len(readers) == 1 else None


def _replace(graph: onnx.GraphProto, node: onnx.NodeProto, names: Names) -> None:
    place = next(i for i, other in enumerate(graph.node) if other.output[0] == node.output[0])
    value, output = node.input[0], node.output[0]
    if node.op_type == "Relu":
        zero = numpy_helper.from_array(np.zeros((), np.float32), names.new("c"))
        graph.initializer.append(zero)
        made = [("Max", zero.name)]
    else:
        made = [(kind, bound) for kind, bound in zip(("Max", "Min"), node.input[1:], strict=False) if bound]
    if not made:
        return
    del graph.node[place]
    for number, (kind, bound) in enumerate(made):
        last = number == len(made) - 1
        following = output if last else names.new("v")
        graph.node.insert(place + number, helper.make_node(kind, [value, bound], [following]))
        value = following
