"""A look-up model: the dense one's outputs bit for bit, in a file that really is smaller, without a newer opset."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from look_ups import SHAPES, W, looked_up, model_of, run, shared
from onnx import TensorProto, helper, numpy_helper

from qacomp.api import compress
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.exporting.onnx_forms.compact import compact
from qacomp.exporting.onnx_forms.lut import to_lut
from qacomp.exporting.onnx_forms.written import written_weights
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.formats import SharedTensor
from qacomp.options.config import CompressConfig
from qacomp.sources.reading import read_model


@pytest.mark.parametrize("optimize", [True, False])
@pytest.mark.parametrize("operator", SHAPES)
def test_outputs_are_the_dense_ones_bit_for_bit(operator: str, optimize: bool) -> None:
    weight = shared(SHAPES[operator][0], 16)
    dense = model_of(operator, weight.dense())
    model = looked_up(dense, weight)
    assert np.array_equal(run(model, operator, optimize), run(dense, operator, optimize))
    assert not any(t.dims == list(weight.indices.shape) for t in model.graph.initializer)


@pytest.mark.parametrize("k", [1, 2, 3, 4, 5, 13, 16, 17, 256, 300, 768, 1024, 1536, 4096])
@pytest.mark.parametrize(("opset", "ir"), [(9, 3), (11, 6), (18, 8), (21, 10), (25, 13)])
def test_every_size_of_codebook_in_every_opset(k: int, opset: int, ir: int) -> None:
    weight = shared((129, 65), k)  # an odd number of weights: the last byte isn't full
    dense = model_of("MatMul", weight.dense(), opset, ir)
    model = looked_up(dense, weight)
    assert {t.name for t in model.graph.input} == {"x"}
    made = dict(written_weights(model, {W: TensorProto.FLOAT}))[W]
    assert made.tobytes() == weight.dense().tobytes()
    bits = {1: 1, 2: 1, 3: 1.6, 4: 2, 5: 8 / 3}.get(k, 4 if k <= 16 else 8 if k <= 256 else 16)
    bits = {300: 9, 768: 9.6, 1024: 10, 1536: 8 + 8 / 3, 4096: 12}.get(k, bits)
    table = 2048 + 8 * 256  # of digits, and the constants' headers and names
    assert len(model.SerializeToString()) < weight.indices.size * bits / 8 + 4 * k + table


@pytest.mark.parametrize("k", [3, 16, 40])
@pytest.mark.parametrize("blocks", [(1, 65), (129, 1), (1, 16), (1, 65 * 2), (128, 64), (2, 1), (129, 65)])
def test_a_codebook_per_block(blocks: tuple[int, int], k: int) -> None:
    rng = np.random.default_rng(0)
    shape = (129, 65)
    books = rng.standard_normal((-(-129 // blocks[0]), -(-65 // blocks[1]), k)).astype(np.float32)
    weight = SharedTensor(books, rng.integers(0, k, shape).astype(np.uint8), blocks=blocks)
    for opset, ir in ((9, 3), (13, 7), (21, 10)):
        model = model_of("MatMul", weight.dense(), opset, ir)
        if books.nbytes + weight.indices.nbytes > weight.dense().nbytes:
            assert [f.form for f in to_lut(model, {W: weight})] == ["dense"]
            continue
        model = looked_up(model, weight)
        assert dict(written_weights(model, {W: TensorProto.FLOAT}))[W].tobytes() == weight.dense().tobytes()


@pytest.mark.parametrize(("k", "blocks"), [(5, (129, 1)), (200, (129, 1)), (200, (1, 65))])
def test_a_grid_for_each_column_is_one_codebook_and_scales(k: int, blocks: tuple[int, int]) -> None:
    """A table of all codebooks would take as many bytes as the dense weight, or nearly."""
    rng = np.random.default_rng(0)
    counts = (129 // blocks[0], 65 // blocks[1])
    scales = np.ldexp(rng.integers(8, 16, counts).astype(np.float32), rng.integers(-12, -4, counts))
    books = (np.arange(k, dtype=np.float32) - k // 3) * scales[..., None]
    weight = SharedTensor(books, rng.integers(0, k, (129, 65)).astype(np.uint8), blocks=blocks)
    for opset, ir in ((9, 3), (13, 7), (21, 10)):
        model = looked_up(model_of("MatMul", weight.dense(), opset, ir), weight)
        assert dict(written_weights(model, {W: TensorProto.FLOAT}))[W].tobytes() == weight.dense().tobytes()
        assert len(model.SerializeToString()) < weight.indices.size + 4 * (k + scales.size) + 2048


def test_a_convolution_with_a_codebook_per_channel() -> None:
    rng = np.random.default_rng(0)
    books = rng.standard_normal((12, 1, 1, 1, 4)).astype(np.float16).astype(np.float32)  # stored in half precision
    weight = SharedTensor(books, rng.integers(0, 4, SHAPES["Conv"][0]).astype(np.uint8), blocks=(1, 5, 3, 3))
    dense = model_of("Conv", weight.dense())
    model = looked_up(dense, weight)
    assert np.array_equal(run(model, "Conv"), run(dense, "Conv"))
    assert TensorProto.FLOAT16 in {t.data_type for t in model.graph.initializer}


def test_a_subgraphs_own_weights_and_constant_nodes() -> None:
    weight = shared((24, 33), 16)
    model = model_of("If", weight.dense())
    then, otherwise = (a.g for a in model.graph.node[0].attribute)
    tensor = model.graph.initializer[0]
    then.node.insert(0, helper.make_node("Constant", [], [W], value=tensor))
    otherwise.initializer.append(tensor)
    del model.graph.initializer[0]
    for flag in (True, False):
        model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.array(flag), "yes"))
        twin = onnx.ModelProto()
        twin.CopyFrom(model)
        assert [f.form for f in to_lut(twin, {W: weight})] == ["lut", "lut"]
        compact(twin, keep=[W])
        onnx.checker.check_model(twin)
        assert len(twin.SerializeToString()) < 0.5 * len(model.SerializeToString())
        assert np.array_equal(run(twin, "If"), run(model, "If"))
        assert dict(written_weights(twin, {W: TensorProto.FLOAT}))[W].tobytes() == weight.dense().tobytes()


def test_what_would_not_shrink_stays_dense_and_says_why() -> None:
    small, old = shared((4, 3), 9), shared((24, 33), 4)
    model = model_of("MatMul", small.dense())
    before = model.SerializeToString()
    forms = to_lut(model, {W: small})
    assert forms[0].form == "dense" and "look-up would take" in str(forms[0].reason)
    assert model.SerializeToString() == before
    model = model_of("MatMul", old.dense(), opset=6, ir=3)
    assert to_lut(model, {W: old})[0].reason == "a look-up needs opset 7, and the model has 6"


@pytest.mark.parametrize(
    ("operator", "dtype", "ir"), [("If", "float32", 8), ("Gemm", "float16", 8), ("Conv", "float32", 3)]
)
def test_an_onnx_model_comes_back_as_look_up(operator: str, dtype: str, ir: int, tmp_path: Path) -> None:
    """The same container, dense and looked up: subgraphs, half precision, weights listed as inputs."""
    rng = np.random.default_rng(0)
    model = model_of(operator, rng.standard_normal(SHAPES[operator][0]).astype(dtype), opset=9 if ir < 4 else 18, ir=ir)
    if dtype == "float16":
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.elem_type = TensorProto.FLOAT16
    onnx.save(model, tmp_path / "in.onnx")
    source = read_model(tmp_path / "in.onnx")
    compress(source, None, CompressConfig(k=16, include=(W,)), tmp_path / "m.qac")
    decode_file(tmp_path / "m.qac", tmp_path / "dense.onnx")
    written = decode_file(tmp_path / "m.qac", tmp_path / "lut.onnx", onnx=OnnxOptions("lut"))
    assert written.latency is None and written.onnx is not None and written.onnx.comparison is None
    made = measure_decoded(written)
    assert (
        made.latency is not None
        and made.max_abs_error == 0
        and made.onnx is not None
        and made.onnx.comparison is not None
    )
    assert made.onnx.comparison.max_abs_error == 0
    assert [t.form for t in made.onnx.tensors] == ["lut"]
    dense, lut = (tmp_path / f"{name}.onnx" for name in ("dense", "lut"))
    assert lut.stat().st_size < 0.75 * dense.stat().st_size
    assert onnx.load(dense).opset_import == onnx.load(lut).opset_import
