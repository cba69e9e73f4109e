"""A folder of a model is compressed to one file and comes back: names, types, shards, index and all other files."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from model_folders import CONFIG, contents, small_folder, tensors, write_folder
from safetensors import safe_open
from safetensors.torch import load_file

import qacomp
from qacomp.errors import ConfigError, NonFiniteWeightsError, NotACheckpointError, SourceMismatchError
from qacomp.formats import open_file, verify_file
from qacomp.graphs.metadata import metadata
from qacomp.sources import folder_source
from qacomp.sources.provenance import check_source

ALL_EXACT = 10**9  # a --min-size above every tensor


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_a_folder_comes_back_byte_for_byte_if_nothing_is_shared(tmp_path: Path, dtype: torch.dtype) -> None:
    source = small_folder(tmp_path / "m", dtype)
    qacomp.compress(source, output=tmp_path / "m.qac", min_size=ALL_EXACT, stored_precision="exact")
    done = qacomp.decode(tmp_path / "m.qac", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(source)
    assert done.output_bytes == sum(map(len, contents(source).values()))
    verify_file(tmp_path / "m.qac")


@pytest.mark.parametrize("large", [False, True])
def test_shared_weights_keep_names_types_and_places(
    tmp_path: Path, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folder_source, "_LARGE", 0 if large else 1 << 30)
    source = small_folder(tmp_path / "m")
    result = qacomp.compress(source, output=tmp_path / "m.qac", k=16)
    qacomp.decode(tmp_path / "m.qac", tmp_path / "back")
    before, after = contents(source), contents(tmp_path / "back")
    assert before.keys() == after.keys()
    for path in before:
        if not path.endswith(".safetensors"):
            assert before[path] == after[path]
            continue
        x, y = load_file(source / path), load_file(tmp_path / "back" / path)
        assert {n: (t.dtype, t.shape) for n, t in x.items()} == {n: (t.dtype, t.shape) for n, t in y.items()}
        with safe_open(tmp_path / "back" / path, framework="pt") as file:
            assert file.metadata() == {"format": "pt"}
        for name, tensor in x.items():
            shared = tensor.ndim == 2
            assert (torch.unique(y[name]).numel() <= 16) if shared else torch.equal(tensor, y[name])
    assert {layer.name for layer in result.layers if layer.k} == {n for n, t in tensors().items() if t.ndim == 2}
    assert result.source_bytes == sum(t.numel() * t.itemsize for t in tensors().values())


def test_a_large_folder_gives_the_bytes_of_a_small_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = small_folder(tmp_path / "m")
    qacomp.compress(source, output=tmp_path / "a.qac", codebook="channel")
    monkeypatch.setattr(folder_source, "_LARGE", 0)
    qacomp.compress(source, output=tmp_path / "b.qac", codebook="channel")
    with open_file(tmp_path / "a.qac") as a, open_file(tmp_path / "b.qac") as b:
        assert [a.info(n).digest for n in a.names] == [b.info(n).digest for n in b.names]


def test_every_type_of_safetensors_comes_back(tmp_path: Path) -> None:
    types = [torch.float8_e4m3fn, torch.float8_e5m2, torch.complex64, torch.bool, torch.uint8, torch.int8, torch.int16]
    types += [torch.int32, torch.int64, torch.float64, torch.uint16, torch.uint32, torch.uint64]
    state = {str(t): torch.arange(-6, 6).reshape(3, 4).abs().to(torch.float32).to(t) for t in types}
    state |= {"scalar": torch.tensor(2.5), "nothing": torch.zeros(0, 3), "nan": torch.tensor([[float("nan")] * 300])}
    source = write_folder(tmp_path / "m", {"model.safetensors": state}, {"config.json": b"{}"})
    qacomp.compress(source, output=tmp_path / "m.qac", exclude=("nan",))
    qacomp.decode(tmp_path / "m.qac", tmp_path / "back")
    assert contents(tmp_path / "back") == contents(source)


def test_nan_in_a_tensor_to_share_is_an_error_that_names_it(tmp_path: Path) -> None:
    state = {"w": torch.full((20, 20), float("nan"))}
    source = write_folder(tmp_path / "m", {"model.safetensors": state}, {})
    with pytest.raises(NonFiniteWeightsError, match=r"tensor w has 400 values NaN.*--exclude w"):
        qacomp.compress(source, output=tmp_path / "m.qac")
    assert not (tmp_path / "m.qac").exists()


def test_equal_tensors_are_stored_once_and_equal_names_get_their_file(tmp_path: Path) -> None:
    """As in a pipeline of several models, whose tensors have the same names."""
    state = {"w": torch.randn(40, 40), "v": torch.randn(30)}
    twice = state | {"copy": state["w"].clone()}
    source = write_folder(tmp_path / "m", {"unet/a.safetensors": twice}, {"model_index.json": b"{}"})
    write_folder(source, {"text/a.safetensors": state}, {})
    qacomp.compress(source, output=tmp_path / "m.qac", k=4)
    with open_file(tmp_path / "m.qac") as container:
        assert container.info("unet/a.safetensors/w").same_as == "text/a.safetensors/w"
        assert container.info("unet/a.safetensors/copy").same_as == "text/a.safetensors/w"
    qacomp.decode(tmp_path / "m.qac", tmp_path / "back")
    back = load_file(tmp_path / "back" / "unet" / "a.safetensors")
    assert back.keys() == twice.keys() and torch.equal(back["w"], back["copy"])


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "m")
    write_folder(source, {}, {"pytorch_model.bin": b"x", "tf_model.h5": b"y", ".git/config": b"z", "old.qac": b"q"})
    (source / "linked").symlink_to("onnx")
    result = qacomp.compress(source, output=tmp_path / "m.qac", k=4)
    said = "\n".join(result.notes)
    assert all(name in said for name in ("pytorch_model.bin", "tf_model.h5", ".git/", "old.qac", "linked/"))
    qacomp.decode(tmp_path / "m.qac", tmp_path / "back")
    left = {"pytorch_model.bin", "tf_model.h5", ".git/config", "old.qac"}
    assert contents(tmp_path / "back").keys() == contents(source).keys() - left


def test_one_file_of_weights_and_state_dicts_hold_the_network_alone(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "m")
    qacomp.compress(source, output=tmp_path / "m.qac", k=4)
    assert qacomp.decode(tmp_path / "m.qac").keys() == tensors().keys()
    qacomp.decode(tmp_path / "m.qac", tmp_path / "all.safetensors")
    assert load_file(tmp_path / "all.safetensors").keys() == tensors().keys()
    with open_file(tmp_path / "m.qac") as container:
        assert json.loads(container.tensor("file/config.json").tobytes()) == CONFIG


def test_the_source_is_verified_file_by_file(tmp_path: Path) -> None:
    source, path = small_folder(tmp_path / "m"), tmp_path / "m.qac"
    qacomp.compress(source, output=path, k=4)

    def match() -> int:
        with open_file(path) as container:
            return check_source(path, metadata(container), source).bytes

    assert match() == sum(map(len, contents(source).values()))
    kept = (source / "tokenizer.json").read_bytes()
    (source / "tokenizer.json").write_bytes(kept[:-1] + b"?")
    with pytest.raises(SourceMismatchError, match=r"tokenizer\.json differs"):
        match()
    (source / "tokenizer.json").unlink()
    with pytest.raises(SourceMismatchError, match=r"tokenizer\.json is missing"):
        match()
    (source / "tokenizer.json").write_bytes(kept)
    (source / "more.txt").write_bytes(b"")
    with pytest.raises(SourceMismatchError, match=r"more\.txt is new"):
        match()


def test_settings_that_need_a_network_are_refused(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "m")
    for settings in ({"arch": "lenet5"}, {"data": "digits"}, {"key": "model"}, {"prune": "magnitude"}):
        with pytest.raises(ConfigError, match=r"folder|layers"):
            qacomp.compress(source, output=tmp_path / "m.qac", **settings)  # type: ignore[arg-type]


def test_an_index_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    source = small_folder(tmp_path / "m")
    index = source / "model.safetensors.index.json"
    told = json.loads(index.read_text())
    told["weight_map"]["model.absent"] = "model-00001-of-00002.safetensors"
    index.write_text(json.dumps(told))
    with pytest.raises(NotACheckpointError, match=r"places the tensor 'model\.absent'"):
        qacomp.compress(source, output=tmp_path / "m.qac")


def test_one_tensor_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of twenty tensors the source never holds more than a few arrays that are still alive."""
    import weakref

    from qacomp.folders.weights_file import WeightsFile

    monkeypatch.setattr(folder_source, "_LARGE", 0)
    state = {f"w{n:02}": torch.zeros(64, 128) + n for n in range(20)}
    source = write_folder(tmp_path / "m", {"model.safetensors": state}, {})
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0
    whole = WeightsFile.read

    def counted(file: WeightsFile, name: str) -> np.ndarray:
        nonlocal most
        array = whole(file, name)
        alive.append(weakref.ref(array))
        most = max(most, sum(ref() is not None for ref in alive))
        return array

    monkeypatch.setattr(WeightsFile, "read", counted)
    qacomp.compress(source, output=tmp_path / "m.qac", k=2)
    assert len(alive) >= 40 and most <= 3
