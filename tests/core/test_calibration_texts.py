"""Calibration inputs of a model of token ids: texts of several lengths, words as often as in texts, masks of ones."""

from typing import Any

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from qacomp.calibration.onnx_inputs import calibration_inputs
from qacomp.options.config import CompressConfig


def reader(length: int | str, batch: int | str = "batch", rows: int = 200) -> ModelProto:
    """The sum of the embeddings of the ids under the mask."""
    table = np.random.default_rng(0).normal(size=(rows, 8)).astype(np.float32)
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["ones"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["ones", "last"], ["weights"]),
        helper.make_node("Mul", ["words", "weights"], ["kept"]),
        helper.make_node("ReduceSum", ["kept", "middle"], ["y"], keepdims=0),
    ]
    shape = [batch, length]
    inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in ("ids", "attention_mask")]
    held = {"table": table, "last": np.array([2]), "middle": np.array([1])}
    tensors = [numpy_helper.from_array(v, n) for n, v in held.items()]
    output = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 8])]
    graph = helper.make_graph(nodes, "g", inputs, output, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def found(proto: ModelProto) -> Any:
    return calibration_inputs(proto.SerializeToString(), proto, CompressConfig())


def test_texts_have_several_lengths_and_common_words() -> None:
    inputs = found(reader("sequence"))
    assert {feed["ids"].shape for feed in inputs.of_moments} == {(4, 32), (4, 64), (4, 128)}
    assert {feed["ids"].shape for feed in inputs.tried} == {(1, 32), (1, 64), (1, 128)}
    assert all((feed["attention_mask"] == 1).all() for feed in inputs.of_moments)
    ids = np.concatenate([feed["ids"].reshape(-1) for feed in inputs.of_moments])
    assert ids.max() < 200 and (ids < 20).mean() > 2 * 20 / 200  # 1 / (n + 10): far more than uniformly
    assert "with 32, 64, 128 tokens in turns" in inputs.text
    first = {feed["ids"].tobytes() for feed in inputs.of_moments}
    tried, others = ({feed["ids"].tobytes() for feed in feeds} for feeds in (inputs.tried, inputs.others))
    assert not first & tried and not tried & others


@pytest.mark.parametrize(("length", "batch", "shape"), [("sequence", 1, (1, 128)), (16, "batch", (1, 16))])
def test_sizes_that_the_model_fixes_stay(length: int | str, batch: int | str, shape: tuple[int, int]) -> None:
    inputs = found(reader(length, batch))
    assert shape in {feed["ids"].shape for feed in inputs.of_moments}
    assert {feed["ids"].shape[0] for feed in inputs.of_moments} == {1}
