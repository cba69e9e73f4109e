"""The graph without its weights and back, from bytes that nobody vouches for, and without torch."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from qacomp.errors import ExportError, FormatError, OutputNotWritableError, QacompError
from qacomp.graphs.canonical import canonicalize
from qacomp.graphs.weightless import attach_weights, initializer_names, strip_weights, write_onnx

TENSORS = {
    "fc.weight": np.arange(12, dtype=np.float32).reshape(3, 4),
    "fc.bias": np.array([1, -2, 3], np.float32),
}


def small_model() -> onnx.ModelProto:
    """Logits = relu(fc(input)) reshaped by a constant of the graph's own."""
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["input", "fc.weight", "fc.bias"], ["y"], transB=1),
            helper.make_node("Relu", ["y"], ["z"]),
            helper.make_node("Reshape", ["z", "shape"], ["logits"]),
        ],
        "g",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 4])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(v, k) for k, v in {**TENSORS, "shape": np.array([-1, 3])}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def test_there_and_back() -> None:
    model = small_model()
    graph = strip_weights(model, TENSORS)
    assert attach_weights(graph, TENSORS) == model
    assert strip_weights(attach_weights(graph, TENSORS), TENSORS) == graph
    slots = {t.name: t for t in onnx.ModelProto.FromString(graph).graph.initializer}
    assert list(slots) == initializer_names(model)
    assert tuple(slots["fc.weight"].dims) == (3, 4) and slots["fc.weight"].data_type == TensorProto.FLOAT
    assert not slots["fc.weight"].raw_data and slots["shape"].raw_data


def test_unknown_name_is_refused() -> None:
    with pytest.raises(ExportError, match="no initializer 'other'"):
        strip_weights(small_model(), [*TENSORS, "other"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc.bias": None}, "no tensor for 'fc.bias'"),
        ({"extra": np.zeros(1, np.float32)}, "no empty initializer 'extra'"),
        ({"shape": np.array([-1, 3])}, "no empty initializer 'shape'"),
        ({"fc.weight": np.zeros((4, 3), np.float32)}, r"shape \(4, 3\), but the graph declares \(3, 4\)"),
        ({"fc.weight": np.zeros((3, 4))}, "is float64, but the graph declares float32"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: dict[str, np.ndarray | None], message: str) -> None:
    tensors = {k: v for k, v in {**TENSORS, **change}.items() if v is not None}
    with pytest.raises(ExportError, match=message):
        attach_weights(strip_weights(small_model(), TENSORS), tensors)


def test_extra_tensors_may_be_ignored() -> None:
    graph = strip_weights(small_model(), TENSORS)
    extra = {**TENSORS, "unused": np.zeros(2, np.float32)}
    assert attach_weights(graph, extra, ignore_extra=True) == small_model()


def test_arrays_of_any_layout_are_stored_in_row_major_order() -> None:
    model = attach_weights(
        strip_weights(small_model(), TENSORS), {**TENSORS, "fc.weight": np.asfortranarray(TENSORS["fc.weight"])}
    )
    assert model == small_model()


def _external(model: onnx.ModelProto) -> None:
    t = model.graph.initializer[0]
    t.ClearField("raw_data")
    t.data_location = TensorProto.EXTERNAL
    t.external_data.add(key="location", value="../../etc/passwd")


def _external_in_attribute(model: onnx.ModelProto) -> None:
    t = TensorProto(name="hidden", data_type=TensorProto.FLOAT, dims=[1])
    t.external_data.add(key="location", value="secret")
    model.graph.node[0].attribute.append(helper.make_attribute("value", t))


def _duplicate(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(model.graph.initializer[0])


def _negative(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].dims[0] = -3


def _unknown_operator(model: onnx.ModelProto) -> None:
    model.graph.node[1].op_type = "Frobnicate"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_external, "another file"),
        (_external_in_attribute, "another file"),
        (_duplicate, "the same name"),
        (_negative, "negative dimension"),
        (_unknown_operator, "checker"),
    ],
)
def test_unsound_graphs_are_refused(damage, message: str) -> None:  # type: ignore[no-untyped-def]
    model = onnx.ModelProto.FromString(strip_weights(small_model(), TENSORS))
    damage(model)
    with pytest.raises(FormatError, match=message) as caught:
        attach_weights(model.SerializeToString(), TENSORS, source="net.qac")
    assert str(caught.value).startswith("net.qac: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("data", [b"", b"\x00", b"not a graph at all", b"\xff" * 64])
def test_bytes_that_are_no_graph_are_refused(data: bytes) -> None:
    with pytest.raises(FormatError):
        attach_weights(data, TENSORS)


@settings(max_examples=150)
@given(st.data())
def test_damage_never_gives_anything_but_a_named_error(data: st.DataObject) -> None:
    graph = bytearray(strip_weights(small_model(), TENSORS))
    for _ in range(data.draw(st.integers(1, 4))):
        graph[data.draw(st.integers(0, len(graph) - 1))] = data.draw(st.integers(0, 255))
    graph = graph[: data.draw(st.integers(0, len(graph)))]
    try:
        model = attach_weights(bytes(graph), TENSORS)
    except QacompError as e:
        assert "\n" not in str(e)
    else:
        onnx.checker.check_model(model)


def test_written_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    size = write_onnx(path, small_model())
    assert path.stat().st_size == size
    assert onnx.load(path) == small_model()
    with pytest.raises(OutputNotWritableError):
        write_onnx(tmp_path / "missing" / "model.onnx", small_model())
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]


