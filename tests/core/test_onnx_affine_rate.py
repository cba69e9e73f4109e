"""Weights that rate-aware sharing put on grids become integers with DequantizeLinear, with exactly their values."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from two_products import two_products

import qacomp
from qacomp.exporting.decode import decode_file
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.exporting.onnx_output import write_onnx_file
from qacomp.formats import SharedTensor
from qacomp.rate.grid_form import grid_precision, plain_step
from qacomp.runtime.session import open_session
from qacomp.sharing.affine_grid import exact_multiples


@given(st.sets(st.integers(-300, 300), min_size=1, max_size=40), st.floats(1e-4, 1e3))
def test_the_step_of_a_grid_is_found(integers: set[int], step: float) -> None:
    """Whatever multiples occur, those that are found give the values exactly."""
    values = (np.array(sorted({*integers, 1})) * plain_step(step)).astype(np.float32)
    found = exact_multiples(values)
    assert found is not None and found[1] <= np.float32(plain_step(step)) * 1.0001
    assert np.array_equal(found[0].astype(np.float32) * found[1], values)


def test_other_codebooks_are_no_grids() -> None:
    values = np.sort(np.random.default_rng(0).normal(size=9)).astype(np.float32)
    assert exact_multiples(values) is None
    assert exact_multiples(values.astype(np.float64)) is None
    assert exact_multiples(np.array([0, np.inf], np.float32)) is None


@pytest.mark.parametrize("step", [0.0123456, 3.3e-5, 41.7])
def test_plain_steps_are_near_and_their_multiples_exact_in_half_precision(step: float) -> None:
    plain = plain_step(step)
    assert abs(plain / step - 1) <= 1 / 256
    values = np.arange(-7, 8) * plain
    if plain > 1e-4:  # below that fp16 has fewer digits
        assert np.array_equal(values.astype(np.float16), values)


def test_wide_grids_of_large_tensors_keep_equal_steps() -> None:
    def tensor(most: int, count: int) -> SharedTensor:
        values = (np.arange(-most, most + 1) * plain_step(0.0123)).astype(np.float32)
        return SharedTensor(values, np.zeros(count, np.uint8))

    assert grid_precision(tensor(7, 10), "fp16") == "fp16"
    assert grid_precision(tensor(100, 1_000_000), "fp16") == "exact"
    assert grid_precision(tensor(100, 10_000), "fp16") == "fp16"  # 402 bytes would be many


@pytest.mark.parametrize(("size", "precision"), [("1200", "fp16"), ("2500", "exact")])
def test_decoded_integers_are_the_dense_values(size: str, precision: str, tmp_path: Path) -> None:
    """Where onnxruntime fuses nothing, the outputs are those of the dense file, bit for bit.

    In half precision only multiples up to ±7 are sure to be exact, so that file is small.
    """
    model = two_products()
    output = tmp_path / "m.qac"
    qacomp.compress(model, output=output, progress=False, target_size=size, stored_precision=precision)
    forms: dict[str, Any] = {}
    for mode in ("dense", "affine"):
        forms[mode] = decode_file(output, tmp_path / f"{mode}.onnx", onnx=OnnxOptions(mode)).onnx
    affine = forms["affine"]
    assert affine is not None and affine.max_abs_error == 0 and affine.fused == 2
    assert {form.form for form in affine.tensors} == {"affine"}
    x = np.random.default_rng(1).normal(size=(20, 32)).astype(np.float32)
    outputs = [open_session(tmp_path / f"{m}.onnx", optimize=False).run(None, {"x": x})[0] for m in forms]
    assert np.array_equal(*outputs)


def test_a_grid_of_more_than_eight_bits_is_looked_up(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    book: NDArray[np.float32] = (np.arange(-150, 150) * np.float32(0.125)).astype(np.float32)
    weight = SharedTensor(book, rng.integers(0, 300, (64, 64)).astype(np.uint16))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 64]) for name in ("x", "y")]
    held = numpy_helper.from_array(weight.dense(), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [held])
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    made = write_onnx_file(model, {"w": weight}, tmp_path / "m.onnx", OnnxOptions("affine"))
    assert made.tensors[0].form == "lut" and made.max_abs_error == 0
    assert "299 steps" in made.notes[0] and "exact" in made.notes[0]
    forced = write_onnx_file(model, {"w": weight}, tmp_path / "n.onnx", OnnxOptions("affine", 8))
    assert forced.tensors[0].form == "affine" and forced.max_abs_error > 0
