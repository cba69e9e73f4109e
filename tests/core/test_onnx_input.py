"""ONNX models in: every kind of tensor and place, and the same graph back but for the weights that were shared."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from onnx_sources import (
    FLOAT,
    branches,
    kinds,
    model_of,
    packed,
    packed_file,
    shared_names,
    tensor,
    weights,
    without_weights,
)

from qacomp.errors import ConfigError
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.graphs.values import DTYPES, array_of, data_field
from qacomp.graphs.walk import sites


@pytest.mark.parametrize("make", [branches, kinds])
def test_the_graph_comes_back_byte_for_byte_but_for_shared_values(
    make: Callable[[], ModelProto], tmp_path: Path
) -> None:
    model = make()
    result, back = packed(model, tmp_path)
    names = shared_names(result)
    assert names and without_weights(back, names) == without_weights(model, names)


def test_weights_are_found_in_constants_subgraphs_and_typed_fields(tmp_path: Path) -> None:
    model = branches()
    result, back = packed(model, tmp_path)
    assert shared_names(result) == {"typed", "const/weight", "w#1", "w#2"}
    for before, after in zip(sites(model), sites(back), strict=True):
        if before.tensor.dims and math.prod(before.tensor.dims) > 100:
            values = array_of(after.tensor)
            assert len(np.unique(values)) == 4
            assert np.corrcoef(values.reshape(-1), array_of(before.tensor).reshape(-1))[0, 1] > 0.9
            assert data_field(after.tensor) == data_field(before.tensor)
    onnx.checker.check_model(back)
    assert result.agreement is not None and (result.agreement.cosine or 0) > 0.5


def test_every_one_of_them_is_looked_up(tmp_path: Path) -> None:
    """Also two of one name in two branches; what can't be looked up is named."""
    packed(branches(), tmp_path)
    done = measure_decoded(decode_file(tmp_path / "m.qac", tmp_path / "lut.onnx", onnx=OnnxOptions("lut")))
    assert done.onnx is not None and done.max_abs_error == 0 and not done.notes
    assert {t.name: t.form for t in done.onnx.tensors} == dict.fromkeys(["typed", "const/weight", "w#1", "w#2"], "lut")
    assert done.onnx.comparison is not None and done.onnx.comparison.max_abs_error == 0
    cast = [helper.make_node("Cast", ["w"], ["f"], to=FLOAT), helper.make_node("MatMul", ["x", "f"], ["y"])]
    packed(model_of(cast, [helper.make_tensor("w", TensorProto.BFLOAT16, [16, 32], weights(512).tolist())]), tmp_path)
    done = decode_file(tmp_path / "m.qac", tmp_path / "lut.onnx", onnx=OnnxOptions("lut"))
    assert done.notes == ("w: dense, since bfloat16 has no look-up and no affine form",)


def test_every_tensor_has_its_reason(tmp_path: Path) -> None:
    result, _ = packed(kinds(), tmp_path)
    reasons = {layer.name: layer.chosen or layer.skipped for layer in result.layers}
    assert reasons["w"] == "weight of MatMul, 512 values"
    assert reasons["int64"] == "int64: kept exactly"
    assert reasons["odd17"] == "float8e4m3fn: kept exactly"
    assert reasons["mask"] == "tensor that no node reads, not a weight"
    assert reasons["sparse.values"] == "sparse tensor: kept exactly"
    assert reasons["variance"] == "fewer than two dimensions: kept exactly"


def test_include_exclude_scope_and_size(tmp_path: Path) -> None:
    def names(**settings: Any) -> set[str]:
        return shared_names(packed(branches(), tmp_path, **settings)[0])

    assert names(include=("const/*",), min_size=256) == {"const/weight"}
    assert names(exclude=("w#?", "typed")) == {"const/weight"}
    assert names(min_size=401) == {"const/weight", "typed"} - {"const/weight"}
    assert names(k_layers={"typed": 8}) == {"typed", "const/weight", "w#1", "w#2"}
    with pytest.raises(ConfigError, match="--exclude nothing"):
        names(exclude=("nothing",))
    masked, back = packed(kinds(), tmp_path, include=("mask", "few", "w"), min_size=256)
    assert shared_names(masked) == {"few", "w"}  # infinity can't be a cluster's mean
    few = next(t for t in back.graph.initializer if t.name == "few")
    expected = np.array([0.1, 0.7, 1e-9], np.float32)
    assert np.array_equal(np.unique(numpy_helper.to_array(few)), np.sort(expected))