def test_canonical_form_does_not_depend_on_the_names_it_was_given() -> None:
    def build(prefix: str, noise: str) -> bytes:
        model = small_model()
        for node in model.graph.node:
            node.name = prefix + node.op_type
            node.doc_string = noise
            node.input[:] = [prefix + n if n in ("y", "z", "shape") else n for n in node.input]
            node.output[:] = [prefix + n if n in ("y", "z") else n for n in node.output]
        model.graph.node[0].attribute.append(helper.make_attribute("alpha", 1.0))  # the operator's default
        model.graph.initializer[-1].name = prefix + "shape"
        model.graph.initializer.append(numpy_helper.from_array(np.zeros(9), "nobody reads this"))
        model.producer_name = noise
        canonicalize(model, list(TENSORS), opset=18, ir_version=8)
        onnx.checker.check_model(model)
        data: bytes = model.SerializeToString(deterministic=True)
        return data

    assert build("a/", "x") == build("longer/", "")
    assert attach_weights(build("a/", "x"), {}).graph.node[0].output[0] == "g0"


def test_slices_over_the_same_axis_are_not_merged() -> None:
    """x[2:][1:] isn't x[1:]; the two over different axes become one."""

    def run(axes: tuple[int, int]) -> tuple[int, np.ndarray]:
        from qacomp.runtime.session import open_session, run_session

        constants = {"s0": [2], "e0": [9], "a0": [axes[0]], "t0": [1], "s1": [1], "e1": [9], "a1": [axes[1]], "t1": [2]}
        graph = helper.make_graph(
            [
                helper.make_node("Slice", ["input", "s0", "e0", "a0", "t0"], ["y"]),
                helper.make_node("Slice", ["y", "s1", "e1", "a1", "t1"], ["logits"]),
            ],
            "g",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, [6, 6])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.array(v, np.int64), k) for k, v in constants.items()],
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        canonicalize(model, [], opset=18, ir_version=8)
        x = np.arange(36, dtype=np.float32).reshape(6, 6)
        return len(model.graph.node), run_session(open_session(model), x)

    x = np.arange(36, dtype=np.float32).reshape(6, 6)
    nodes, y = run((0, 1))
    assert nodes == 1 and np.array_equal(y, x[2:, 1::2])
    nodes, y = run((0, 0))
    assert nodes == 2 and np.array_equal(y, x[2:][1::2])


def test_decoding_and_measuring_need_no_torch(tmp_path: Path) -> None:
    (tmp_path / "graph").write_bytes(strip_weights(small_model(), TENSORS))
    for name, value in TENSORS.items():
        np.save(tmp_path / f"{name}.npy", value)
    code = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "onnxscript", "sklearn"):
            raise ModuleNotFoundError(f"{name} is blocked")
sys.meta_path.insert(0, Block())
import numpy as np
from qacomp.graphs.weightless import attach_weights, write_onnx
from qacomp.evaluation.accuracy import onnx_accuracy
from qacomp.runtime.latency import onnx_latency
import qacomp.evaluation.parity
model = attach_weights(open("graph", "rb").read(), {n: np.load(n + ".npy") for n in ("fc.weight", "fc.bias")})
write_onnx("model.onnx", model)
x = np.eye(4, dtype=np.float32)
print(onnx_accuracy("model.onnx", x, np.array([2, 2, 2, 0])), onnx_latency("model.onnx", (4,), runs=2).runs)
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert (done.stdout, done.stderr) == ("75.0 2\n", "")
