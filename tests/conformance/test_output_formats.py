"""The contract of every output format; a new one is picked up by its file."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import qacomp
from qacomp.exporting.decode import decode_file
from qacomp.exporting.output_formats import FORMATS
from qacomp.formats import BFLOAT16, bfloat16_from_float32, save_file
from qacomp.testing import FormatSuite, suites_of

globals().update(suites_of(FormatSuite, [name for name in FORMATS.here() if name != "onnx"]))


class TestOnnx(FormatSuite):
    name = "onnx"

    def container(self, path: Path) -> None:
        weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(8, 8)).astype(np.float32), "w")
        x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 8]) for name in "xy")
        graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
        opsets = [helper.make_opsetid("", 17)]
        onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path.with_suffix(".onnx"))
        qacomp.compress(path.with_suffix(".onnx"), output=path, k=4)
        path.with_suffix(".onnx").unlink()


def test_npz_widens_bfloat16_and_says_so(tmp_path: Path) -> None:
    values = np.array([1.5, -2.0, 0.25], np.float32)
    tensor = bfloat16_from_float32(values)
    assert tensor.dtype == BFLOAT16
    save_file(tmp_path / "m.qac", {"w": tensor, "file": np.arange(3, dtype=np.int64)})
    done = decode_file(tmp_path / "m.qac", tmp_path / "m.npz")
    assert any("w: bfloat16" in note for note in done.notes)
    with np.load(tmp_path / "m.npz") as read:
        assert np.array_equal(read["w"], values) and read["file"].tolist() == [0, 1, 2]


def test_a_name_that_an_archive_cuts_is_refused(tmp_path: Path) -> None:
    save_file(tmp_path / "m.qac", {"a\0b": np.ones(3, np.float32)})
    with pytest.raises(qacomp.errors.ExportError, match="archive"):
        decode_file(tmp_path / "m.qac", tmp_path / "m.npz")
    assert not (tmp_path / "m.npz").exists()
