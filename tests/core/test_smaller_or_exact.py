"""A tensor whose codebooks and indices take as much room as its lossless planes isn't shared, in every path."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

import qacomp
from qacomp.formats import save_file
from qacomp.sharing.allocation import FACTORS, allocate
from qacomp.sharing.nested_arrays import share_nested
from qacomp.sharing.selection import Layer
from qacomp.sharing.share import share_array
from qacomp.sharing.worth import float_bits, is_smaller, shared_bits
from qacomp.sources.smaller_layers import smaller_layers
from qacomp.sources.torch_weights import select_layers

RNG = np.random.default_rng(0)
WHY = "shared values and their indices take no fewer bytes than its lossless planes: kept exactly"


def weights(*shape: int, dtype: Any = np.float32) -> NDArray[Any]:
    return (RNG.standard_normal(shape) * 0.1).astype(dtype)


def sizes(array: NDArray[Any], k: int, folder: Path) -> tuple[int, int]:
    """Bytes as k-means of k values and as lossless planes, each coded alone."""
    from qacomp.formats import SharedTensor
    from qacomp.sharing.kmeans import kmeans

    found = kmeans(array, k)
    precision = "exact" if not found.inertia else "fp16"
    shared = SharedTensor(found.codebook, found.indices)
    both = [save_file(folder / "w.qac", {"w": t}, precision=precision).tensors[0].bytes for t in (shared, array)]
    return both[0], both[1]


@pytest.mark.parametrize(
    ("shape", "k", "dtype"),
    [
        ((16, 16), 256, np.float32), ((16, 16), 200, np.float32), ((16, 16), 64, np.float32),
        ((48, 48), 2304, np.float32),
        ((48, 48), 1536, np.float16), ((48, 48), 256, np.float16), ((8, 8), 16, np.float32), ((64, 64), 16, np.float16),
    ],
)  # fmt: skip
def test_the_smaller_form_is_taken(shape: tuple[int, ...], k: int, dtype: Any, tmp_path: Path) -> None:
    array = weights(*shape, dtype=dtype)
    item = share_array(array, Layer("w", "dense", shape, k, 0, "a weight"), "tensor", "fp16")
    shared, planes = sizes(array, k, tmp_path)
    assert (item.kept is None) == (shared < planes), (shared, planes)
    if item.kept is not None:
        assert item.kept.startswith("a weight, but ") and item.kept.endswith(WHY)
        assert np.array_equal(item.dense(), array) and item.precision == "exact"


def test_estimates_are_near_what_is_coded(tmp_path: Path) -> None:
    for array in (weights(64, 64), weights(200, 200, dtype=np.float16)):
        planes = save_file(tmp_path / "w.qac", {"w": array}).tensors[0].bytes
        assert 0.8 * planes < float_bits(array) / 8 < 1.2 * planes
        item = share_array(array, Layer("w", "dense", array.shape, 16), "tensor", "fp16")
        assert item.kept is None and is_smaller(item.value, array, item.precision)  # type: ignore[arg-type]
        coded = save_file(tmp_path / "w.qac", {"w": item.value}, precision=item.precision).tensors[0].bytes
        assert 0.8 * coded < shared_bits(item.value, item.precision) / 8 < 1.2 * coded  # type: ignore[arg-type]


def test_levels_and_blocks_count_all_their_codebooks() -> None:
    array = weights(16, 16)
    assert share_nested(array, Layer("w", "dense", array.shape, 256), (128, 256), "fp16").kept is not None
    assert share_nested(array, Layer("w", "dense", array.shape, 16), (4, 16), "fp16").kept is None
    half = weights(32, 32, dtype=np.float16)
    assert share_array(half, Layer("w", "dense", half.shape, 16), "affine8", "fp16").kept is None


def test_bare_tensors_and_onnx_models_say_so(tmp_path: Path) -> None:
    small, large = weights(16, 16), weights(128, 64)
    result = qacomp.compress({"a.weight": torch.from_numpy(small), "b.weight": torch.from_numpy(large)}, k=256)
    rows = {row.name: row for row in result.layers}
    assert rows["a.weight"].k is None and str(rows["a.weight"].skipped).endswith(WHY) and rows["b.weight"].k == 256
    assert np.array_equal(qacomp.decode(result)["a.weight"].numpy(), small)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "b"], ["h"]), helper.make_node("MatMul", ["y0", "a"], ["z"])],
        "g",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, [2, n]) for name, n in (("x", 128), ("y0", 16))],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("h", "z")],
        [numpy_helper.from_array(small, "a"), numpy_helper.from_array(large, "b")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    result = qacomp.compress(tmp_path / "m.onnx", output=tmp_path / "m.qac", k=256, min_agreement=0.0)
    rows = {row.name: row for row in result.layers}
    assert rows["a"].k is None and str(rows["a"].skipped).endswith(WHY) and rows["b"].k == 256


def test_a_networks_layers_too() -> None:
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 128))
    selection = select_layers(model, "all", 256, {})
    left = smaller_layers(model, selection, "tensor", None, "fp16")
    assert [layer.name for layer in left.layers] == ["1.weight"] and left.skipped["0.weight"].endswith(WHY)
    assert smaller_layers(model, select_layers(model, "all", 16, {}), "tensor", None, "fp16").skipped == {
        "0.bias": left.skipped["0.bias"], "1.bias": left.skipped["1.bias"],
    }  # fmt: skip


def test_more_values_stop_where_half_precision_would_cost_no_more() -> None:
    """K = 256 gave 48 × 48 weights 1,536 values, 16 bits each."""
    tried = []

    def error(name: str, k: int) -> float:
        tried.append((name, k))
        return 1.0 / k

    given = allocate({"small": 48 * 48, "large": 1 << 20}, 256, error, 0.01)
    assert given == {"small": 48 * 48, "large": 256 * FACTORS[-1]}  # all of them: it is kept as it is
    assert [k for name, k in tried if name == "small"] == [256, 512, 768, 48 * 48]
