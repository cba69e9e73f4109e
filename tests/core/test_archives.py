"""TorchScript and torch.export archives and sharded checkpoints: their weights, without running anything of theirs."""

import json
import warnings
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import qacomp
from qacomp.checkpoints import Checkpoint, read_checkpoint
from qacomp.errors import CheckpointError, ConfigError, NotACheckpointError
from qacomp.exporting.decode import decode_file, default_output
from qacomp.graphs.reading import OnnxFile
from qacomp.runtime.session import open_session
from qacomp.sources.reading import read_model


class Small(nn.Module):
    """Parameters, a buffer that is a view, a list of modules and a tied weight."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(2, 8, 3), nn.ReLU(), nn.BatchNorm1d(8))
        self.head = nn.Linear(8, 4).half().float()
        self.register_buffer("scale", torch.arange(12.0).reshape(3, 4).t())
        self.tied = self.head.weight

    def forward(self, x: Tensor) -> Tensor:
        """(N, 2, L) -> (N, 4)."""
        y: Tensor = self.head(self.layers(x).mean(dim=2)) * self.scale.sum()
        return y


@pytest.fixture(scope="module")
def small() -> Small:
    torch.manual_seed(0)
    return Small().eval()


@pytest.fixture(scope="module")
def scripted(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("jit") / "m.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.script(small).save(str(path))  # type: ignore[no-untyped-call]
    return path


@pytest.fixture(scope="module")
def exported(small: Small, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("pt2") / "m.pt2"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(small, (torch.zeros(2, 2, 9),)), path)
    return path


def same(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> bool:
    return all(name in found and torch.equal(found[name], tensor) for name, tensor in wanted.items())


def test_torchscript_gives_every_tensor_of_the_tree(scripted: Path, small: Small) -> None:
    checkpoint = read_checkpoint(scripted)
    assert checkpoint.kind == "torchscript" and any("neither loaded nor run" in note for note in checkpoint.notes)
    assert same(checkpoint.state, dict(small.state_dict()))
    assert all(tensor.is_contiguous() for tensor in checkpoint.state.values())


@pytest.mark.parametrize("kind", ["scripted", "exported"])
def test_an_archive_decodes_to_weights_and_says_what_would_give_a_graph(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    result = qacomp.compress(request.getfixturevalue(kind), k=4, output=tmp_path / "m.qac")
    assert default_output(result.output).suffix == ".safetensors"
    with pytest.raises(ConfigError, match=r"archive, compressed without its graph.*--trust-pickle.*NAME\.safetensors"):
        decode_file(result.output, tmp_path / "m.onnx")
    assert not (tmp_path / "m.onnx").exists()
    done = decode_file(result.output, tmp_path / "m.safetensors")
    assert done.notes == ("weights only: no accuracy, no latency; the container has no graph",)
    assert set(qacomp.decode(result)) == set(read_checkpoint(request.getfixturevalue(kind)).state)


def test_torch_export_gives_parameters_and_buffers(exported: Path, small: Small) -> None:
    checkpoint = read_checkpoint(exported)
    assert checkpoint.kind == "exported program"
    wanted = {n: t for n, t in small.state_dict().items() if n != "tied"}
    assert same(checkpoint.state, wanted)


def test_a_trusted_exported_program_brings_its_graph(exported: Path, small: Small) -> None:
    plain = read_model(exported)
    assert isinstance(plain, Checkpoint) and any("--trust-pickle" in note for note in plain.notes)
    source = read_model(exported, trust_pickle=True)
    assert isinstance(source, OnnxFile) and source.kind == "exported program"
    assert source.digest == plain.digest
    x = torch.randn(2, 2, 9)
    name = source.model.graph.input[0].name
    (output,) = open_session(source.model).run(None, {name: x.numpy()})
    with torch.no_grad():
        assert torch.allclose(torch.from_numpy(output), small(x), atol=1e-3)


def edited(source: Path, target: Path, change: dict[str, Any]) -> Path:
    """A copy of a zip file with the records whose names end as the keys say replaced, or removed by None."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for info in old.infolist():
            end = next((end for end in change if info.filename.endswith(end)), None)
            data = old.read(info) if end is None else change[end]
            if data is not None:
                new.writestr(info.filename, data)
    return target


