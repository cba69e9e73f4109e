"""Weights in model-local functions: found through calls, shared, given back in place, and looked up there."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from local_functions import FLOAT, call, constant, function, model_of, modules, outputs, weights
from onnx import ModelProto, helper, numpy_helper

from qacomp.api import compress
from qacomp.exporting.decode import decode_file
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.graphs.reading import read_onnx
from qacomp.graphs.scopes import make_distinct
from qacomp.graphs.skeleton import slots
from qacomp.graphs.values import DATA_FIELDS
from qacomp.graphs.walk import sites
from qacomp.options.config import CompressConfig
from qacomp.result import Result


def packed(model: ModelProto, folder: Path, **settings: Any) -> tuple[Result, ModelProto]:
    (folder / "m.onnx").write_bytes(model.SerializeToString())
    size = {} if "include" in settings else {"min_size": 64}
    config = CompressConfig(k=4, stored_precision="exact").with_settings(size | settings, "test")
    result = compress(read_onnx(folder / "m.onnx"), None, config, folder / "m.qac")
    done = decode_file(folder / "m.qac", folder / "back.onnx")
    assert done.max_abs_error == 0
    return result, onnx.load(folder / "back.onnx")


def shared_names(result: Result) -> set[str]:
    return {layer.name for layer in result.layers if layer.k is not None}


def without(model: ModelProto, names: set[str]) -> bytes:
    copy = ModelProto.FromString(model.SerializeToString())
    for slot in slots(list(sites(copy))):
        if slot.name in names:
            for field in DATA_FIELDS:
                slot.site.tensor.ClearField(field)
    return bytes(copy.SerializeToString(deterministic=True))


def test_weights_in_functions_are_shared_and_the_rest_comes_back_byte_for_byte(tmp_path: Path) -> None:
    model = modules()
    result, back = packed(model, tmp_path)
    names = {"first", "last", "v#1", "v#2", "w#1", "w#2"}
    assert shared_names(result) == names
    assert without(back, names) == without(model, names) != without(model, set())
    assert result.agreement is not None and 0 < (result.agreement.cosine or 0) < 1
    reasons = {layer.name: layer.chosen or layer.skipped for layer in result.layers}
    assert reasons["w#2"] == "weight of MatMul, 768 values"
    assert "two dimensions" in str(reasons["shift"])
    onnx.checker.check_model(back)
    rounded, _ = packed(model, tmp_path, stored_precision="fp16")
    assert {x.name for x in rounded.layers if "rounded to fp16" in str(x.skipped)} == {"shift", "bias"}


def test_names_find_them_like_all_others(tmp_path: Path) -> None:
    assert shared_names(packed(modules(), tmp_path, include=("w#2",))[0]) == {"w#2"}
    assert shared_names(packed(modules(), tmp_path, exclude=("w*", "v#?"))[0]) == {"first", "last"}


def test_weights_in_training_graphs_stay_as_they_are(tmp_path: Path) -> None:
    model = modules()
    step = helper.make_graph(
        [helper.make_node("MatMul", ["g", "t"], ["u"])],
        "step",
        [],
        [helper.make_tensor_value_info("u", FLOAT, ["r", "c"])],
        [numpy_helper.from_array(weights(32, 32), "t")],
    )
    model.training_info.add().algorithm.CopyFrom(step)
    result, back = packed(model, tmp_path, include=("t", "first"))
    assert back.training_info == model.training_info and shared_names(result) == {"first"}
    assert next(x for x in result.layers if x.name == "t").skipped == "inside a training graph: kept exactly"


@pytest.mark.parametrize("k", [2, 3, 16, 40])
def test_look_ups_stand_in_the_functions_and_give_the_dense_files_outputs(k: int, tmp_path: Path) -> None:
    packed(modules(), tmp_path, k=k, include=("[vw]#?", "first", "last"))
    done = decode_file(tmp_path / "m.qac", tmp_path / "lut.onnx", onnx=OnnxOptions("lut"))
    assert done.onnx is not None and done.max_abs_error == 0
    assert {t.name: t.form for t in done.onnx.tensors} == dict.fromkeys(
        ["first", "last", "v#1", "v#2", "w#1", "w#2"], "lut"
    ), [t.reason for t in done.onnx.tensors]
    lut, dense = onnx.load(tmp_path / "lut.onnx"), onnx.load(tmp_path / "back.onnx")
    onnx.checker.check_model(lut, full_check=True)
    for a, b in zip(outputs(lut), outputs(dense), strict=True):
        assert np.array_equal(a, b)
    assert not any(s.tensor.dims == [24, 32] and s.tensor.data_type == FLOAT for s in sites(lut))
    assert {t.name for t in lut.graph.initializer if not t.name.startswith("c")} == {"shift"}
    assert (tmp_path / "lut.onnx").stat().st_size < 0.75 * (tmp_path / "back.onnx").stat().st_size


def test_what_is_allowed_in_a_function_is_up_to_its_own_opset(tmp_path: Path) -> None:
    """Packed 4-bit integers where the function's opset has them, a table of digits where the main graph's hasn't."""
    for opset, detail in ((17, "2 indices a byte"), (21, "uint4 indices")):
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("local", 1)]
        body = [constant("w", weights(64, 64)), helper.make_node("MatMul", ["x", "w"], ["y"])]
        inner = function("F", ["x"], ["y"], *body, opsets=opsets)
        model = model_of([call("F", ["x"], ["y"])], {}, [inner], ("n", 64), opsets=opsets)
        packed(model, tmp_path, k=16)
        done = decode_file(tmp_path / "m.qac", tmp_path / "lut.onnx", onnx=OnnxOptions("lut"))
        assert done.onnx is not None and [t.detail for t in done.onnx.tensors] == [detail]
        lut = onnx.load(tmp_path / "lut.onnx")
        assert not lut.graph.initializer and lut.functions[0].opset_import == inner.opset_import
        for a, b in zip(outputs(lut, 64), outputs(tmp_path / "back.onnx", 64), strict=True):
            assert np.array_equal(a, b)


