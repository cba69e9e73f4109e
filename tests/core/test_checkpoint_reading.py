import hashlib
import io
import os
import tarfile
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from qacomp.checkpoints import Checkpoint, check_finite, read_checkpoint
from qacomp.errors import AmbiguousCheckpointError, CheckpointError, NonFiniteWeightsError, NotACheckpointError

STATE = OrderedDict(
    [
        ("z.weight", torch.arange(12.0).reshape(3, 4)),
        ("a.bias", torch.tensor([0.5, -1.0, 2.0], dtype=torch.float16)),
        ("m.count", torch.tensor(7)),
        ("b.scale", torch.tensor([1.5, 2.5], dtype=torch.bfloat16)),
    ]
)


def same(checkpoint: Checkpoint, expected: "dict[str, Tensor]" = STATE) -> None:
    assert list(checkpoint.state) == list(expected)
    for name, tensor in checkpoint.state.items():
        assert tensor.dtype == expected[name].dtype and tensor.is_contiguous() and tensor.device.type == "cpu"
        assert torch.equal(tensor, expected[name]) and not tensor.requires_grad


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize(
    ("nest", "notes"),
    [
        (lambda state: state, ()),
        (lambda state: {"state_dict": state}, ("nested under state_dict",)),
        (lambda state: {"epoch": 3, "net": state}, ("nested under net", "left out beside net: 'epoch'")),
        (lambda state: {"model": {"params": state}}, ("nested under model.params",)),
        (
            lambda state: {"model_state_dict": state, "optimizer": {"state": {0: {"momentum": torch.ones(2)}}}},
            ("nested under model_state_dict", "left out beside model_state_dict: 'optimizer' (1 tensor)"),
        ),
        (lambda state: {"my_own_name": state}, ("nested under my_own_name",)),
        (lambda state: {f"module.{name}": tensor for name, tensor in state.items()}, ("prefix module. removed",)),
        (
            lambda state: {f"_orig_mod.module.{name}": tensor for name, tensor in state.items()},
            ("prefix _orig_mod. removed", "prefix module. removed"),
        ),
        (
            lambda state: {**state, "lr": 0.1, "names": ["x"], "none": None},
            ("left out, no tensors: 'lr', 'names', 'none'",),
        ),
    ],
)
def test_state_dicts_however_wrapped(
    tmp_path: Path, zipped: bool, nest: Callable[[Any], Any], notes: tuple[str, ...]
) -> None:
    path = tmp_path / "weights.bin"  # told by content, not by its name
    torch.save(nest(STATE), path, _use_new_zipfile_serialization=zipped)
    checkpoint = read_checkpoint(path)
    same(checkpoint)
    assert sorted(checkpoint.notes) == sorted(notes)
    assert checkpoint.kind == "state_dict" and checkpoint.arch is None and checkpoint.data is None
    assert checkpoint.bytes == path.stat().st_size
    assert checkpoint.digest == hashlib.sha256(path.read_bytes()).hexdigest()


def test_parameters_and_module_state_dicts(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    torch.save({"model": dict(model.named_parameters())}, tmp_path / "parameters.pt")
    torch.save(model.state_dict(), tmp_path / "state.pt")  # an OrderedDict with _metadata
    same(read_checkpoint(tmp_path / "state.pt"), model.state_dict())
    assert list(read_checkpoint(tmp_path / "parameters.pt").state) == [name for name, _ in model.named_parameters()]


def test_a_prefix_on_some_keys_only_is_part_of_the_names(tmp_path: Path) -> None:
    torch.save({"module.a": torch.ones(1), "b": torch.ones(1)}, tmp_path / "x.pt")
    assert list(read_checkpoint(tmp_path / "x.pt").state) == ["module.a", "b"]


def test_safetensors(tmp_path: Path) -> None:
    save_file(dict(STATE), tmp_path / "x.pt")
    checkpoint = read_checkpoint(tmp_path / "x.pt")
    same(checkpoint, {name: STATE[name] for name in checkpoint.state})
    assert checkpoint.kind == "safetensors" and set(checkpoint.state) == set(STATE)


def test_views_become_contiguous_and_drop_their_larger_storage(tmp_path: Path) -> None:
    large = torch.arange(1000.0)
    state = {"slice": large[10:14], "turned": large[:6].reshape(2, 3).T, "wide": torch.ones(1).expand(5)}
    torch.save(state, tmp_path / "x.pt")
    checkpoint = read_checkpoint(tmp_path / "x.pt")
    same(checkpoint, state)
    for tensor in checkpoint.state.values():
        assert tensor.untyped_storage().nbytes() == tensor.numel() * 4


@pytest.mark.parametrize(
    ("file", "tensors"),
    [
        ("resnet20_cifar10j.pth", 116),
        ("akamaster_resnet20-12fca82f.th", 97),
        ("lirpa_mnist_cnn_small.pth", 8),
        ("ultraface_slim-320.pth", 184),
        ("silero_vad_16k.safetensors", 15),
    ],
)
def test_real_files(shared_dir: Path, file: str, tensors: int) -> None:
    assert len(read_checkpoint(shared_dir / "ckpt" / file).state) == tensors


# ---- what is no checkpoint


def zip_bytes(name: str, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, content)
        archive.writestr("archive/version", "3\n")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"\x00", "not a checkpoint"),
        (b"hello, world\n", "text"),
        ("Grüße ".encode() * 200, "text"),
        (b"<!DOCTYPE html><html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (bytes(range(255, 0, -1)) * 9, "not a checkpoint"),
        (b"\x93QAC\x01\x00", "qacomp decode"),
        (b"\x08\x08\x12\x07pytorch", "ONNX"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
        (b"\x1f\x8b\x08" + bytes(99), "gzip"),
        (b"\x80\x04\x95" + bytes(99), "plain pickle"),
        (b"PK\x03\x04" + bytes(99), "truncated"),
        (zip_bytes("x.npy", b"abc"), "numpy archive"),
        (zip_bytes("readme.txt", b"abc"), "torch.save didn't write"),
        (zip_bytes("archive/data.pkl", b""), "cut off"),
        (zip_bytes("archive/data.pkl", b"\x80\x02]q\x00."), "holds a list"),
        (zip_bytes("archive/data.pkl", b"\x80\x02}q\x00."), "holds no tensors"),
        (zip_bytes("archive/constants.pkl", b"\x80\x02}."), "data.pkl is missing"),
        (b"\x40\x00\x00\x00\x00\x00\x00\x00" + b'{"a":{"dtype":"F32"', "safetensors"),
        (b"\xff\xff\xff\xff\x00\x00\x00\x00" + b'{"a":{"dtype":"F32"', "safetensors"),
        (b"\x02\x00\x00\x00\x00\x00\x00\x00{}", "holds no tensors"),
    ],
)
def test_other_content_is_named(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(content)
    with pytest.raises(NotACheckpointError, match=said) as raised:
        read_checkpoint(path)
    assert str(path) in str(raised.value) and "\n" not in str(raised.value)


def test_a_tar_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"a")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "a", "a")
    with pytest.raises(NotACheckpointError, match="tar archive"):
        read_checkpoint(tmp_path / "x.tar")


