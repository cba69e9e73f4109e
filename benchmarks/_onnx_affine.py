"""Affine integers of the suite onnx: stacks of matrix products, their time, memory and error against dense ones."""

import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from result import Headline, Results, Row, in_turns, median, spread

from qacomp.exporting.onnx_options import OnnxOptions
from qacomp.exporting.onnx_output import write_onnx_file
from qacomp.formats import SharedTensor
from qacomp.runtime.comparison import FP32_ACTIVATIONS
from qacomp.runtime.session import open_session
from qacomp.sharing.kmeans import kmeans

SIDE, LAYERS = 2048, 4


def affine() -> Results:
    """A stack of 2048 x 2048 products with K = 16, int4 and dense, by batch and accuracy level; memory of a process."""
    clusters = {name: kmeans(matrix, 16) for name, matrix in normal_matrices(SIDE, LAYERS).items()}
    weights = {name: SharedTensor(c.codebook, c.indices) for name, c in clusters.items()}
    dense_model = stack({name: weight.dense() for name, weight in weights.items()})
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        here = Path(scratch)
        files = {"dense": here / "dense.onnx"}
        onnx.save(dense_model, files["dense"])
        for bits in (4, 8, 2):
            files[f"int{bits}"] = here / f"int{bits}.onnx"
            made = write_onnx_file(dense_model, weights, files[f"int{bits}"], OnnxOptions("affine", bits))
            assert made.fused == LAYERS
        sessions = {name: open_session(path, threads=1) for name, path in files.items()}
        fp32 = {
            f"{n}_fp32": open_session(p, threads=1, settings=FP32_ACTIVATIONS) for n, p in files.items() if n != "dense"
        }
        for batch in (1, 8, 64):
            feed = {"x": np.random.default_rng(batch).standard_normal((batch, SIDE)).astype(np.float32)}
            tasks = {n: lambda s=s, f=feed: s.run(None, f) for n, s in (sessions | fp32).items()}
            times = in_turns(tasks, 15)
            outputs = {n: s.run(None, feed)[0] for n, s in (sessions | fp32).items()}
            for name in tasks:
                if name != "dense":
                    ratios = [a / b for a, b in zip(times["dense"], times[name], strict=True)]
                    error = np.abs(outputs[name] - outputs["dense"]).max() / np.abs(outputs["dense"]).max()
                    results = {"speedup": median(ratios), "speedup_sd": spread(ratios), "max_error": float(error)}
                    results["cosine"] = cosine(outputs[name], outputs["dense"])
                    results["ms"] = {"own": 1e3 * median(times[name]), "dense": 1e3 * median(times["dense"])}
                    text = (
                        f"{LAYERS} products of {SIDE} x {SIDE}, batch {batch}; error against the dense file's outputs"
                    )
                    rows.append(Row(f"affine_{name}_batch{batch}", text, {"batch": batch}, results))
        sizes = {name: path.stat().st_size for name, path in files.items()}
        memory = {name: [_memory(path) for _ in range(3)] for name, path in files.items() if name in ("dense", "int4")}
    ratio = median(memory["int4"]) / median(memory["dense"])
    rows.append(Row("affine_memory", "private memory of a process, session open and run once", {}, {"mib": memory}))
    rows.append(Row("affine_bytes", "files", {}, sizes))
    found = {row.name: row.results for row in rows}
    one, level = found["affine_int4_batch1"], found["affine_int4_fp32_batch1"]
    more = {batch: found[f"affine_int4_batch{batch}"]["speedup"] for batch in (8, 64)}
    note = (
        f"{LAYERS} products of {SIDE} x {SIDE}, batch 1, CPU time in turns, onnxruntime's default accuracy level; "
        f"{more[8]:.2g}x at batch 8, {more[64]:.2g}x at 64; "
        f"at level 0 {level['speedup']:.2g}x; cosine of outputs {one['cosine']:.4f} and {level['cosine']:.4f}"
    )
    return rows, {
        "affine_int4_speedup": Headline(one["speedup"], "x", "> 1.5", note, one["speedup_sd"]),
        "affine_int4_memory_ratio": Headline(
            ratio, "x", "< 0.6", "private memory of a process with the session open and run once, int4 over dense"
        ),
    }


def normal_matrices(side: int, layers: int) -> dict[str, NDArray[np.float32]]:
    """Square ones by name, scaled so that products keep their size."""
    rng = np.random.default_rng(0)
    return {f"w{n}": (rng.standard_normal((side, side)) / np.sqrt(side)).astype(np.float32) for n in range(layers)}


def stack(matrices: Mapping[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """Products with square matrices, a ReLU behind each."""
    nodes, value, side = [], "x", len(next(iter(matrices.values())))
    for layer, name in enumerate(matrices):
        nodes.append(helper.make_node("MatMul", [value, name], [f"p{layer}"]))
        nodes.append(helper.make_node("Relu", [f"p{layer}"], [f"a{layer}"]))
        value = f"a{layer}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", side]) for name in ("x", value)]
    tensors = [numpy_helper.from_array(matrix, name) for name, matrix in matrices.items()]
    graph = helper.make_graph(nodes, "stack", ends[:1], ends[1:], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    """Of two arrays' values."""
    x, y = a.reshape(-1).astype(np.float64), b.reshape(-1).astype(np.float64)
    return float(x @ y / np.sqrt((x @ x) * (y @ y)))


_MEMORY = """
import sys
import numpy as np
import onnxruntime
def private():
    return sum(int(l.split()[1]) for l in open("/proc/self/status") if l.startswith(("RssAnon", "RssShmem"))) / 1024
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
before = private()
session = onnxruntime.InferenceSession(sys.argv[1], options, providers=["CPUExecutionProvider"])
session.run(None, {"x": np.zeros((1, 2048), np.float32)})
print(private() - before)
"""


def _memory(path: Path) -> float:
    """MiB that a process needs for the file once it has run."""
    done = subprocess.run([sys.executable, "-P", "-c", _MEMORY, str(path)], capture_output=True, text=True, check=True)
    return float(done.stdout)
