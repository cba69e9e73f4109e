"""Tensors that can't be shared come back exactly, in their own type; only one that would be shared must be finite."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper, save
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

import qacomp
from qacomp.errors import NonFiniteWeightsError, SourceMismatchError
from qacomp.formats import open_file
from qacomp.sources.provenance import check_source

EIGHT_BITS = ("float8_e4m3fn", "float8_e5m2", "float8_e4m3fnuz", "float8_e5m2fnuz")


def odd_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    state = {name: torch.randn(4, 5).to(getattr(torch, name)) for name in EIGHT_BITS}
    weight = {"w": torch.randn(32, 32), "c64": torch.randn(3, 4, dtype=torch.complex64)}
    return {**weight, **state, "scalar": torch.tensor(1 + 2j, dtype=torch.complex64), "inf": torch.tensor(float("inf"))}


def bits(tensor: Tensor) -> bytes:
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    assert set(found) == set(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == tensor.dtype and found[name].shape == tensor.shape, name
        if name != "w":
            assert bits(found[name]) == bits(tensor), name


@pytest.mark.parametrize("kind", ["pt", "safetensors", "memory"])
def test_types_that_numpy_lacks_come_back(tmp_path: Path, kind: str) -> None:
    state = odd_state()
    source: object = state
    if kind == "pt":
        source = tmp_path / "x.pt"
        torch.save(state, tmp_path / "x.pt")
    elif kind == "safetensors":
        source = tmp_path / "x.safetensors"
        save_file(state, tmp_path / "x.safetensors")
    result = qacomp.compress(source, output=tmp_path / "x.qac")  # type: ignore[arg-type]
    same(qacomp.decode(result), state)
    assert any("kept exactly, float8_e4m3fn: float8_e4m3fn" in note for note in result.notes)
    assert any("kept exactly, NaN or infinity: inf" in note for note in result.notes)
    arrays = qacomp.decode(result, to="numpy")
    assert arrays["c64"].dtype == np.complex64 and np.array_equal(arrays["c64"], state["c64"].numpy())
    qacomp.decode(result, tmp_path / "back.safetensors")
    same(load_file(tmp_path / "back.safetensors"), state)


@pytest.mark.filterwarnings("ignore")  # torch warns of its own quantized types
@pytest.mark.parametrize("kind", ["pt", "legacy", "memory"])
def test_quantized_tensors_come_back(tmp_path: Path, kind: str) -> None:
    values, scales = torch.randn(3, 4), torch.tensor([0.1, 0.2, 0.3])
    state = {
        "w": torch.randn(32, 32),
        "one": torch.quantize_per_tensor(values, 0.1, 5, torch.quint8),
        "rows": torch.quantize_per_channel(values, scales, torch.tensor([0, 1, 2]), 0, torch.qint8),
        "wide": torch.quantize_per_tensor(values, 0.001, 0, torch.qint32).t(),
    }
    source: object = state
    if kind != "memory":
        source = tmp_path / "x.pt"
        torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=kind == "pt")
    result = qacomp.compress(source, output=tmp_path / "x.qac")  # type: ignore[arg-type]
    found = qacomp.decode(result)
    for name in ("one", "rows", "wide"):
        assert found[name].dtype == state[name].dtype and found[name].qscheme() == state[name].qscheme()
        assert torch.equal(found[name].dequantize(), state[name].dequantize())
    assert any("kept exactly, quint8: one" in note for note in result.notes)
    decoded = qacomp.decode(result, tmp_path / "x.safetensors")
    assert any("rows: qint8, which .safetensors doesn't support" in note for note in decoded.notes)


def test_what_safetensors_lacks_stands_as_pairs_and_is_said(tmp_path: Path) -> None:
    state = {"w": torch.randn(32, 32), "c": torch.randn(3, dtype=torch.complex128)}
    result = qacomp.compress(state, output=tmp_path / "x.qac")
    assert torch.equal(qacomp.decode(result)["c"], state["c"])
    decoded = qacomp.decode(result, tmp_path / "x.safetensors")
    assert any("c: complex128, which .safetensors doesn't support" in note for note in decoded.notes)
    assert torch.equal(torch.view_as_complex(load_file(tmp_path / "x.safetensors")["c"]), state["c"])


def test_only_a_tensor_that_would_be_shared_must_be_finite(tmp_path: Path) -> None:
    mask = torch.full((77, 77), float("-inf")).triu(1)
    state = {"attn.weight": torch.randn(64, 64), "attn.mask": mask, "observer.min_val": torch.tensor(float("inf"))}
    decoded = qacomp.decode(qacomp.compress(state, output=tmp_path / "x.qac"))
    assert torch.equal(decoded["attn.mask"], mask) and decoded["observer.min_val"] == float("inf")
    broken = torch.randn(64, 64)
    broken[0, 0] = float("nan")
    with pytest.raises(NonFiniteWeightsError, match=r"broken has 1 of 4096.*--exclude broken"):
        qacomp.compress({**state, "broken": broken}, output=tmp_path / "y.qac")
    kept = qacomp.decode(qacomp.compress({**state, "broken": broken}, exclude=("broken",), output=tmp_path / "z.qac"))
    assert bits(kept["broken"]) == bits(broken)


def test_metadata_comes_back_and_names_the_format(tmp_path: Path) -> None:
    given = {"format": "pt", "ss_network_dim": "8", "name": "Grüße"}
    save_file({"w": torch.randn(32, 32)}, tmp_path / "x.safetensors", metadata=given)
    qacomp.decode(qacomp.compress(tmp_path / "x.safetensors", output=tmp_path / "x.qac"), tmp_path / "y.safetensors")
    with safe_open(tmp_path / "y.safetensors", "pt") as file:
        assert file.metadata() == given
    qacomp.decode(qacomp.compress({"w": torch.randn(32, 32)}, output=tmp_path / "z.qac"), tmp_path / "z.safetensors")
    with safe_open(tmp_path / "z.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_order_and_types_of_a_safetensors_file_come_back(tmp_path: Path) -> None:
    state = {f"{name}.w": torch.randn(20, 20).to(dtype) for name in "zab" for dtype in (torch.float16,)}
    state |= {"n": torch.arange(4), "b": torch.ones(3, dtype=torch.bfloat16)}
    save_file(state, tmp_path / "x.safetensors")
    qacomp.decode(qacomp.compress(tmp_path / "x.safetensors", output=tmp_path / "x.qac"), tmp_path / "y.safetensors")
    with safe_open(tmp_path / "x.safetensors", "pt") as old, safe_open(tmp_path / "y.safetensors", "pt") as new:
        assert list(old.offset_keys()) == list(new.offset_keys())
        assert all(old.get_tensor(name).dtype == new.get_tensor(name).dtype for name in state)


# ---- whether a container was made from given files


def shards(folder: Path, kind: str) -> Path:
    state = {"a.weight": torch.randn(64, 64), "b.weight": torch.randn(64, 64)}
    placed = {}
    for number, (name, tensor) in enumerate(state.items()):
        placed[name] = f"model-{number}.{kind}"
        if kind == "bin":
            torch.save({name: tensor}, folder / placed[name])
        else:
            save_file({name: tensor}, folder / placed[name], metadata={"format": "pt", "lora": "yes"})
    index = folder / f"model.{kind}.index.json"
    index.write_text(json.dumps({"weight_map": placed}))
    return index


@pytest.mark.parametrize("kind", ["bin", "safetensors"])
def test_the_source_of_shards_is_verified(tmp_path: Path, kind: str) -> None:
    index = shards(tmp_path, kind)
    qacomp.compress(index, output=tmp_path / "m.qac")
    with open_file(tmp_path / "m.qac") as container:
        meta = dict(container.meta)
    match = check_source(tmp_path / "m.qac", meta, index)
    assert match.bytes == sum(path.stat().st_size for path in tmp_path.glob("model*"))
    if kind == "safetensors":
        qacomp.decode(tmp_path / "m.qac", tmp_path / "back.safetensors")
        with safe_open(tmp_path / "back.safetensors", "pt") as file:
            assert file.metadata() == {"format": "pt", "lora": "yes"}
    with pytest.raises(SourceMismatchError, match="give their index"):
        check_source(tmp_path / "m.qac", meta, tmp_path / f"model-1.{kind}")
    changed = tmp_path / f"model-1.{kind}"
    changed.write_bytes(changed.read_bytes()[:-1] + b"\x01")
    with pytest.raises(SourceMismatchError, match=rf"model-1\.{kind} differs"):
        check_source(tmp_path / "m.qac", meta, index)


def test_the_source_of_external_data_is_verified(tmp_path: Path) -> None:
    weight = numpy_helper.from_array(np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32), "w")
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 64]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    save(model, tmp_path / "m.onnx", save_as_external_data=True, location="w.bin", size_threshold=0)
    qacomp.compress(tmp_path / "m.onnx", output=tmp_path / "m.qac")
    with open_file(tmp_path / "m.qac") as container:
        meta = dict(container.meta)
    check_source(tmp_path / "m.qac", meta, tmp_path / "m.onnx")
    data = bytearray((tmp_path / "w.bin").read_bytes())
    data[-1] ^= 1
    (tmp_path / "w.bin").write_bytes(data)
    with pytest.raises(SourceMismatchError, match=r"other external data: w\.bin differs"):
        check_source(tmp_path / "m.qac", meta, tmp_path / "m.onnx")
