"""`decode --c`: the folder is compiled and run; a network that C computes with it predicts what onnxruntime does."""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from qacomp.exporting.c_folder import identifiers
from qacomp.formats import Coding, SharedTensor, load_file, save_file

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="no C compiler")

PREDICT = """
#include "model.h"
#include "qac.h"
#include <stdio.h>
static float w1[32 * 64], b1[32], w2[10 * 32], b2[10], x[64], h[32];
static uint64_t arena[MODEL_ARENA_BYTES / 8 + 1];
int main(void) {
    static qac_file file;
    qac_source source = {0};
    source.data = model_data;
    source.size = MODEL_BYTES;
    qac_error error = qac_open(&file, &source, QAC_STRICT, arena, sizeof arena);
    if (!error) error = qac_read(&file, MODEL_FC1_WEIGHT, QAC_FINEST, w1, sizeof w1);
    if (!error) error = qac_read(&file, MODEL_FC1_BIAS, QAC_FINEST, b1, sizeof b1);
    if (!error) error = qac_read(&file, MODEL_FC2_WEIGHT, QAC_FINEST, w2, sizeof w2);
    if (!error) error = qac_read(&file, MODEL_FC2_BIAS, QAC_FINEST, b2, sizeof b2);
    if (error) return (int)error;
    while (fread(x, sizeof x, 1, stdin) == 1) {
        int best = 0;
        float most = 0;
        for (int i = 0; i < 32; i++) {
            float sum = b1[i];
            for (int j = 0; j < 64; j++) sum += w1[i * 64 + j] * x[j];
            h[i] = sum > 0 ? sum : 0;
        }
        for (int i = 0; i < 10; i++) {
            float sum = b2[i];
            for (int j = 0; j < 32; j++) sum += w2[i * 32 + j] * h[j];
            if (i == 0 || sum > most) most = sum, best = i;
        }
        printf("%d\\n", best);
    }
    return 0;
}
"""


def shared(weights: NDArray[Any]) -> SharedTensor:
    """Weights as 16 shared values: the means of 16 equal parts of the sorted weights."""
    parts = np.array_split(np.sort(weights.ravel()), 16)
    book = np.array([part.mean() for part in parts], np.float32)
    nearest = np.abs(weights[..., None] - book).argmin(axis=-1).astype(np.uint8)
    return SharedTensor(book, nearest)


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A container of a small dense network for digits, trained for a moment."""
    images = load_digits()
    model = MLPClassifier((32,), max_iter=2000, random_state=0, solver="lbfgs")
    model.fit(images.data / 16, images.target)
    tensors: dict[str, Any] = {}
    for number, (weight, bias) in enumerate(zip(model.coefs_, model.intercepts_, strict=True), 1):
        tensors[f"fc{number}.weight"] = shared(np.ascontiguousarray(weight.T.astype(np.float32)))
        tensors[f"fc{number}.bias"] = bias.astype(np.float32)
    path = tmp_path_factory.mktemp("digits") / "digits.qac"
    save_file(path, tensors, coding=Coding(("no-zstd",)), meta={"for": "digits"})
    return path


def onnx_predictions(tensors: dict[str, NDArray[Any]], images: NDArray[np.float32]) -> list[int]:
    """What onnxruntime predicts with these weights."""
    nodes = [
        helper.make_node("Gemm", ["x", "fc1.weight", "fc1.bias"], ["a"], transB=1),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("Gemm", ["h", "fc2.weight", "fc2.bias"], ["y"], transB=1),
    ]
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", size]) for n, size in (("x", 64), ("y", 10))]
    weights = [numpy_helper.from_array(array, name) for name, array in tensors.items()]
    graph = helper.make_graph(nodes, "digits", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    found: list[int] = session.run(None, {"x": images})[0].argmax(axis=1).tolist()
    return found


@needs_compiler
def test_c_predicts_what_onnxruntime_predicts(qacomp: Any, digits: Path, tmp_path: Path) -> None:
    answer = qacomp("decode", digits, "--c", tmp_path / "c", "--json")
    assert answer.code == 0, answer.err
    told = json.loads(answer.out)
    assert told["files"] == ["model.h", "main.c", "CMakeLists.txt", "qac.h", "qac.c"]
    assert told["container_bytes"] == digits.stat().st_size and told["largest_tensor_bytes"] == 32 * 64 * 4
    folder = tmp_path / "c"
    (folder / "predict.c").write_text(PREDICT)
    strict = ("-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic")
    assert COMPILER is not None
    subprocess.run([COMPILER, *strict, "-c", "qac.c", "main.c", "predict.c"], cwd=folder, check=True)
    for name in ("main", "predict"):
        subprocess.run([COMPILER, "qac.o", f"{name}.o", "-o", name], cwd=folder, check=True)
    listed = subprocess.run([folder / "main"], capture_output=True, text=True, check=True).stdout
    assert listed.splitlines()[0] == "fc1.weight: 2048 values" and len(listed.splitlines()) == 4
    images = (load_digits().data / 16).astype(np.float32)
    run = subprocess.run([folder / "predict"], input=images.tobytes(), capture_output=True, check=True)
    found = [int(line) for line in run.stdout.split()]
    assert found == onnx_predictions(load_file(digits), images)
    assert np.mean(found == load_digits().target) > 0.8


def test_names_become_different_identifiers() -> None:
    names = ("fc1.weight", "fc1_weight", "größe", "*/ int main", "", "int", "bytes", "h")
    made = identifiers(names)
    assert made[:2] == ["MODEL_FC1_WEIGHT", "MODEL_FC1_WEIGHT_2"] and len(set(made)) == len(names)
    assert made[4:7] == ["MODEL_TENSOR", "MODEL_INT", "MODEL_BYTES_2"] and made[7] == "MODEL_H_2"
    assert all(name.isidentifier() and name.isascii() for name in made)


def test_what_c_cannot_hold_is_refused(qacomp: Any, digits: Path, tmp_path: Path) -> None:
    row = np.random.default_rng(0).integers(0, 16, (8, 64)).astype(np.uint8)
    stored = tmp_path / "zstd.qac"
    save_file(stored, {"w": SharedTensor(np.arange(16.0, dtype=np.float32), np.tile(row, (64, 8)))})
    answer = qacomp("decode", stored, "--c", tmp_path / "c")
    assert answer.code == 1 and "--codec no-zstd" in answer.err and not (tmp_path / "c").exists()
    answer = qacomp("decode", digits, "--c", tmp_path / "c", "-o", tmp_path / "a.onnx")
    assert answer.code != 0 and "leave out -o" in answer.err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    answer = qacomp("decode", digits, "--c", tmp_path / "full")
    assert answer.code == 1 and "--force" in answer.err and (tmp_path / "full" / "mine.txt").read_text() == "mine"
