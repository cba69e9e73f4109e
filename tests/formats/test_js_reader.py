"""The JavaScript reader: its own tests under node, and its ONNX bytes beside those that `decode` writes."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from qacomp.formats import Level, SharedTensor, save_file
from qacomp.graphs.skeleton import empty, slots
from qacomp.graphs.walk import sites

FOLDER = Path(__file__).resolve().parents[2] / "formats" / "js"
NODE = shutil.which("node")
OLDEST = 20  # the version of node that package.json asks for

MODELS = """
import { open } from "./index.js";
import { readFileSync, writeFileSync } from "node:fs";
const file = await open(readFileSync(process.argv[2]));
for (let level = 0; level < file.levels; level++) writeFileSync(`${process.argv[2]}.${level}`, file.onnx({ level }));
"""


def version() -> int:
    """The major version of node, 0 without it."""
    if NODE is None:
        return 0
    return int(
        subprocess.run([NODE, "-p", "process.versions.node"], capture_output=True, text=True).stdout.split(".")[0]
    )


pytestmark = pytest.mark.skipif(version() < OLDEST, reason=f"needs node {OLDEST}")


def run(*arguments: str, patience: float = 240) -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    return subprocess.run([NODE, *arguments], cwd=FOLDER, capture_output=True, text=True, timeout=patience)


def test_the_tests_of_the_package_pass() -> None:
    done = run("--test", "--test-reporter=tap", "test/")
    assert done.returncode == 0, "\n".join(line for line in done.stdout.splitlines() if "duration_ms" not in line)[
        -6000:
    ]
    assert "# skipped 0" in done.stdout


def test_the_package_ships_what_it_exports() -> None:
    told = json.loads((FOLDER / "package.json").read_text())
    assert (FOLDER / told["exports"]["."]["default"]).is_file() and (FOLDER / told["types"]).is_file()
    assert "dependencies" not in told


def model() -> onnx.ModelProto:
    """A model with tensors in every kind of place and field."""
    rng = np.random.default_rng(0)
    weight = rng.integers(0, 4, (32, 16)).astype(np.float32) / 4
    typed = helper.make_tensor("typed", TensorProto.FLOAT, (5, 5), rng.normal(size=25).astype(np.float32))
    longs = helper.make_tensor("longs", TensorProto.INT64, (12,), list(range(-6, 6)))
    half = helper.make_tensor("half", TensorProto.FLOAT16, (40,), rng.normal(size=40).astype(np.float16))
    constant = helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.arange(64.0), "value"))
    branch = helper.make_graph([constant], "branch", [], [helper.make_tensor_value_info("c", TensorProto.DOUBLE, [64])])
    choose = helper.make_node("If", ["yes"], ["chosen"], then_branch=branch, else_branch=branch)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["y"]), choose]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 32])]
    inputs.append(helper.make_tensor_value_info("yes", TensorProto.BOOL, []))
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 16])]
    held = [numpy_helper.from_array(weight, "w"), typed, longs, half]
    made = helper.make_model(helper.make_graph(nodes, "g", inputs, outputs, held))
    made.graph.initializer[0].doc_string = "described"
    return made


def test_onnx_bytes_are_those_of_the_original_model(tmp_path: Path) -> None:
    made = model()
    whole, graph = made.SerializeToString(deterministic=True), made
    tensors = {}
    for slot in slots(list(sites(graph))):
        array = slot.array(None).copy()
        values, indices = np.unique(array, return_inverse=True)
        entries = np.array([len(values) - len(values) // 2, len(values) // 2])
        coarse = Level(values[[0, -1]], np.repeat([0, 1], entries))
        index = indices.reshape(array.shape).astype(np.uint8)
        tensors[slot.name] = SharedTensor(values, index, (coarse,)) if slot.name == "w" else array
        empty(slot)
    assert len(tensors) == 6  # the branches' constants have one name, so they are numbered
    path = tmp_path / "m.qac"
    save_file(path, tensors, graph=graph.SerializeToString(deterministic=True), meta={"graph": "original"})
    done = run("--input-type=module", "-e", MODELS, "-", str(path))
    assert done.returncode == 0, done.stderr
    assert Path(f"{path}.1").read_bytes() == whole
    coarse_model = onnx.load_from_string(Path(f"{path}.0").read_bytes())
    assert sorted(set(numpy_helper.to_array(coarse_model.graph.initializer[0]).ravel())) == [0, 0.75]


def test_onnx_bytes_of_a_network_are_those_of_decode(tmp_path: Path) -> None:
    from qacomp.exporting.onnx_model import onnx_model
    from qacomp.formats import open_file
    from qacomp.graphs.weightless import strip_weights

    made = model()
    weights = {"w": numpy_helper.to_array(made.graph.initializer[0])}
    feed = {"data": "ü\x7f", "input_shape": [1, 28], "preprocessing": {"mean": [0.1307, 1e-05, 1.0], "note": '\\"'}}
    path = tmp_path / "n.qac"
    save_file(path, weights | {"unused": np.zeros(3)}, graph=strip_weights(made, ["w"]), meta=feed)
    done = run("--input-type=module", "-e", MODELS, "-", str(path))
    assert done.returncode == 0, done.stderr
    with open_file(path) as container:
        wanted = onnx_model(container).SerializeToString(deterministic=True)
    assert Path(f"{path}.0").read_bytes() == wanted
