"""ONNX models and bare arrays at several levels: one file, each level a model of its own."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from qacomp.api import compress
from qacomp.exporting.decode import decode_file
from qacomp.exporting.part import Part
from qacomp.formats import BFLOAT16, bfloat16_from_float32, bfloat16_to_float32, open_file
from qacomp.graphs.reading import read_onnx
from qacomp.graphs.values import array_of
from qacomp.options.config import CompressConfig
from qacomp.result import Result
from qacomp.sharing.nested_arrays import at_level, share_nested
from qacomp.sharing.selection import Layer

LEVELS = (2, 4, 16)
RNG = np.random.default_rng(0)
DENSE = RNG.standard_normal((24, 32)).astype(np.float32)
LAYER = Layer("w", "dense", DENSE.shape, 16, reason="MatMul weight")


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Result]:
    """Two matrix products in a row, float32 and float16 behind a Cast, as a progressive container."""
    folder = tmp_path_factory.mktemp("levels")
    half = RNG.standard_normal((32, 24)).astype(np.float16)
    nodes = [
        helper.make_node("MatMul", ["x", "a"], ["h"]),
        helper.make_node("Cast", ["b"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("MatMul", ["h", "wide"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "main",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 24])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 24])],
        [numpy_helper.from_array(DENSE, "a"), numpy_helper.from_array(half, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "m.onnx")
    config = CompressConfig(levels=LEVELS, include=("a", "b"))
    return folder / "m.qac", compress(read_onnx(folder / "m.onnx"), None, config, folder / "m.qac")


def weights(path: Path) -> dict[str, NDArray[Any]]:
    return {tensor.name: array_of(tensor) for tensor in onnx.load(path).graph.initializer}


def test_each_level_of_an_onnx_model_is_a_model(packed: tuple[Path, Result], tmp_path: Path) -> None:
    path, result = packed
    assert [p.name for p in result.operating_points] == ["level2", "level4", "level16"]
    cosines: list[float] = []
    finer: dict[str, NDArray[Any]] | None = None
    for k in reversed(LEVELS):
        done = decode_file(path, tmp_path / "m.onnx", part=Part(submodel=f"level{k}"))
        found = weights(tmp_path / "m.onnx")
        assert done.max_abs_error == 0 and done.agreement is not None
        cosines.insert(0, done.agreement["cosine"])
        for name, value in found.items():
            assert len(np.unique(value)) == k
            if finer is not None:  # one value of the finer level never goes to two of the coarser
                pairs = set(zip(finer[name].ravel().tolist(), value.ravel().tolist(), strict=True))
                assert len(pairs) == len(np.unique(finer[name]))
        finer = found
    assert result.agreement is not None and cosines == sorted(cosines) and cosines[-1] == result.agreement.cosine


def test_the_first_bytes_decode_to_the_coarse_level_and_its_agreement(
    packed: tuple[Path, Result], tmp_path: Path
) -> None:
    path, result = packed
    point = result.operating_points[0]
    (tmp_path / "cut.qac").write_bytes(path.read_bytes()[: point.bytes])
    cut = decode_file(tmp_path / "cut.qac", tmp_path / "cut.onnx", part=Part(allow_truncated=True))
    whole = decode_file(path, tmp_path / "whole.onnx", part=Part(submodel="level2"))
    assert whole.agreement is not None
    assert (tmp_path / "cut.onnx").read_bytes() == (tmp_path / "whole.onnx").read_bytes()
    assert cut.agreement == whole.agreement
    assert result.agreement is not None and whole.agreement["cosine"] < result.agreement.cosine


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("precision", ["fp16", "exact"])
def test_arrays_keep_their_dtype_and_few_values_stay_exact(dtype: str, precision: str) -> None:
    few = RNG.choice(np.array([-0.1, 0.3, 0.7]), (20, 20))
    for values in (DENSE, few):
        array: Any = bfloat16_from_float32(values.astype(np.float32)) if dtype == "bfloat16" else values.astype(dtype)
        item = share_nested(array, LAYER, LEVELS, precision)
        for level, k in enumerate(LEVELS):
            dense = at_level(item, level).dense()
            assert (
                dense.dtype == array.dtype and len(np.unique(dense.view("u2") if dtype == "bfloat16" else dense)) <= k
            )
        if values is few:
            assert item.dense().tobytes() == array.tobytes() and item.precision == "exact"


def test_a_finer_level_is_nearer_to_the_weights() -> None:
    item = share_nested(DENSE, LAYER, LEVELS, "fp16")
    errors = [float(np.square(at_level(item, level).dense() - DENSE).sum()) for level in range(3)]
    assert errors[0] > 2 * errors[1] > 8 * errors[2]


def test_infinity_is_kept_with_the_reason() -> None:
    array = DENSE.copy()
    array[3, 4] = np.inf
    item = share_nested(array, LAYER, LEVELS, "fp16")
    assert item.kept is not None and "infinity" in item.kept and item.dense() is array


def test_a_bfloat16_checkpoint_has_levels_too(tmp_path: Path) -> None:
    import torch

    from qacomp.api import compress as run
    from qacomp.exporting.decode import decode as unpack

    result = run({"w": torch.from_numpy(DENSE).bfloat16()}, levels=[2, 16], output=tmp_path / "w.qac")
    assert result.settings["levels"] == (2, 16)
    assert [point.name for point in result.operating_points] == ["level2", "level16"]
    state = unpack(result, part=Part(submodel="level2"))
    assert len(state["w"].unique()) == 2
    with open_file(tmp_path / "w.qac") as container:
        assert container.info("w").levels == (2, 16)
        coarse = container.tensor("w", level=0)
    assert coarse.dtype == BFLOAT16 and len(np.unique(bfloat16_to_float32(coarse))) == 2
