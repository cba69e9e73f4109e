"""A container for the page: a network of digits with three levels, made without training."""

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from qacomp.formats import Coding, Level, SharedTensor, save_file
from qacomp.graphs.weightless import strip_weights

HIDDEN = 128
PREPROCESSING = {"channels": 1, "mean": [0.1307], "size": [28, 28], "std": [0.3081]}


def shared(shape: tuple[int, int], seed: int) -> SharedTensor:
    """Random weights of 256 shared values, with levels of 16 and 2 values before them."""
    rng = np.random.default_rng(seed)
    fine = np.sort(rng.normal(size=256)).astype(np.float32) * np.float32(0.1)
    middle = Level(fine.reshape(16, 16).mean(1), np.repeat(np.arange(16), 16))
    coarse = Level(fine.reshape(2, 128).mean(1), np.repeat(np.arange(2), 8))
    return SharedTensor(fine, rng.integers(0, 256, shape).astype(np.uint8), (coarse, middle))


def write_digits(path: Path, meta: dict[str, Any] | None = None) -> Path:
    """Write the container of (1, 1, 28, 28) -> (1, 10) and return its path."""
    weights = {"fc1.weight": shared((784, HIDDEN), 0), "fc2.weight": shared((HIDDEN, 10), 1)}
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "fc1.weight"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("MatMul", ["active", "fc2.weight"], ["scores"]),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 1, 28, 28])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["n", 10])
    held = [numpy_helper.from_array(w.dense(), name) for name, w in weights.items()]
    graph = helper.make_graph(nodes, "digits", [image], [scores], held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    told = {"arch": "a network of digits", "data": "mnist", "preprocessing": PREPROCESSING} | (meta or {})
    stripped = strip_weights(made, list(weights))
    save_file(path, weights, graph=stripped, meta=told, coding=Coding(("no-zstd",)))
    return path