@pytest.mark.parametrize("kind", [TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16])
def test_weights_stay_in_their_dtype(kind: int, tmp_path: Path) -> None:
    initializer = helper.make_tensor("w", kind, [16, 32], weights(512).tolist())
    nodes = [helper.make_node("Cast", ["w"], ["f"], to=FLOAT), helper.make_node("MatMul", ["x", "f"], ["y"])]
    result, back = packed(model_of(nodes, [initializer]), tmp_path)
    assert shared_names(result) == {"w"}
    after = back.graph.initializer[0]
    assert after.data_type == kind and len(np.unique(array_of(after).view(f"u{DTYPES[kind].itemsize}"))) == 4


def test_equal_tensors_are_stored_once(tmp_path: Path) -> None:
    matrix = weights(64, 64)
    nodes = [helper.make_node("MatMul", ["x", "a"], ["h"]), helper.make_node("MatMul", ["h", "b"], ["y"])]
    twice, _ = packed(model_of(nodes, [tensor("a", matrix), tensor("b", matrix)], inputs=("batch", 64)), tmp_path)
    other = model_of(nodes, [tensor("a", matrix), tensor("b", weights(64, 64))], inputs=("batch", 64))
    assert twice.container_bytes < packed(other, tmp_path)[0].container_bytes - 800
    assert next(layer for layer in twice.layers if layer.name == "b").bytes == 0


def test_custom_operators_are_kept(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("nobody.knows", 3)]
    strange = helper.make_node("Strange", ["x", "w"], ["y"], domain="nobody.knows", table=tensor("t", weights(9, 9)))
    result, back = packed(model_of([strange], [tensor("w", weights(16, 16))], opsets=opsets), tmp_path)
    assert result.agreement is None and any("agreement with the original isn't known" in n for n in result.notes)
    assert back.graph.node[0] == strange
    assert not shared_names(result)
    reason = "input of nobody.knows.Strange, which isn't known, not a weight: kept exactly unless --include names it"
    assert next(x for x in result.layers if x.name == "w").skipped == reason
    asked = packed(
        model_of([strange], [tensor("w", weights(16, 16))], opsets=opsets), tmp_path, include=("w",), min_size=256
    )
    assert shared_names(asked[0]) == {"w"}


def test_the_same_model_gives_the_same_bytes_and_a_document(tmp_path: Path) -> None:
    first, _ = packed(branches(), tmp_path)
    once = (tmp_path / "m.qac").read_bytes()
    assert packed_file(tmp_path / "m.onnx", tmp_path)[0].container_bytes == first.container_bytes
    assert (tmp_path / "m.qac").read_bytes() == once
    document = json.loads(json.dumps(first.to_json()))
    assert document["agreement"]["outputs"][0]["name"] == "y"


@pytest.mark.parametrize("name", ["silero_vad_16k_op15.onnx", "dtln_model_1.onnx"])
def test_real_models_come_back(name: str, shared_dir: Path, tmp_path: Path) -> None:
    path = shared_dir / "ckpt" / name
    result, back = packed_file(path, tmp_path, k=16)
    original = onnx.load(path)
    names = shared_names(result)
    assert without_weights(back, names) == without_weights(original, names)
    assert [o.version for o in back.opset_import] == [o.version for o in original.opset_import]
    onnx.checker.check_model(back)
    covered = sum(math.prod(layer.shape) for layer in result.layers if layer.k is not None)
    assert covered * 4 > 0.95 * result.checkpoint_bytes and result.ratio > 8
    assert result.agreement is not None
