"""Files that lie or attack: nothing of theirs runs, and nothing is allocated on their word."""

import io
import pickle
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from warm_process import WarmProcess

from qacomp.checkpoints import read_checkpoint
from qacomp.errors import CheckpointError, UnsafePickleError


class Marker:
    """Leaves a file where it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("zipped", [True, False])
def test_reduce_is_never_called(tmp_path: Path, zipped: bool) -> None:
    mark, path = tmp_path / "executed", tmp_path / "x.pt"
    torch.save({"w": torch.ones(2), "trap": Marker(mark)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafePickleError, match=r"needs .*nothing was imported or executed.*--trust-pickle") as raised:
        read_checkpoint(path)
    assert not mark.exists() and "\n" not in str(raised.value)
    checkpoint = read_checkpoint(path, trust_pickle=True)  # the author is trusted: now it runs
    assert mark.exists() and list(checkpoint.state) == ["w"]


@pytest.mark.parametrize("zipped", [True, False])
def test_the_class_of_a_pickle_is_only_imported_if_it_is_trusted(
    warm_process: WarmProcess, tmp_path: Path, zipped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "leaves_a_mark.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('imported').touch()\nclass Recipe: pass\n"
    )
    program = (
        "import leaves_a_mark, torch\n"
        "torch.save({'state_dict': {'w': torch.ones(2)}, 'recipe': leaves_a_mark.Recipe()}, 'x.pt',"
        f" _use_new_zipfile_serialization={zipped})\n"
    )
    warm_process.run(program, tmp_path)
    mark = tmp_path / "imported"
    mark.unlink()
    sys.path.insert(0, str(tmp_path))
    try:
        with pytest.raises(UnsafePickleError, match=r"leaves_a_mark\.Recipe"):
            read_checkpoint(tmp_path / "x.pt")
        assert not mark.exists() and "leaves_a_mark" not in sys.modules
        sys.path.remove(str(tmp_path))
        monkeypatch.chdir(tmp_path)  # an installed command doesn't have the working directory on its path
        checkpoint = read_checkpoint(tmp_path / "x.pt", trust_pickle=True)
        assert mark.exists() and list(checkpoint.state) == ["w"]
        sys.path.insert(0, str(tmp_path))
    finally:
        sys.path.remove(str(tmp_path))
        sys.modules.pop("leaves_a_mark", None)


def test_the_real_file_with_a_class_is_refused(shared_dir: Path) -> None:
    path = shared_dir / "ckpt" / "distiller_resnet20_channel_pruned_ft.pth.tar"
    with pytest.raises(UnsafePickleError, match=r"distiller\.thinning\.ThinningRecipe"):
        read_checkpoint(path)
    assert "distiller" not in sys.modules
    with pytest.raises(CheckpointError, match="No module named 'distiller'"):
        read_checkpoint(path, trust_pickle=True)


def test_a_pickled_module_gives_its_state_dict_when_trusted(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Linear(3, 2))
    torch.save(model, tmp_path / "x.pt")
    with pytest.raises(UnsafePickleError, match=r"torch\.nn\.modules\.container\.Sequential"):
        read_checkpoint(tmp_path / "x.pt")
    checkpoint = read_checkpoint(tmp_path / "x.pt", trust_pickle=True)
    assert list(checkpoint.state) == ["0.weight", "0.bias"]
    assert checkpoint.notes == ("the state dict of a pickled Sequential",)


@pytest.mark.parametrize(
    "attack",
    [
        b"\x80\x02cos\nsystem\nX\x04\x00\x00\x00true\x85R.",
        b"\x80\x02cbuiltins\neval\nX\x01\x00\x00\x001\x85R.",
        b"\x80\x04\x8c\x05posix\x8c\x06system\x93\x8c\x04true\x85R.",  # STACK_GLOBAL
        b"\x80\x02(X\x04\x00\x00\x00trueios\nsystem\n.",  # INST
        b"\x80\x02ctorch\nload\nX\x01\x00\x00\x00x\x85R.",
        b"\x80\x02cbuiltins\nbytearray\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",  # 2**44 zeros
        b"\x80\x02ctorch\nTensor\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",
        b"\x80\x02ctorch\nFloatStorage\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",
        b"\x80\x02ctorch.storage\nUntypedStorage\n\x8a\x06\x00\x00\x00\x00\x00\x10\x85R.",
        b"\x80\x02ccollections\nOrderedDict\n}X\x01\x00\x00\x00aK\x01sb.",  # state set on a class
        b"\x80\x02\x82\x01.",  # EXT1
        b"\x80\x02]r\xff\xff\xff\xff.",  # a memo index that makes the C reader allocate 64 GiB
        b"\x80\x05\x96\x00\x00\x00\x00\x00\x10\x00\x00.",  # BYTEARRAY8 of 2**44
        b"\x80\x02X\xff\xff\xff\x7fa.",
        b"\x80\x02" + b"(" * 1000 + b".",
        b"\x80\x02}K\x01K\x02.",
        b"\x80\x02hq.",
        b"\x80\x02.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02X\x01\x00\x00\x00a\x85Q.",
    ],
)
def test_attacking_pickles_are_refused_before_torch_sees_them(
    tmp_path: Path, attack: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def loaded(*_: object, **__: object) -> None:
        raise AssertionError("torch.load was reached")

    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", attack)
    if attack != b"\x80\x02]r\xff\xff\xff\xff.":  # harmless to torch's reader, whose memo is a dict
        monkeypatch.setattr(torch, "load", loaded)
    with pytest.raises(CheckpointError) as raised:
        read_checkpoint(path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_binary_pickle_protocol_is_read(tmp_path: Path, protocol: int) -> None:
    state = {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}
    torch.save(state, tmp_path / "x.pt", pickle_protocol=protocol)
    assert all(torch.equal(read_checkpoint(tmp_path / "x.pt").state[name], state[name]) for name in state)


def test_an_old_text_protocol_says_what_to_do(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("archive/data.pkl", b"(dp0\nS'w'\np1\nI1\ns.")
    with pytest.raises(UnsafePickleError, match=r"opcode DICT.*re-save"):
        read_checkpoint(tmp_path / "x.pt")


def whole_file(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    state = {"a": torch.arange(4.0), "b": torch.ones(2, 2, dtype=torch.float16)}
    torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


WHOLE = {zipped: whole_file(zipped) for zipped in (True, False)}


@given(zipped=st.booleans(), place=st.floats(0, 0.9999), value=st.integers(0, 255))
def test_a_changed_byte_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, zipped: bool, place: float, value: int
) -> None:
    data = bytearray(WHOLE[zipped])
    data[int(place * len(data))] = value
    path = tmp_path_factory.getbasetemp() / "mutated.pt"
    path.write_bytes(data)
    try:
        checkpoint = read_checkpoint(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        assert checkpoint.state


def rewrapped(path: Path, pickled: bytes) -> None:
    """A zip file in which only the pickle is another, with checksums that fit."""
    with zipfile.ZipFile(io.BytesIO(WHOLE[True])) as archive, zipfile.ZipFile(path, "w") as out:
        for name in archive.namelist():
            out.writestr(name, pickled if name.endswith("data.pkl") else archive.read(name))


@given(place=st.floats(0, 0.9999), value=st.integers(0, 255))
def test_a_changed_pickle_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory, place: float, value: int
) -> None:
    with zipfile.ZipFile(io.BytesIO(WHOLE[True])) as archive:
        pickled = bytearray(archive.read(next(name for name in archive.namelist() if name.endswith("data.pkl"))))
    pickled[int(place * len(pickled))] = value
    path = tmp_path_factory.getbasetemp() / "changed.pt"
    rewrapped(path, bytes(pickled))
    try:
        checkpoint = read_checkpoint(path)
    except CheckpointError as error:
        assert "\n" not in str(error)
    else:
        assert sum(tensor.numel() for tensor in checkpoint.state.values()) <= 16


@given(st.binary(max_size=200))
def test_random_pickles_are_refused(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "random.pt"
    rewrapped(path, pickle.PROTO + b"\x02" + body + pickle.STOP)
    with pytest.raises(CheckpointError):
        read_checkpoint(path)