def test_no_regular_file(tmp_path: Path) -> None:
    with pytest.raises(NotACheckpointError, match="does not exist"):
        read_checkpoint(tmp_path / "absent.pt")
    with pytest.raises(NotACheckpointError, match="folder"):
        read_checkpoint(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotACheckpointError, match="a regular file"):
        read_checkpoint(tmp_path / "pipe")
    with pytest.raises(NotACheckpointError, match="can't be read"):
        read_checkpoint("a\0b")


@pytest.mark.parametrize("form", ["zip", "legacy", "safetensors"])
def test_every_truncation_is_a_named_error(tmp_path: Path, form: str) -> None:
    path = tmp_path / "x.pt"
    state = {"a": torch.arange(6.0), "b": torch.ones(2, 3)}
    if form == "safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=form == "zip")
    whole = path.read_bytes()
    for length in range(0, len(whole), 1 if form == "safetensors" else 7):
        path.write_bytes(whole[:length])
        with pytest.raises(NotACheckpointError):
            read_checkpoint(path)


# ---- tensors that can't be taken


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_non_finite_tensors_are_named_where_they_would_be_shared(
    tmp_path: Path, bad: float, dtype: torch.dtype
) -> None:
    torch.save({"fine": torch.ones(2), "layer.weight": torch.tensor([1.0, bad, bad], dtype=dtype)}, tmp_path / "x.pt")
    state = read_checkpoint(tmp_path / "x.pt").state
    check_finite("x.pt", state, ["fine"])
    with pytest.raises(NonFiniteWeightsError, match=r"layer\.weight has 2 of 3.*--exclude layer\.weight"):
        check_finite("x.pt", state, state)


def test_eight_bit_floats_are_looked_at_too() -> None:
    check_finite("x.pt", {"w": torch.tensor([1.0, 2.0]).to(torch.float8_e4m3fn)}, ["w"])
    with pytest.raises(NonFiniteWeightsError, match="w has 1 of 2"):
        check_finite("x.pt", {"w": torch.tensor([1.0, float("nan")]).to(torch.float8_e4m3fn)}, ["w"])


def sparse() -> Tensor:
    return torch.eye(3).to_sparse()


def meta() -> Tensor:
    return torch.empty(1 << 50, device="meta")


@pytest.mark.parametrize("trust_pickle", [False, True])
@pytest.mark.parametrize(("make", "what"), [(sparse, "sparse"), (meta, "meta")])
def test_odd_tensors_are_refused_by_name(
    tmp_path: Path, make: Callable[[], Tensor], what: str, trust_pickle: bool
) -> None:
    torch.save({"state_dict": {"fine": torch.ones(1), "odd.weight": make()}}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match=rf"{what}.*odd\.weight|odd\.weight.*{what}"):
        read_checkpoint(tmp_path / "x.pt", trust_pickle=trust_pickle)


def test_several_unnamed_candidates_are_listed(tmp_path: Path) -> None:
    torch.save({"generator": {"w": torch.ones(1)}, "critic": {"w": torch.ones(1)}}, tmp_path / "x.pt")
    with pytest.raises(AmbiguousCheckpointError, match=r"several keys.*generator \(1 tensor\), critic"):
        read_checkpoint(tmp_path / "x.pt")