def test_code_in_an_archive_is_neither_parsed_nor_run(scripted: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(scripted) as archive:
        codes = {name: b"this is no TorchScript" for name in archive.namelist() if "/code/" in name}
    assert codes
    assert same(read_checkpoint(edited(scripted, tmp_path / "m.pt", codes)).state, read_checkpoint(scripted).state)


def test_pickles_in_an_archive_call_nothing(scripted: Path, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    attack = b"cos\nsystem\n(S'touch " + str(marker).encode() + b"'\ntR."
    with pytest.raises(NotACheckpointError):
        read_checkpoint(edited(scripted, tmp_path / "m.pt", {"/data.pkl": attack}))
    assert not marker.exists()


@pytest.mark.parametrize(
    "change", [{"/data/0": b"short"}, {"/data/0": None}, {"/data.pkl": b"\x80\x02junk"}, {"/data.pkl": b"\x80\x02]."}]
)
def test_damaged_torchscript_is_refused(scripted: Path, tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(NotACheckpointError, match=r"m\.pt"):
        read_checkpoint(edited(scripted, tmp_path / "m.pt", change))


def test_damaged_exported_programs_are_refused(exported: Path, tmp_path: Path) -> None:
    end = "model_weights_config.json"
    with zipfile.ZipFile(exported) as archive:
        table = json.loads(archive.read(next(n for n in archive.namelist() if n.endswith(end))))
    huge = json.loads(json.dumps(table))
    next(iter(huge["config"].values()))["tensor_meta"]["sizes"][0]["as_int"] = 1 << 40
    pickled = json.loads(json.dumps(table))
    next(iter(pickled["config"].values()))["use_pickle"] = True
    for changed in (b"[]", b"{", json.dumps(huge), json.dumps(pickled), json.dumps({"config": {"w": {}}})):
        with pytest.raises(CheckpointError, match=r"m\.pt2"):
            read_checkpoint(edited(exported, tmp_path / "m.pt2", {end: changed}))


def sharded(folder: Path, state: dict[str, Tensor]) -> Path:
    """Two shards, the first of safetensors and the second of torch.save's, and their index."""
    names = list(state)
    save_file({n: state[n] for n in names[::2]}, folder / "model-1.safetensors")
    torch.save({n: state[n] for n in names[1::2]}, folder / "model-2.bin")
    placed = {n: "model-1.safetensors" if i % 2 == 0 else "model-2.bin" for i, n in enumerate(names)}
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": placed}))
    return index


def test_shards_are_one_checkpoint_in_the_order_of_the_index(tmp_path: Path) -> None:
    state = {f"layer{i}.weight": torch.randn(4, 5 + i) for i in range(5)}
    checkpoint = read_checkpoint(sharded(tmp_path, state))
    assert list(checkpoint.state) == list(state) and same(checkpoint.state, state)
    assert checkpoint.kind == "sharded"


def test_bad_indexes_are_refused(tmp_path: Path) -> None:
    index = sharded(tmp_path, {"a": torch.randn(4, 5), "b": torch.randn(3, 3)})
    wrong: list[Any] = [{"a": "../elsewhere"}, {"a": "missing.safetensors"}, {"z": "model-2.bin"}, {"a": 3}, {}, []]
    for placed in wrong:
        index.write_text(json.dumps({"weight_map": placed}))
        with pytest.raises(NotACheckpointError):
            read_checkpoint(index)
    index.write_text("no json")
    with pytest.raises(NotACheckpointError, match="no JSON"):
        read_checkpoint(index)


def test_a_real_torchscript_file(shared_dir: Path) -> None:
    checkpoint = read_checkpoint(shared_dir / "ckpt" / "silero_vad.jit")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = torch.jit.load(str(shared_dir / "ckpt" / "silero_vad.jit"))  # type: ignore[no-untyped-call]
    wanted = dict(module.state_dict())
    assert len(wanted) >= 30 and same(checkpoint.state, wanted)
