"""Ratios are against the source as it came, fp32 is the second figure, and a tensor has the same bytes everywhere."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save_file

Qacomp = Callable[..., Any]


def figures(qacomp: Qacomp, source: Path) -> dict[str, Any]:
    """What compress says of a source; inspect and the report must say the same."""
    target = source.with_name("out.qac")
    said: dict[str, Any] = qacomp("compress", source, "--k", "16", "--json", "-o", target).json
    seen = qacomp("inspect", target, "--json").json
    assert said["ratio"] == seen["ratio"] == pytest.approx(said["source_bytes"] / target.stat().st_size)
    assert said["fp32_ratio"] == seen["fp32_ratio"] == pytest.approx(seen["fp32_bytes"] / target.stat().st_size)
    assert (said["source_bytes"], said["checkpoint_bytes"]) == (seen["source_bytes"], seen["fp32_bytes"])
    assert {t["name"]: t["bytes"] for t in said["layers"]} == {t["name"]: t["bytes"] for t in seen["tensors"]}
    table = qacomp("inspect", target, "--report", source.with_name("r.html"), "--no-measure", "-f").out
    assert "original source" in table and "smaller than the source" in source.with_name("r.html").read_text()
    return said


def test_half_precision_and_ties_count_as_they_are(qacomp: Qacomp, tmp_path: Path) -> None:
    weight = torch.randn(64, 64)
    torch.save({"a": weight.half(), "n": torch.arange(10)}, tmp_path / "half.pt")
    said = figures(qacomp, tmp_path / "half.pt")
    assert said["source_bytes"] == 2 * 4096 + 80 and said["checkpoint_bytes"] == 4 * 4096
    torch.save({"a": weight, "b": weight}, tmp_path / "tied.pt")
    said = figures(qacomp, tmp_path / "tied.pt")
    assert said["source_bytes"] == said["checkpoint_bytes"] == 4 * 4096


def test_what_is_left_out_does_not_count(qacomp: Qacomp, tmp_path: Path) -> None:
    state = {"a": torch.randn(64, 64)}
    torch.save({"state_dict": state, "optimizer": {"state": {0: {"m": torch.randn(9000)}}}}, tmp_path / "m.pt")
    assert figures(qacomp, tmp_path / "m.pt")["source_bytes"] == 4 * 4096


def test_all_shards_count(qacomp: Qacomp, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_file({name: torch.randn(32, 32).bfloat16()}, tmp_path / f"{name}.safetensors")
    index = {"weight_map": {"a": "a.safetensors", "b": "b.safetensors"}}
    (tmp_path / "m.index.json").write_text(json.dumps(index))
    said = figures(qacomp, tmp_path / "m.index.json")
    assert said["source_bytes"] == 2 * 2048 and said["checkpoint_bytes"] == 4 * 2048


@pytest.mark.parametrize("external", [False, True])
def test_the_files_of_an_onnx_model_count(qacomp: Qacomp, tmp_path: Path, external: bool) -> None:
    weight = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float16)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT16, [4, 32])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT16, [4, 32])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    extra: dict[str, Any] = {"save_as_external_data": True, "location": "m.data", "size_threshold": 0}
    onnx.save(model, tmp_path / "m.onnx", **(extra if external else {}))
    size = sum(path.stat().st_size for path in tmp_path.iterdir())
    said = figures(qacomp, tmp_path / "m.onnx")
    assert said["source_bytes"] == size > 2048 and said["checkpoint_bytes"] == 4096
