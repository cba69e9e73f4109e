"""ONNX models with tensors of every kind and in every place; what compressing and decoding them gives."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qacomp.api import compress
from qacomp.exporting.decode import decode_file
from qacomp.graphs.reading import read_onnx
from qacomp.graphs.skeleton import slots
from qacomp.graphs.values import DATA_FIELDS
from qacomp.graphs.walk import sites
from qacomp.options.config import CompressConfig
from qacomp.result import Result

RNG = np.random.default_rng(0)
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def weights(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    return RNG.standard_normal(shape).astype(dtype)


def tensor(name: str, array: NDArray[Any]) -> TensorProto:
    return numpy_helper.from_array(array, name)


def model_of(
    nodes: list[onnx.NodeProto],
    initializers: list[TensorProto],
    *,
    inputs: tuple[Any, ...] = ("batch", 16),
    **more: Any,
) -> ModelProto:
    """x -> nodes -> y, both float of rank 2."""
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", FLOAT, inputs)],
        [helper.make_tensor_value_info("y", FLOAT, ["batch", None])],
        initializers,
        doc_string="what the graph is",
    )
    opsets = more.pop("opsets", [helper.make_opsetid("", 17)])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, producer_name="someone", **more)
    helper.set_model_props(model, {"author": "ünïcode", "task": "test"})
    return model


def branches() -> ModelProto:
    """Weights in the main graph, in Constant nodes, in both branches of an If under one name, and in typed fields."""

    def branch(name: str, matrix: NDArray[Any]) -> onnx.GraphProto:
        product = helper.make_node("MatMul", ["h", "w"], ["out"])
        output = helper.make_tensor_value_info("out", FLOAT, None)
        return helper.make_graph([product], name, [], [output], [tensor("w", matrix)])

    nodes = [
        helper.make_node("Constant", [], ["const/weight"], value=tensor("", weights(16, 24))),
        helper.make_node("MatMul", ["x", "const/weight"], ["h0"], name="first", doc_string="a product"),
        helper.make_node("Gemm", ["h0", "typed", "bias"], ["h"], transB=1),
        helper.make_node("ReduceSum", ["h"], ["total"], keepdims=0),
        helper.make_node("Greater", ["total", "zero"], ["positive"]),
        helper.make_node(
            "If",
            ["positive"],
            ["y"],
            then_branch=branch("a", weights(20, 20)),
            else_branch=branch("b", weights(20, 20)),
        ),
    ]
    typed = helper.make_tensor("typed", FLOAT, [20, 24], weights(20, 24).reshape(-1).tolist())
    return model_of(nodes, [typed, tensor("bias", weights(20)), tensor("zero", np.array(0, np.float32))])


def kinds() -> ModelProto:
    """One tensor of every kind that must come back exactly, beside one weight."""
    exact = {
        "int8": np.arange(300, dtype=np.int8).reshape(3, 100),
        "int64": np.arange(400).reshape(20, 20),
        "bool": (np.arange(400) % 3 == 0).reshape(20, 20),
        "uint64": np.full((8, 8), 2**63 + 5, np.uint64),
        "scalar": np.array(1e-12, np.float32),
        "empty": np.zeros((0, 7), np.float32),
        "mask": np.triu(np.full((32, 32), -np.inf, np.float32)),
        "variance": np.full(64, 1e-9, np.float32),
        "few": np.tile(np.array([0.1, 0.7, 1e-9], np.float32), (30, 10)),
        "complex": (weights(8, 8) + 1j).astype(np.complex64),
        "text": np.array([["one", "two"]] * 40, dtype=object),
        "späße/a:0": np.arange(64, dtype=np.float64),
        "n" * 10_240: weights(32),
    }
    initializers = [tensor(name, value) for name, value in exact.items()]
    for kind in (TensorProto.INT4, TensorProto.FLOAT8E4M3FN, TensorProto.UINT4):
        data = bytes(range(128)) * (2 if kind == TensorProto.FLOAT8E4M3FN else 1)
        initializers.append(helper.make_tensor(f"odd{kind}", kind, [16, 16], data, raw=True))
    initializers += [
        helper.make_tensor("halves", TensorProto.FLOAT16, [4, 40], weights(160).tolist()),
        helper.make_tensor("flags", TensorProto.BOOL, [70], [True, False] * 35),
        tensor("w", weights(16, 32)),
    ]
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], initializers)
    values, indices = tensor("sparse", weights(20)), tensor("i", np.arange(20))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [40, 40]))
    return model


def packed(model: ModelProto, folder: Path, **settings: Any) -> tuple[Result, ModelProto]:
    """The result, and the model that decoding gives."""
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    return packed_file(folder / "m.onnx", folder, **settings)


def packed_file(path: Path, folder: Path, **settings: Any) -> tuple[Result, ModelProto]:
    config = CompressConfig(k=4, min_size=64, stored_precision="exact").with_settings(settings, "test")
    result = compress(read_onnx(path), None, config, folder / "m.qac")
    done = decode_file(folder / "m.qac", folder / "back.onnx")
    assert done.max_abs_error == 0
    return result, onnx.load(folder / "back.onnx")


def without_weights(model: ModelProto, names: set[str]) -> bytes:
    """The model with the values of the tensors that were shared taken out, and nothing else."""
    copy = ModelProto.FromString(model.SerializeToString())
    for slot in slots(list(sites(copy))):
        if slot.name in names:
            for field in DATA_FIELDS:
                slot.site.tensor.ClearField(field)
    return bytes(copy.SerializeToString(deterministic=True))


def shared_names(result: Result) -> set[str]:
    return {layer.name for layer in result.layers if layer.k is not None}
