"""No output is ever an input, two outputs are never one file, and only a container gives way unasked."""

import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import qacomp
from qacomp.errors import OutputExistsError, OutputIsInputError, OutputNotWritableError
from qacomp.formats import atomic_file, save_file, write_atomically
from qacomp.outputs import Output, claim, container_outputs
from qacomp.sources.input_files import command_files, data_files, model_files

WEIGHTS = {"w": np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)}


def hard_link(source: Path, link: Path) -> Path:
    os.link(source, link)
    return link


def symbolic_link(source: Path, link: Path) -> Path:
    link.symlink_to(source)
    return link


def another_spelling(source: Path, link: Path) -> Path:
    (link.parent / "sub").mkdir(exist_ok=True)
    return link.parent / "sub" / ".." / source.name


ALIASES: list[Callable[[Path, Path], Path]] = [lambda a, b: a, hard_link, symbolic_link, another_spelling]


@pytest.mark.parametrize("alias", ALIASES)
@pytest.mark.parametrize("force", [False, True])
def test_an_output_is_never_an_input(tmp_path: Path, alias: Callable[[Path, Path], Path], force: bool) -> None:
    source = tmp_path / "m.pt"
    source.write_bytes(b"weights")
    with pytest.raises(OutputIsInputError, match=r"m\.pt, which this command reads"):
        claim([Output(alias(source, tmp_path / "other"), "-o", "container")], [source], force=force)
    assert source.read_bytes() == b"weights"


@pytest.mark.parametrize("force", [False, True])
def test_two_outputs_are_never_one_file(tmp_path: Path, force: bool) -> None:
    (tmp_path / "sub").mkdir()
    for other in (tmp_path / "new", tmp_path / "sub" / ".." / "new"):
        with pytest.raises(OutputIsInputError, match="-o and --report are the same file"):
            claim([Output(tmp_path / "new"), Output(other, "--report")], [], force=force)
    (tmp_path / "one").write_bytes(b"1")
    os.link(tmp_path / "one", tmp_path / "two")
    with pytest.raises(OutputIsInputError, match="same file"):
        claim([Output(tmp_path / "one"), Output(tmp_path / "two", "--report")], [], force=force)


@pytest.mark.parametrize("names", [("m.qac", "M.QAC"), ("stra\u00dfe", "STRASSE"), ("caf\u00e9", "cafe\u0301")])
def test_names_that_some_file_systems_take_for_one_are_never_two_outputs(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    with pytest.raises(OutputIsInputError, match="same file"):
        claim([Output(tmp_path / names[0]), Output(tmp_path / names[1], "--report")], [])
    (tmp_path / "other").mkdir()
    claim([Output(tmp_path / names[0]), Output(tmp_path / "other" / names[1], "--report")], [])


def test_only_a_container_gives_way_unasked_and_only_to_a_container(tmp_path: Path) -> None:
    save_file(tmp_path / "old.qac", WEIGHTS)
    claim(container_outputs(tmp_path / "old.qac"), [])
    with pytest.raises(OutputExistsError, match="--force"):
        claim([Output(tmp_path / "old.qac", "--report")], [])
    (tmp_path / "notes.qac").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"notes\.qac: exists already"):
        claim(container_outputs(tmp_path / "notes.qac"), [])
    (tmp_path / "new.qac.resume").write_text("mine")
    with pytest.raises(OutputExistsError, match=r"new\.qac\.resume"):
        claim(container_outputs(tmp_path / "new.qac"), [])
    claim(container_outputs(tmp_path / "new.qac"), [], force=True)


def places(folder: Path) -> dict[str, Path]:
    """One of each kind of thing that no output may go to, and is none of the user's files."""
    os.mkfifo(folder / "pipe")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / "socket"))
    listener.close()
    (folder / "folder").mkdir()
    (folder / "nowhere").symlink_to(folder / "absent")
    (folder / "to-device").symlink_to("/dev/null")
    (folder / "circle").symlink_to(folder / "circle")
    found = {name: folder / name for name in ("pipe", "socket", "folder", "nowhere", "to-device", "circle")}
    return found | {"device": Path("/dev/null"), "with NUL": folder / "a\0b", "too long": folder / ("n" * 300)}


def test_pipes_devices_sockets_folders_and_links_to_nothing_are_refused(tmp_path: Path) -> None:
    for name, path in places(tmp_path).items():
        before = sorted(p.name for p in tmp_path.iterdir())
        with pytest.raises(OutputNotWritableError):
            claim([Output(path)], [], force=True)
        with pytest.raises(OutputNotWritableError):
            write_atomically(path, [b"x"])
        assert sorted(p.name for p in tmp_path.iterdir()) == before, name
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_link_that_another_user_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine").write_bytes(b"1")
    (tmp_path / "link").symlink_to(tmp_path / "mine")
    if os.geteuid():
        pytest.skip("only root can give a link to another user")
    os.lchown(tmp_path / "link", 12345, 12345)
    with pytest.raises(OutputNotWritableError, match="another user"):
        write_atomically(tmp_path / "link", [b"2"])
    assert (tmp_path / "mine").read_bytes() == b"1"


