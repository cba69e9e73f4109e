"""The JavaScript reader: its own tests under node, and its ONNX bytes beside those that `decode` writes."""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from qacomp.formats import Coding, Level, SharedTensor, open_file, save_file
from qacomp.graphs.skeleton import empty, slots
from qacomp.graphs.walk import sites

Patience = Callable[[float], float]
FOLDER = Path(__file__).resolve().parents[2] / "formats" / "js"
NODE = shutil.which("node")
OLDEST = 20  # the version of node that package.json asks for
PLAIN = Coding(codecs=("no-zstd",))  # node 20 decodes zstd only where fzstd is installed

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


def run(seconds: float, *arguments: str, given: str | None = None) -> subprocess.CompletedProcess[str]:
    assert NODE is not None
    return subprocess.run([NODE, *arguments], cwd=FOLDER, input=given, capture_output=True, text=True, timeout=seconds)


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C reader as a WebAssembly module; no file where there is no compiler for it."""
    path = tmp_path_factory.mktemp("wasm") / "qac.wasm"
    if shutil.which("clang") and shutil.which("wasm-ld"):
        subprocess.run(["sh", str(FOLDER / "wasm" / "build"), str(path)], check=True)
    return path


def test_the_tests_of_the_package_pass(module: Path, monkeypatch: pytest.MonkeyPatch, patience: Patience) -> None:
    monkeypatch.setenv("QAC_WASM", str(module))
    done = run(patience(120), "--test", "--test-reporter=tap", "test/")
    told = "\n".join(line for line in done.stdout.splitlines() if "duration_ms" not in line)
    assert done.returncode == 0, told[-6000:]
    assert ("# skipped 0" in told) == module.exists()


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


def test_onnx_bytes_are_those_of_the_original_model(tmp_path: Path, patience: Patience) -> None:
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
    stripped = graph.SerializeToString(deterministic=True)
    save_file(path, tensors, graph=stripped, meta={"graph": "original"}, coding=PLAIN)
    done = run(patience(60), "--input-type=module", "-e", MODELS, "-", str(path))
    assert done.returncode == 0, done.stderr
    assert Path(f"{path}.1").read_bytes() == whole
    coarse_model = onnx.load_from_string(Path(f"{path}.0").read_bytes())
    assert sorted(set(numpy_helper.to_array(coarse_model.graph.initializer[0]).ravel())) == [0, 0.75]


def test_onnx_bytes_of_a_network_are_those_of_decode(tmp_path: Path, patience: Patience) -> None:
    from qacomp.exporting.onnx_model import onnx_model
    from qacomp.graphs.weightless import strip_weights

    made = model()
    weights = {"w": numpy_helper.to_array(made.graph.initializer[0])}
    feed = {"data": "ü\x7f", "input_shape": [1, 28], "preprocessing": {"mean": [0.1307, 1e-05, 1.0], "note": '\\"'}}
    path = tmp_path / "n.qac"
    save_file(path, weights | {"unused": np.zeros(3)}, graph=strip_weights(made, ["w"]), meta=feed, coding=PLAIN)
    done = run(patience(60), "--input-type=module", "-e", MODELS, "-", str(path))
    assert done.returncode == 0, done.stderr
    with open_file(path) as container:
        wanted = onnx_model(container).SerializeToString(deterministic=True)
    assert Path(f"{path}.0").read_bytes() == wanted


STORED = """
import { open } from "./index.js";
import { readFileSync } from "node:fs";
const { tensors, groups } = await open(readFileSync(process.argv[2]));
console.log(JSON.stringify({ bytes: tensors.map((t) => t.storedBytes), groups }));
"""


@pytest.mark.parametrize("codec", ["raw", "bitpack", "rans"])
def test_stored_bytes_are_those_that_the_header_tells(tmp_path: Path, codec: str, patience: Patience) -> None:
    rng, book = np.random.default_rng(0), np.arange(12, dtype=np.float32)
    coarse = Level(book[[0, 11]], np.repeat([0, 1], [6, 6]))
    grid = np.arange(4, dtype=np.float32) * rng.random((5, 1, 1)).astype(np.float32)

    def drawn(k: int, *shape: int) -> NDArray[np.uint8]:
        return rng.integers(0, k, shape).astype(np.uint8)

    tensors: dict[str, Any] = {f"w{n}": SharedTensor(book, drawn(12 if n else 1, 30, n + 7)) for n in range(5)}
    tensors["nested"] = SharedTensor(book, drawn(12, 20, 31), (coarse,))
    tensors["grids"] = SharedTensor(grid, drawn(4, 5, 40), blocks=(1, 40))
    tensors["more grids"] = SharedTensor(grid[:3] * 2, drawn(4, 3, 40), blocks=(1, 40))
    tensors["large"] = SharedTensor(book, drawn(12, 90, 100))  # has chunks of its own
    tensors |= {"bias": rng.random(9, np.float32), "norm": rng.random(31, np.float32), "w0 again": tensors["w0"]}
    path = tmp_path / "m.qac"
    save_file(path, tensors, coding=Coding((codec, "planes", "grids"), chunk_log2=13))
    done = run(patience(60), "--input-type=module", "-e", STORED, "-", str(path))
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    with open_file(path) as container:
        assert told["bytes"] == [container.info(name).bytes for name in container.names]
        assert None in told["bytes"] or codec != "rans"
        for group in told["groups"]:
            assert group["storedBytes"] == sum(container.measured(name).bytes or 0 for name in group["names"])
        inside = sum(section.bytes for section in container.sections)
    assert sum(size or 0 for size in told["bytes"]) + sum(group["storedBytes"] for group in told["groups"]) == inside


METADATA = """
import { readMetadata } from "./metadata.js";
import { QacError } from "./errors.js";
import { readFileSync } from "node:fs";
const read = (hex) => {
  try {
    readMetadata(Uint8Array.from(Buffer.from(hex, "hex")));
    return true;
  } catch (error) {
    if (error instanceof QacError) return false;
    throw error;
  }
};
console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(read)));
"""


def nested(depth: int, inner: str) -> bytes:
    """An object that holds lists in one another, `depth` of both together."""
    return ('{"a":' + "[" * (depth - 1) + inner + "]" * (depth - 1) + "}").encode()


def test_metadata_are_refused_where_python_refuses_them(patience: Patience) -> None:
    from qacomp.formats import FormatError
    from qacomp.formats.metadata import read_metadata

    texts = [b"{}", b"[]", b"1", b"null", b"", b"{", b'{"a":1,"a":2}', b'{"a":{"b":1,"c":[{"b":1}]},"b":{"b":2}}']
    texts += [
        b'{"a":[1,"a",{"a":1}],"b":"a"}',
        b'{"a":NaN}',
        b'{"a":1e999}',
        b'{"a":-1e-999}',
        b'{"a":01}',
        b'{"a" : "\\u00e9"}',
    ]
    texts += [
        b'{"a":"\\ud800"}',
        b'{"a":"\\ud83d\\ude00"}',
        b'{"\\udc00":1}',
        b'{"a":"\xff"}',
        b"\xef\xbb\xbf{}",
        b' {"a":1} ',
    ]
    texts += [b'{"a":' + b"9" * digits + b"}" for digits in (400, 4300, 4301)] + [b'{"a":-' + b"9" * 4300 + b"}"]
    texts += [nested(depth, inner) for depth in (99, 100, 101) for inner in ("", "1", '"x"')] + [
        b'{"a":tru}',
        b'{"a":1}x',
    ]

    def accepted(text: bytes) -> bool:
        try:
            read_metadata(text)
        except FormatError:
            return False
        return True

    given = json.dumps([text.hex() for text in texts])
    done = run(patience(60), "--input-type=module", "-e", METADATA, given=given)
    assert done.returncode == 0, done.stderr
    wanted = [accepted(text) for text in texts]
    assert dict(zip(texts, json.loads(done.stdout), strict=True)) == dict(zip(texts, wanted, strict=True))
    assert 5 < sum(wanted) < len(texts) - 5
