"""Weights beside the model, as models over 2 GB need them; here with a lowered limit."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qacomp.errors import ExportError, OutputNotWritableError
from qacomp.exporting.onnx_forms.saving import LEAST_EXTERNAL, save_onnx
from qacomp.runtime.session import open_session


def model_of(rows: int) -> onnx.ModelProto:
    """x (n, 32) -> Reshape by a constant, then two matrices, one in the old typed field, one of a megabyte and more."""
    rng = np.random.default_rng(0)
    typed = helper.make_tensor("typed", TensorProto.FLOAT, [32, rows], rng.standard_normal(32 * rows).tolist())
    large = numpy_helper.from_array(rng.standard_normal((rows, 1024)).astype(np.float32), "large")
    graph = helper.make_graph(
        [
            helper.make_node("Reshape", ["x", "shape"], ["a"]),
            helper.make_node("MatMul", ["a", "typed"], ["b"]),
            helper.make_node("MatMul", ["b", "large"], ["y"]),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1024])],
        [typed, large, numpy_helper.from_array(np.array([-1, 32]), "shape")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_over_the_limit_weights_go_beside_the_model(tmp_path: Path) -> None:
    model = model_of(300)
    feeds = {"x": np.random.default_rng(1).standard_normal((2, 4, 8)).astype(np.float32)}
    expected = open_session(model).run(None, feeds)[0]
    path = tmp_path / "m.onnx"
    saved = save_onnx(path, model, limit=1 << 20)
    assert saved.data_path == tmp_path / "m.onnx.data"
    assert saved.bytes == sum(p.stat().st_size for p in tmp_path.iterdir()) and len(list(tmp_path.iterdir())) == 2
    assert path.stat().st_size < 2 * LEAST_EXTERNAL
    inline = {t.name: t for t in onnx.load(path, load_external_data=False).graph.initializer}
    assert inline["shape"].raw_data and not inline["shape"].external_data  # shape inference reads it
    places = {entry.key: entry.value for entry in inline["large"].external_data}
    assert places["location"] == "m.onnx.data" and int(places["offset"]) % 4096 == 0
    assert np.array_equal(open_session(path).run(None, feeds)[0], expected)


def test_below_the_limit_there_is_one_file_unless_two_are_asked_for(tmp_path: Path) -> None:
    assert save_onnx(tmp_path / "one.onnx", model_of(8)).data_path is None
    assert [p.name for p in tmp_path.iterdir()] == ["one.onnx"]
    assert save_onnx(tmp_path / "two.onnx", model_of(8), external=True).data_path is not None


def test_nothing_is_left_half_written(tmp_path: Path) -> None:
    with pytest.raises(OutputNotWritableError):
        save_onnx(tmp_path / "missing" / "m.onnx", model_of(8), external=True)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("external", [False, True])
def test_a_model_that_the_checker_refuses_is_named_and_not_kept(tmp_path: Path, external: bool) -> None:
    model = model_of(8)
    model.graph.node[0].op_type = "Frobnicate"
    with pytest.raises(ExportError, match=r"m\.onnx: the ONNX checker refuses it"):
        save_onnx(tmp_path / "m.onnx", model, external=external)
    assert not list(tmp_path.iterdir())