def test_a_link_is_followed_and_permissions_stay(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "m.qac", tmp_path / "m.qac"
    real.write_bytes(b"old")
    real.chmod(0o604)
    link.symlink_to(real)
    write_atomically(link, [b"new"])
    assert link.is_symlink() and real.read_bytes() == b"new" and stat.S_IMODE(real.stat().st_mode) == 0o604
    write_atomically(tmp_path / "fresh", [b"1"])
    umask = os.umask(0)
    os.umask(umask)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o666 & ~umask


def test_a_part_file_of_a_killed_process_is_swept_and_a_living_ones_stays(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a") as stream:
        stream.write(b"half")
        (living,) = tmp_path.iterdir()
        dead = tmp_path / ".qacomp-0123456789abcdef.part"
        dead.write_bytes(b"left")
        folder = tmp_path / ".qacomp-fedcba9876543210.part"
        folder.mkdir()
        (folder / "m.onnx").write_bytes(b"left")
        other = tmp_path / ".qacomp-not-one-of-ours.part"
        other.write_bytes(b"mine")
        write_atomically(tmp_path / "b", [b"whole"])
        assert {path.name for path in tmp_path.iterdir()} == {living.name, other.name, "b"}
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b", other.name}


def external_model(folder: Path) -> Path:
    """An ONNX model whose weight lies in another file."""
    weight = numpy_helper.from_array(WEIGHTS["w"], "w")
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 32])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [4, 32])
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", [x], [y], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=0)
    return folder / "m.onnx"


def test_the_files_of_a_model_are_its_shards_and_its_external_data(tmp_path: Path) -> None:
    assert list(model_files(external_model(tmp_path))) == [tmp_path / "m.onnx", tmp_path / "weights.bin"]
    index = tmp_path / "m.index.json"
    index.write_text(json.dumps({"weight_map": {"a": "one", "b": "two", "c": "one"}}))
    assert set(model_files(index)) == {index, tmp_path / "one", tmp_path / "two"}
    index.write_text("[1")
    assert list(model_files(index)) == [index]
    with pytest.raises(OutputIsInputError, match=r"weights\.bin"):
        claim([Output(tmp_path / "weights.bin")], command_files([tmp_path / "m.onnx"]), force=True)


def test_the_files_of_a_data_spec(tmp_path: Path) -> None:
    for name in ("train/a/1.png", "data_batch_1", "sub/test_batch.bin", "t10k-labels-idx1-ubyte", "notes.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    found = {kind: {p.name for p in data_files(f"{kind}:{tmp_path}")} for kind in ("images", "cifar10", "mnist")}
    assert found["images"] == {"1.png"} and found["mnist"] == {"t10k-labels-idx1-ubyte"}
    assert found["cifar10"] == {"data_batch_1", "test_batch.bin"}
    assert list(data_files(f"npz:{tmp_path / 'd.npz'}")) == [tmp_path / "d.npz"]
    assert list(data_files("my.module:function")) == [Path("my/module.py")]
    assert not list(data_files("digits")) and not list(data_files(None)) and not list(data_files({"x": 1}))


def test_the_python_interface_loses_nothing(tmp_path: Path) -> None:
    source = external_model(tmp_path)
    kept = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path in kept:
        with pytest.raises(OutputIsInputError):
            qacomp.compress(source, k=4, output=path, force=True)
    other = tmp_path / "notes.txt"
    other.write_text("mine")
    with pytest.raises(OutputExistsError):
        qacomp.compress(source, k=4, output=other)
    result = qacomp.compress(source, k=4, output=tmp_path / "m.qac")
    qacomp.compress(source, k=4, output=tmp_path / "m.qac")
    for path in (*kept, result.output):
        with pytest.raises(OutputIsInputError):
            result.save(path, force=True)
        with pytest.raises(OutputIsInputError):
            result.report(path, measure=False, force=True)
    with pytest.raises(OutputIsInputError):
        result.to_onnx(source, force=True)
    for call in (result.save, result.report, lambda path: qacomp.decode(result, path)):
        with pytest.raises(OutputExistsError):
            call(other)
    assert other.read_text() == "mine" and all(path.read_bytes() == data for path, data in kept.items())
    with pytest.raises(OutputExistsError):
        qacomp.decode(tmp_path / "m.qac", source)
    qacomp.decode(tmp_path / "m.qac", tmp_path / "back.onnx")
    qacomp.decode(tmp_path / "m.qac", tmp_path / "back.onnx", force=True)
