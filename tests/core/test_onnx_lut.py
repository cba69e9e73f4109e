"""A look-up model: the dense one's outputs bit for bit, in a file that really is smaller, without a newer opset."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from qacomp.api import compress
from qacomp.exporting.decode import decode_file
from qacomp.exporting.decoded_measuring import measure_decoded
from qacomp.exporting.onnx_forms.compact import compact
from qacomp.exporting.onnx_forms.index_packing import choose_packing, digit_table, pack
from qacomp.exporting.onnx_forms.lut import to_lut
from qacomp.exporting.onnx_forms.repeats import find_repeats
from qacomp.exporting.onnx_forms.written import written_weights
from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.formats import SharedTensor
from qacomp.options.config import CompressConfig
from qacomp.runtime.session import open_session
from qacomp.sources.reading import read_model

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
    assert to_lut(model, {W: old})[0].reason == "opset 6: a look-up needs 7"


def test_other_constants_shrink_only_where_nothing_is_lost() -> None:
    model = model_of("LSTM", shared((1, 64, 11), 16).dense())
    recurrent = numpy_helper.to_array(model.graph.initializer[1]).astype(np.float16).astype(np.float32)
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(recurrent, "recurrent"))
    expected, size = run(model, "LSTM"), model.ByteSize()
    to_lut(model, {})
    assert model.ByteSize() < size - recurrent.nbytes // 2 + 100
    assert np.array_equal(run(model, "LSTM"), expected)
    exact = model_of("LSTM", shared((1, 64, 11), 16).dense())
    before = exact.SerializeToString()
    to_lut(exact, {})  # 0.1 has no half precision twin
    assert exact.SerializeToString() == before


@given(st.integers(1, 256), st.integers(0, 70), st.sampled_from([7, 21, 25]))
def test_packed_indices_come_back(k: int, count: int, opset: int) -> None:
    packing = choose_packing(k, opset)
    indices = np.random.default_rng(k).integers(0, k, count)
    words = pack(indices, packing)
    assert words.size == -(-count // packing.digits)
    back = digit_table(packing)[words].reshape(-1)[:count] if packing.digits > 1 else words
    assert np.array_equal(back, indices)


@pytest.mark.parametrize("operator", ["MatMul", "Conv"])
def test_slices_that_repeat_up_to_signs_are_stored_once(operator: str) -> None:
    """A Fourier basis between two axes, a dead channel, and noise that repeats nothing."""
    angle = 2 * np.pi * np.outer(np.arange(24), np.arange(33)) / 32
    basis = np.round(np.cos(angle) * 10) / 10  # column n is column 32 − n; rows are mirrored too
    basis[5] = 0
    shape = SHAPES[operator][0]
    values = basis.astype(np.float32) if operator == "MatMul" else np.resize(basis[:6, :15], shape).astype(np.float32)
    book, indices = np.unique(values, return_inverse=True)
    weight = SharedTensor(book, indices.reshape(values.shape).astype(np.uint8))
    dense = model_of(operator, weight.dense())
    model = looked_up(dense, weight)
    assert np.array_equal(run(model, operator), run(dense, operator))
    assert max(t.dims[0] for t in model.graph.initializer if t.dims) < values.size
    repeats, kept = find_repeats(weight.dense())
    small = weight.dense()[np.ix_(*kept)]
    for repeat in reversed(repeats):
        small = small.take(repeat.place, repeat.axis) * repeat.signs.take(repeat.pattern, repeat.axis)
    assert np.array_equal(small, weight.dense())
    assert repeats and np.prod([len(k) for k in kept]) < 0.6 * values.size
    noise = np.random.default_rng(0).standard_normal(values.shape).astype(np.float32)
    assert find_repeats(noise)[0] == []


def test_constants_that_say_the_same_become_one() -> None:
    def branch(name: str, factor: str) -> onnx.GraphProto:
        nodes = [
            helper.make_node(
                "Constant", [], [f"{name}{i}"], value=numpy_helper.from_array(np.array([i // 2], np.float32))
            )
            for i in range(4)
        ]
        nodes += [helper.make_node("Sum", [f"{name}{i}" for i in range(4)] + [factor], ["out"])]
        return helper.make_graph(nodes, name, [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])])

    def constant(name: str) -> onnx.NodeProto:
        return helper.make_node("Constant", [], [name], value=numpy_helper.from_array(np.array([7], np.float32)))

    nodes = [
        constant("first"),
        constant("second"),
        constant("weight"),
        helper.make_node("If", ["yes"], ["y"], then_branch=branch("a", "first"), else_branch=branch("b", "second")),
        helper.make_node("Sum", ["y", "second", "weight"], ["z"]),
    ]
    inputs = [helper.make_tensor_value_info("yes", TensorProto.BOOL, [])]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("z", TensorProto.FLOAT, [1])])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    feeds = [{"yes": np.array(yes)} for yes in (True, False)]
    before = [open_session(model, threads=1).run(None, feed)[0] for feed in feeds]
    compact(model, keep=["weight"])
    onnx.checker.check_model(model)
    assert [open_session(model, threads=1).run(None, feed)[0] for feed in feeds] == before
    main = [node.op_type for node in model.graph.node]
    assert main.count("Constant") == 2  # the weight keeps its name
    inner = [n.op_type for a in model.graph.node[-2].attribute for n in a.g.node]
    assert inner.count("Constant") == 4


def test_compacting_keeps_meaning_and_the_names_that_users_see() -> None:
    weight = shared((24, 33), 16).dense()
    for operator in ("If", "MatMul"):
        model = model_of(operator, weight)
        model.graph.value_info.append(helper.make_tensor_value_info("v0", TensorProto.FLOAT, (2, 33)))
        model.graph.input[0].name = "a"  # the name that the first inner value would get
        for node in model.graph.node:
            node.input[:] = ["a" if name == "x" else name for name in node.input]
        for node in (n for a in model.graph.node[0].attribute if a.HasField("g") for n in a.g.node):
            node.output[:] = ["b" if name == "a" else name for name in node.output]
            node.input[:] = [{"x": "a", "a": "b"}.get(name, name) for name in node.input]
        model.metadata_props.add(key="classes", value="cat,dog")
        onnx.checker.check_model(model)
        expected = open_session(model).run(None, {"a": np.ones((2, 24), np.float32)})[0]
        compact(model)
        onnx.checker.check_model(model)
        assert np.array_equal(open_session(model).run(None, {"a": np.ones((2, 24), np.float32)})[0], expected)
        assert (model.graph.input[0].name, model.graph.output[0].name) == ("a", "y")
        assert W in [t.name for t in model.graph.initializer] and model.metadata_props[0].value == "cat,dog"
        assert not model.graph.value_info and not any(node.name for node in model.graph.node)


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