def test_affine_says_that_a_function_keeps_its_weights(tmp_path: Path) -> None:
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("local", 1)]
    body = [constant("w", weights(64, 64)), helper.make_node("MatMul", ["x", "w"], ["y"])]
    inner = function("F", ["x"], ["y"], *body, opsets=opsets)
    nodes = [helper.make_node("MatMul", ["x", "v"], ["h"]), call("F", ["h"], ["y"])]
    packed(model_of(nodes, {"v": weights(64, 64)}, [inner], ("n", 64), opsets=opsets), tmp_path, k=16)
    done = decode_file(tmp_path / "m.qac", tmp_path / "affine.onnx", onnx=OnnxOptions("affine"))
    assert done.onnx is not None
    assert {t.name: t.form for t in done.onnx.tensors} == {"v": "affine", "w": "lut"}
    assert "w: lut, it is inside a local function, and only products of the graph itself are converted" in done.notes


@pytest.mark.parametrize("make", [modules])
def test_values_of_one_name_become_distinct_and_nothing_else_changes(make: Callable[[], ModelProto]) -> None:
    model, twin = make(), make()
    twin.CopyFrom(model)
    make_distinct(twin, {"p"}, {})
    assert twin.graph == model.graph  # whose p keeps its name, and only functions have others
    assert [f.node[1].output[0] for f in (twin.functions[0], twin.functions[2])] == ["p#1", "p#2"]
    make_distinct(twin, {"w", "y", "x"}, {})
    onnx.checker.check_model(twin)
    assert [v.name for v in twin.graph.output] == ["y"] and list(twin.functions[0].input) != ["x", "w", "b"]
    for a, b in zip(outputs(twin), outputs(model), strict=True):
        assert np.array_equal(a, b)
    again = ModelProto.FromString(model.SerializeToString())
    make_distinct(again, {"first", "nobody's"}, {})
    assert again == model
