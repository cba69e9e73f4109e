"""A look-up model's other constants and names: what shrinks, what is stored once, what users see."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from look_ups import SHAPES, W, looked_up, model_of, run, shared
from onnx import TensorProto, helper, numpy_helper

from qacomp.exporting.onnx_forms.compact import compact
from qacomp.exporting.onnx_forms.index_packing import choose_packing, digit_table, pack
from qacomp.exporting.onnx_forms.lut import to_lut
from qacomp.exporting.onnx_forms.repeats import find_repeats
from qacomp.formats import SharedTensor
from qacomp.runtime.session import open_session


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
