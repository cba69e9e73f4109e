"""Models that take all time or memory, or crash onnxruntime: the child ends, the work doesn't."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import TensorProto, helper, numpy_helper

import qacomp
from qacomp.cli.main import cli
from qacomp.errors import ConfigError, ExportError, NotACheckpointError, RunLimitError, RuntimeCrashError
from qacomp.options.running import RunLimits, memory_bytes
from qacomp.runtime import sandbox, wire
from qacomp.runtime.agreement import run_all
from qacomp.runtime.latency import onnx_latency
from qacomp.runtime.limits import limited_runs, measured_together, measuring
from qacomp.runtime.session import open_session, timed_runs

FEED = {"x": np.ones((1, 64), np.float32)}


def with_tail(nodes: list[onnx.NodeProto], functions: int = 0, **constants: object) -> onnx.ModelProto:
    """h = x · w (64 × 64), which can be shared, and `nodes` that make y of it."""
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    tensors = [numpy_helper.from_array(np.asarray(v), name) for name, v in {"w": weight, **constants}.items()]
    ends = [helper.make_tensor_value_info("x", 1, ["N", 64]), helper.make_tensor_value_info("y", 1, None)]
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), *nodes]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("d", 1)]
    calls = []
    for number in range(functions):  # each calls the next one twice
        last = number + 1 == functions
        name, domain = ("Neg", "") if last else (f"f{number + 1}", "d")
        twice = [helper.make_node(name, [a], [b], domain=domain) for a, b in (("a", "b"), ("b", "c"))]
        calls.append(helper.make_function("d", f"f{number}", ["a"], ["c"], twice, opsets))
    return helper.make_model(graph, opset_imports=opsets, ir_version=8, functions=calls)


def endless(step: str) -> onnx.ModelProto:
    """2^62 turns of a loop; Concat doubles its value in each."""
    inside = helper.make_node(step, ["v", "v"], ["w2"])
    if step == "Concat":
        inside.attribute.append(helper.make_attribute("axis", 0))
    turn, going = (helper.make_tensor_value_info(name, kind, ()) for name, kind in (("i", 7), ("c", 9)))
    value, result = (helper.make_tensor_value_info(name, 1, None) for name in ("v", "w2"))
    again = helper.make_tensor_value_info("c2", 9, ())
    nodes = [helper.make_node("Identity", ["c"], ["c2"]), inside]
    body = helper.make_graph(nodes, "b", [turn, going, value], [again, result])
    loop = helper.make_node("Loop", ["turns", "yes", "h"], ["y"], body=body)
    return with_tail([loop], turns=np.int64(2**62), yes=np.bool_(True))


def expanding() -> onnx.ModelProto:
    """256 TB."""
    nodes = [helper.make_node("Expand", ["h", "s"], ["e"]), helper.make_node("ReduceMax", ["e"], ["y"])]
    return with_tail(nodes, s=np.array([2**40, 1, 64]))


def large_output() -> onnx.ModelProto:
    return with_tail([helper.make_node("Expand", ["h", "s"], ["y"])], s=np.array([2**22, 1, 64]))


HOSTILE: dict[str, Callable[[], onnx.ModelProto]] = {
    "endless": lambda: endless("Add"),
    "growing": lambda: endless("Concat"),
    "expanding": expanding,
    "large output": large_output,
    "calls": lambda: with_tail([helper.make_node("f0", ["h"], ["y"], domain="d")], 24),
}
LIMITS = RunLimits(1.5, memory_bytes("400MB"))


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize("kind", HOSTILE)
def test_what_takes_too_much_is_stopped_with_a_named_error_and_the_next_model_runs(kind: str) -> None:
    data = HOSTILE[kind]().SerializeToString()
    with limited_runs(LIMITS), pytest.raises(RunLimitError, match=r"--run-limits (seconds|memory)=\.\.\. allows more"):
        run_all(data, [FEED])
    plain = with_tail([helper.make_node("Relu", ["h"], ["y"])])
    assert run_all(plain, [FEED])[0]["y"].shape == (1, 64)


def test_after_one_model_was_stopped_nothing_more_runs_in_this_measuring() -> None:
    plain = with_tail([helper.make_node("Relu", ["h"], ["y"])])
    with limited_runs(RunLimits(0.5, memory_bytes("1GB"))):
        session = open_session(plain)
        with pytest.raises(RunLimitError):
            run_all(endless("Add"), [FEED])
        for work in (lambda: open_session(plain), lambda: session.run(None, FEED)):
            with pytest.raises(RunLimitError, match=r"0\.5 s"):
                work()
    with pytest.raises(RunLimitError):  # it was open in the child that is gone
        session.run(None, FEED)


def test_outputs_that_are_kept_count_as_memory() -> None:
    """Eight of 100 MB are too much for 400 MB, though each is not."""
    model = with_tail([helper.make_node("Expand", ["h", "s"], ["y"])], s=np.array([400_000, 1, 64]))
    with limited_runs(RunLimits(60, memory_bytes("400MB"))), pytest.raises(RunLimitError, match="--run-limits memory"):
        run_all(model, [FEED] * 8)


def test_a_crash_is_a_named_error() -> None:
    child = sandbox.child()
    threading.Timer(0.3, lambda: os.kill(child.pid, signal.SIGSEGV)).start()
    with limited_runs(RunLimits(60, 1 << 30)), pytest.raises(RuntimeCrashError, match="SIGSEGV"):
        run_all(endless("Add"), [FEED])
    assert gone(child.pid)
    assert sandbox.child().pid != child.pid


@pytest.mark.parametrize("kind", ["endless", "expanding", "calls"])
def test_a_compression_is_not_lost_and_decoding_goes_on(kind: str, tmp_path: Path) -> None:
    source, container, output = (str(tmp_path / name) for name in ("m.onnx", "m.qac", "out.onnx"))
    onnx.save(HOSTILE[kind](), source)
    limits = ["--run-limits", "seconds=1,memory=300MB"]
    done = CliRunner().invoke(cli, ["compress", source, "-o", container, *limits, "--json"])
    assert done.exit_code == 0, done.output
    assert "allows more" in done.stderr and '"agreement": null' in done.stdout
    for form in ("dense", "lut", "affine"):
        done = CliRunner().invoke(cli, ["decode", container, "-fo", output, "--onnx", form, *limits, "--json"])
        assert done.exit_code == 0, done.output
        assert "allows more" in done.stderr and '"latency_ms": null' in done.stdout


def test_the_limits_are_settings(tmp_path: Path) -> None:
    weight = {"w": np.ones((8, 8), np.float32)}
    for bad in ({"seconds": 0.0}, {"seconds": float("inf")}, {"memory": "much"}, {"memory": "0GB"}):
        with pytest.raises(ConfigError, match=f"--run-limits: {next(iter(bad))}"):
            qacomp.compress(weight, config={"run_limits": bad}, output=tmp_path / "w.qac")
    assert (memory_bytes("4GB"), memory_bytes("1.5 MiB"), memory_bytes("123")) == (4_000_000_000, 1_572_864, 123)


def test_a_model_that_runs_gives_what_onnxruntime_gives() -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    nodes = [helper.make_node("Relu", ["h"], ["y"]), helper.make_node("Shape", ["h"], ["n"])]
    nodes += [helper.make_node("Cast", ["h"], ["b"], to=TensorProto.BFLOAT16)]
    nodes += [helper.make_node("Cast", ["h"], ["t"], to=TensorProto.STRING)]
    nodes += [helper.make_node("SplitToSequence", ["h"], ["q"], axis=1)]
    model = with_tail(nodes)
    model.graph.output.append(helper.make_tensor_value_info("n", TensorProto.INT64, None))
    model.graph.output.append(helper.make_tensor_value_info("t", TensorProto.STRING, None))
    model.graph.output.append(helper.make_tensor_sequence_value_info("q", 1, None))
    wanted = onnxruntime.InferenceSession(model.SerializeToString()).run(None, FEED)
    (found,) = run_all(model, [FEED])
    assert list(found) == ["y", "n", "t", "q"]
    for a, b in zip(list(found.values())[:3], wanted[:3], strict=True):
        assert a.dtype == b.dtype and np.array_equal(a, b)
    assert np.array_equal(np.concatenate(found["q"], axis=1), np.concatenate(wanted[3], axis=1))
    model.graph.output.append(helper.make_tensor_value_info("b", TensorProto.BFLOAT16, None))
    (found,) = run_all(model, [FEED])
    assert np.allclose(found["b"], np.maximum(found["b"], 0) + np.minimum(found["b"], 0))
    h = FEED["x"] @ numpy_helper.to_array(model.graph.initializer[0])
    assert np.abs(found["b"] - h).max() < 0.01 * np.abs(h).max() and found["b"].dtype == np.float32


def test_what_is_no_model_and_what_does_not_fit_is_said_in_onnxruntimes_words(tmp_path: Path) -> None:
    path = tmp_path / "no.onnx"
    path.write_bytes(b"no model")
    with pytest.raises(NotACheckpointError, match=r"no\.onnx: onnxruntime can't load it"):
        open_session(path)
    with pytest.raises(ExportError, match="Got invalid dimensions"):
        run_all(with_tail([helper.make_node("Relu", ["h"], ["y"])]), [{"x": np.ones((1, 3), np.float32)}])


def test_time_is_taken_inside_the_child() -> None:
    session = open_session(with_tail([helper.make_node("Relu", ["h"], ["y"])]), threads=1)
    times = timed_runs([session, session], FEED, runs=5, warmup=1)
    assert times.shape == (5, 2) and (times > 0).all()
    begin = time.perf_counter()
    latency = onnx_latency(with_tail([helper.make_node("Relu", ["h"], ["y"])]), (64,), runs=20)
    assert 0 < latency.p50_ms <= latency.p95_ms < 1e3 * (time.perf_counter() - begin)


INTERRUPTED = """
import os, signal, sys, threading
from qacomp.cli.main import main
from qacomp.runtime import sandbox
child = sandbox.child()
print(child.pid, flush=True)
threading.Timer(1.0, lambda: os.kill(os.getpid(), getattr(signal, sys.argv[2]))).start()
main(["compress", sys.argv[1], "-o", sys.argv[1] + ".qac"])
"""


@pytest.mark.parametrize("ending", ["SIGINT", "SIGKILL"])
def test_no_child_outlives_its_parent(ending: str, patience: Callable[[float], float], tmp_path: Path) -> None:
    source = tmp_path / "m.onnx"
    onnx.save(endless("Add"), source)
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, str(source), ending], capture_output=True, text=True)
    pid = int(done.stdout.split()[0])
    assert done.returncode == (1 if ending == "SIGINT" else -signal.SIGKILL), done.stderr
    assert "Traceback" not in done.stderr
    deadline = time.monotonic() + patience(60)
    while not gone(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert gone(pid)


@pytest.mark.parametrize(
    "text", ["[" * 90_000, '{"sizes": [-1], "values": []}', '{"values": [], "sizes": ["9"]}', "{}"]
)
def test_what_is_no_message_is_refused(text: str) -> None:
    data = bytearray(len(text).to_bytes(8, "little") + text.encode())

    def receive(size: int) -> bytearray:
        taken = data[:size]
        del data[:size]
        return taken

    with pytest.raises(wire.WireError):
        wire.read(receive, 1 << 20)


def test_a_message_brings_every_kind_of_value_back() -> None:
    arrays = [np.arange(6, dtype=">f4").reshape(2, 3), np.asarray(np.float16(2)), np.array([["a", "é"]], object)]
    values: list[Any] = [*arrays, [np.ones(2), None]]
    values += [{"k": np.array([True]), "n": 3}, b"bytes", "text", np.zeros((0, 4), np.int8)]
    data = bytearray(b"".join(bytes(part) for part in wire.pack({"a": 1}, values)))

    def receive(size: int) -> bytearray:
        taken = data[:size]
        del data[:size]
        return taken

    header, found = wire.read(receive, 1 << 20)
    assert header["a"] == 1 and not data
    for a, b in zip(arrays, found[:3], strict=True):
        assert np.array_equal(a, b) and a.shape == b.shape
    assert found[1].dtype == np.float16 and found[3][1] is None and found[4]["n"] == 3
    assert found[5:7] == [b"bytes", "text"] and found[7].shape == (0, 4) and found[7].dtype == np.int8


def test_all_runs_together_have_a_limit() -> None:
    """A model that takes just less than the limit each time is stopped after ten times the limit, on data sixty."""
    plain = with_tail([helper.make_node("Relu", ["h"], ["y"])])
    with limited_runs(RunLimits(20.0, memory_bytes("4GB"))):
        session = open_session(plain)
        now = measuring()
        now.spent = 199.0
        session.run(None, FEED)
        assert 199.0 < now.spent < 219.0
        now.spent = 200.0
        with pytest.raises(RunLimitError, match="200 s for all its runs together; --run-limits"):
            session.run(None, FEED)
    with limited_runs(RunLimits(20.0, memory_bytes("4GB"))):
        session = open_session(plain)
        measuring().spent = 200.0
        measuring().on_data()
        session.run(None, FEED)
        measuring().spent = 1200.0
        with pytest.raises(RunLimitError, match="1200 s"):
            session.run(None, FEED)


def test_without_limits_of_its_own_a_call_has_one_measuring() -> None:
    with measured_together():
        assert measuring() is measuring()
        outer = measuring()
        with measured_together():
            assert measuring() is outer
    with limited_runs(LIMITS), measured_together():
        assert measuring().limits == LIMITS
