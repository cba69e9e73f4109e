"""Models with a state: which input takes which output, and that generated inputs hold states that occur."""

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import qacomp
from qacomp.runtime.agreement import compare, run_all, worst_of
from qacomp.runtime.carried import carried_states, run_steps
from qacomp.runtime.output_agreement import OutputAgreement

SIDE = 24


def accumulator(factor: float = 0.5) -> onnx.ModelProto:
    """(x, s) -> y = s' w, s' = factor s + x / 10: a state that stays small; b is an input that no output answers."""
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.standard_normal((SIDE, SIDE)).astype(np.float32),
        "factor": np.array(factor, np.float32),
        "tenth": np.array(0.1, np.float32),
    }
    nodes = [
        helper.make_node("Mul", ["s", "factor"], ["kept"]),
        helper.make_node("Mul", ["x", "tenth"], ["added"]),
        helper.make_node("Add", ["kept", "added"], ["new"]),
        helper.make_node("MatMul", ["new", "w"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    ]
    info = helper.make_tensor_value_info
    inputs = [info("x", TensorProto.FLOAT, [1, SIDE]), info("b", TensorProto.FLOAT, [1])]
    inputs.append(info("s", TensorProto.FLOAT, [1, SIDE]))
    outputs = [info("y", TensorProto.FLOAT, [1, SIDE]), info("new", TensorProto.FLOAT, [1, SIDE])]
    graph = helper.make_graph(
        nodes, "g", inputs, outputs, [numpy_helper.from_array(v, n) for n, v in constants.items()]
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def test_a_state_is_told_by_shape_and_order() -> None:
    x, h, token = np.zeros((1, 8), np.float32), np.zeros((2, 1, 4), np.float32), np.zeros((1,), np.int64)
    outputs = {"y": np.zeros((1, 8), np.float32), "hn": h, "cn": h}
    assert carried_states({"x": x, "h": h, "c": h, "token": token}, outputs) == {"h": "hn", "c": "cn"}
    assert carried_states({"x": x}, outputs) == {}
    assert carried_states({"x": x, "h": h.astype(np.float64)}, outputs) == {}
    assert carried_states({"x": x, "mask": x}, {"y": x}) == {}  # the first output is the result


def test_steps_go_on_from_their_own_state() -> None:
    rng = np.random.default_rng(1)
    drawn = [
        {name: rng.standard_normal(shape).astype(np.float32) for name, shape in (("x", (1, SIDE)), ("b", (1,)))}
        | {"s": np.full((1, SIDE), 100, np.float32)}
        for _ in range(5)
    ]
    inputs, outputs = run_steps(accumulator(), drawn, {"s": "new"})
    state = np.zeros((1, SIDE), np.float32)
    for given, step, found in zip(drawn, inputs, outputs, strict=True):
        assert np.array_equal(step["s"], state) and np.array_equal(step["x"], given["x"])
        state = found["new"]
        assert np.allclose(state, 0.5 * step["s"] + 0.1 * step["x"], atol=1e-6)


def test_a_state_that_overflows_starts_again() -> None:
    feeds = [{"x": np.full((1, SIDE), 1e38, np.float32), "b": np.zeros(1, np.float32), "s": np.zeros((1, SIDE), "f")}]
    inputs, _ = run_steps(accumulator(1e30), feeds * 4, {"s": "new"})
    assert all(np.isfinite(step["s"]).all() for step in inputs)
    assert not inputs[2]["s"].any()  # 1e30 times 1e37 was no number


def test_agreement_is_that_of_the_worst_part() -> None:
    result = qacomp.compress(accumulator(), k=4)
    assert result.agreement is not None
    assert result.agreement.runs == 8 + 2 * 64 and "s is carried on" in result.agreement.inputs
    ramp = np.arange(4.0)
    alone = compare([{"y": ramp}], [{"y": np.array([0, 1, 2, 4.0])}], "a")
    same = compare([{"y": ramp}], [{"y": ramp}], "b")
    both = worst_of([same, alone], "both")
    assert both.runs == 2 and both.inputs == "both"
    assert both.outputs == (OutputAgreement("y", alone.cosine, 1.0, None, 0),)


def test_a_random_state_would_have_hidden_the_error() -> None:
    """The state that occurs is a tenth of a random one, so what x adds to y counts for more."""
    model = accumulator(0.1)
    result = qacomp.compress(model, k=4)
    decoded = qacomp.decode(result, to="onnx")
    rng = np.random.default_rng(2)
    feeds = [
        {n: rng.standard_normal(s).astype(np.float32) for n, s in (("x", (1, SIDE)), ("b", (1,)), ("s", (1, SIDE)))}
        for _ in range(64)
    ]
    steps, wanted = run_steps(model, feeds, {"s": "new"})
    assert np.std([f["s"] for f in steps]) < 0.2 * np.std([f["s"] for f in feeds])
    assert (compare(wanted, run_all(decoded, steps), "").cosine or 0) < 1
