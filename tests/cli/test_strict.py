"""The verdict on the command line: a line with what to try next, exit code 1 with --strict, and what a file states."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve products in a row: two shared values a tensor leave nothing of the input."""
    rng, nodes, tensors, value = np.random.default_rng(0), [], [], "x"
    for i in range(12):
        w = rng.standard_normal((32, 32)).astype(np.float32) / np.float32(np.sqrt(32))
        tensors.append(numpy_helper.from_array(w, f"w{i}"))
        nodes += [helper.make_node("MatMul", [value, f"w{i}"], [f"m{i}"])]
        nodes += [helper.make_node("Relu" if i % 2 else "Identity", [f"m{i}"], [f"a{i}"])]
        value = f"a{i}"
    nodes.append(helper.make_node("Identity", [value], ["y"]))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 32]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    path = tmp_path_factory.mktemp("strict") / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def test_a_broken_model_is_called_so_everywhere(qacomp: Qacomp, model: Path, tmp_path: Path) -> None:
    container = tmp_path / "m.qac"
    made = qacomp("compress", model, "--k", "2", "-o", container)
    assert made.code == 0
    assert "verdict: broken: y: cosine of centred outputs" in made.out and "try --k 8" in made.out
    seen = qacomp("inspect", container)
    assert "verdict: broken" in seen.out and "as the file states it" in seen.out
    assert qacomp("inspect", container, "--json").json["verdict"] == "broken"
    back = qacomp("decode", container, "-o", tmp_path / "back.onnx")
    assert back.code == 0 and "verdict: broken" in back.out and "as the file states it" in back.out
    page = qacomp("inspect", container, "--no-measure", "--report", tmp_path / "r.html")
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.code == 0 and 'class="verdict broken"' in text and "--k 8" in text


def test_strict_fails_after_everything_is_written(qacomp: Qacomp, model: Path, tmp_path: Path) -> None:
    container = tmp_path / "m.qac"
    made = qacomp("compress", model, "--k", "2", "-o", container, "--strict", "--json")
    assert made.code == 1 and container.stat().st_size == made.json["container_bytes"]
    assert made.json["verdict"] == "broken" and made.json["verdict_reasons"] and made.json["verdict_advice"]
    assert "--strict" in made.err and str(container) in made.err and "was written" in made.err
    layers = [layer for layer in made.json["layers"] if layer["k"]]
    assert {layer["error_of"] for layer in layers} == {"MatMul"} and all(layer["error_db"] < 0 for layer in layers)
    assert qacomp("decode", container, "-o", tmp_path / "back.onnx", "--strict").code == 1
    assert (tmp_path / "back.onnx").stat().st_size > 1000
    good = qacomp("compress", model, "--k", "256", "-o", tmp_path / "good.qac", "--strict", "--json")
    assert good.code == 0 and good.json["verdict"] == "good"


def test_weights_alone_are_not_measured_and_pass(qacomp: Qacomp, tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"w": np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)}, tmp_path / "w.safetensors")
    made = qacomp("compress", tmp_path / "w.safetensors", "--strict", "-o", tmp_path / "w.qac")
    assert made.code == 0 and "verdict: not measured" in made.out and "try --data" in made.out


def test_names_cannot_colour_the_terminal(qacomp: Qacomp, model: Path, tmp_path: Path) -> None:
    proto = onnx.load(model)
    proto.graph.output[0].name = "y\x1b[31m"
    proto.graph.node[-1].output[0] = "y\x1b[31m"
    onnx.save(proto, tmp_path / "odd.onnx")
    made = qacomp("compress", tmp_path / "odd.onnx", "--k", "2", "-o", tmp_path / "m.qac")
    assert made.code == 0 and "\x1b" not in made.out and "broken: y\\x1b[31m" in made.out
    assert json.loads(qacomp("inspect", tmp_path / "m.qac", "--json").out)["verdict"] == "broken"
