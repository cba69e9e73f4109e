"""Pipes, devices and oversized files as inputs: one line at once, in every command; nothing waits or reads for ever."""

import io
import json
import os
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx import helper, numpy_helper

import qacomp
from qacomp.cli.main import cli
from qacomp.datasets import load_dataset
from qacomp.datasets.npz import read_arrays
from qacomp.errors import ConfigError, DataError, IrregularFileError, QacompError
from qacomp.formats.regular import open_regular, read_small
from qacomp.options.config import CompressConfig

COMMANDS = (
    "compress {}",
    "decode {} -o out.onnx",
    "eval {}",
    "inspect {}",
    "inspect {} --report page.html",
    "diff {} model.qac",
    "diff model.qac {}",
    "verify {}",
    "verify model.qac --source {}",
    "plot weights {} -o picture.png",
    "compress model.onnx --config {}",
    "compress model.onnx --data npz:{}",
    "eval model.onnx --data npz:{}",
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A model, its container, a pipe that nobody writes to, and links to it and to a device without an end."""
    monkeypatch.chdir(tmp_path)
    weight = numpy_helper.from_array(np.linspace(-1, 1, 1024, dtype=np.float32).reshape(32, 32), "w")
    ends = [helper.make_tensor_value_info(name, 1, [4, 32]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), "model.onnx")
    qacomp.compress({"w": np.linspace(-1, 1, 1024, dtype=np.float32)}, output="model.qac")
    os.mkfifo("pipe")
    for kind in ("onnx", "qac"):
        os.symlink("pipe", f"pipe.{kind}")
        os.symlink("/dev/zero", f"zero.{kind}")
    return tmp_path


@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_waits_for_a_pipe_or_reads_a_device(command: str, folder: Path) -> None:
    for name in ("pipe", "pipe.onnx", "pipe.qac", "zero.onnx", "zero.qac"):
        done = CliRunner().invoke(cli, command.format(name).split())
        assert isinstance(done.exception, QacompError), (name, done.output)
        assert name.partition(".")[0] in str(done.exception)


def test_pipes_among_images_and_shards(folder: Path) -> None:
    from PIL import Image

    for part in ("train", "test"):
        for name in "ab":
            (folder / "images" / part / name).mkdir(parents=True)
            for number in range(10):
                Image.new("L", (8, 8)).save(folder / "images" / part / name / f"{number}.png")
    load_dataset("images:images")
    os.mkfifo("images/train/a/10.png")
    with pytest.raises(DataError, match=r"10\.png is not a regular file"):
        load_dataset("images:images")
    Path("m.bin.index.json").write_text('{"weight_map": {"w": "pipe"}}', encoding="utf-8")
    with pytest.raises(QacompError, match="pipe"):
        qacomp.compress("m.bin.index.json")


def test_a_file_is_read_and_what_is_none_is_named(folder: Path) -> None:
    Path("text").write_bytes(b"12345")
    os.symlink("text", "link")
    with open_regular("link") as file:
        assert file.read() == b"12345"
    assert read_small("text", 5) == b"12345"
    for name, kind in (("pipe", "a pipe"), (".", "a folder"), ("/dev/zero", "a device")):
        with pytest.raises(IrregularFileError, match=kind):
            open_regular(name)
    with pytest.raises(IrregularFileError, match="more than 4 bytes"):
        read_small("text", 4)
    with pytest.raises(FileNotFoundError):
        open_regular("nothing")


def test_settings_that_are_no_settings(folder: Path) -> None:
    Path("deep.toml").write_text("k = " + "[" * 100_000, encoding="utf-8")
    with open("huge.toml", "wb") as file:
        file.truncate(10 << 30)
    with pytest.raises(ConfigError, match=r"deep\.toml: not TOML"):
        CompressConfig.from_toml(Path("deep.toml"))
    with pytest.raises(IrregularFileError, match=r"huge\.toml"):
        CompressConfig.from_toml(Path("huge.toml"))


def _archive(header: bytes, version: int = 1, values: bytes = b"") -> bytes:
    made = io.BytesIO()
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", b"\x93NUMPY" + bytes((version, 0)) + length + header + values)
    return made.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        _archive(b" " * (64 << 20), 2),
        _archive(b"{'descr': '<f4', 'fortran_order': False, 'shape': (-4, 4)}", values=bytes(64 << 20)),
        _archive(b"-" * 9000 + b"1"),
        _archive(b"{'descr': [('a', [('b', 5)])], 'fortran_order': False, 'shape': ()}"),
        _archive(b"{'descr': '|O', 'fortran_order': False, 'shape': (1,)}", values=b"cos\nsystem\n."),
    ],
    ids=["header of 64 MiB", "negative side", "deep expression", "odd descr", "objects"],
)
def test_hostile_headers_of_numpy_archives(data: bytes, tmp_path: Path) -> None:
    import tracemalloc

    (tmp_path / "d.npz").write_bytes(data)
    tracemalloc.start()
    try:
        with pytest.raises(DataError, match=r"d\.npz"):
            read_arrays(tmp_path / "d.npz")
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_an_array_behind_a_plain_header_comes_back(tmp_path: Path) -> None:
    arrays = {"x": np.arange(100_000, dtype=np.float32).reshape(10, -1), "y": np.array(3), "z": np.zeros((0, 4))}
    np.savez_compressed(tmp_path / "d.npz", **arrays)  # type: ignore[arg-type]
    found = read_arrays(tmp_path / "d.npz", ("x", "y"))
    assert all(np.array_equal(found[name], arrays[name]) for name in ("x", "y"))


@pytest.mark.parametrize(
    ("shape", "said"),
    [([0, 2**62, 2**62], "shape"), ([1] * 10_000, "10000 axes"), ([2**62] * 32, "shape"), ([-32, 32], "negative")],
)
def test_shapes_of_onnx_tensors_that_no_array_has(shape: list[int], said: str, folder: Path) -> None:
    model = onnx.load("model.onnx")
    model.graph.initializer[0].dims[:] = shape
    Path("odd.onnx").write_bytes(model.SerializeToString())
    for command in ("compress odd.onnx", "eval odd.onnx --data digits"):
        done = CliRunner().invoke(cli, command.split())
        assert isinstance(done.exception, QacompError), done.output
        assert "odd.onnx" in str(done.exception) and said in str(done.exception)


@pytest.mark.parametrize("place", ["/etc/passwd", "../secret", "link", "pipe", "/dev/zero", "a\0b", ""])
def test_external_data_lies_in_files_beside_the_model(place: str, folder: Path) -> None:
    """Before onnxruntime, which may be an older one that reads any path, sees the model."""
    (folder.parent / "secret").write_bytes(bytes(4096))
    os.symlink("../secret", "link")
    model = onnx.load("model.onnx")
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=place)
    Path("odd.onnx").write_bytes(model.SerializeToString())
    for command in ("compress odd.onnx", "eval odd.onnx --data digits"):
        done = CliRunner().invoke(cli, command.split())
        assert isinstance(done.exception, QacompError), done.output
        assert "odd.onnx: tensor 'w' has its data in" in str(done.exception)


def test_tensors_that_no_container_or_array_holds(folder: Path) -> None:
    """Too many axes, and booleans that are neither true nor false: refused before a container that can't be read."""
    import torch
    from safetensors.torch import save_file

    for axes in (40, 60):
        torch.save({"w": torch.ones([1] * (axes - 1) + [40])}, f"axes{axes}.pt")
        for command in (f"compress axes{axes}.pt", f"plot weights axes{axes}.pt -o picture.png"):
            done = CliRunner().invoke(cli, command.split())
            assert isinstance(done.exception, QacompError), done.output
            assert f"axes{axes}.pt" in str(done.exception) and f"{axes} axes" in str(done.exception)
    save_file({"w": torch.ones(100, dtype=torch.bool)}, "odd.safetensors")
    content = Path("odd.safetensors").read_bytes()
    Path("odd.safetensors").write_bytes(content[:-1] + b"\x02")
    with pytest.raises(QacompError, match=r"odd\.safetensors.*truth value"):
        qacomp.compress("odd.safetensors", output="odd.qac")
    Path("odd.safetensors").write_bytes(content)
    qacomp.compress("odd.safetensors", output="odd.qac")
    assert qacomp.decode("odd.qac")["w"].all()
    model = onnx.load("model.onnx")
    model.graph.initializer.add(name="b", data_type=onnx.TensorProto.BOOL, dims=[100], raw_data=b"\x02" * 100)
    onnx.save(model, "odd.onnx")
    with pytest.raises(QacompError, match=r"odd\.onnx.*truth value"):
        qacomp.compress("odd.onnx", output="odd.qac", force=True)


def test_a_file_of_zeros_is_named_so_at_once(folder: Path) -> None:
    with open("zeros.pt", "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(QacompError, match=r"zeros\.pt.*zeros"):
        qacomp.compress("zeros.pt")


@pytest.mark.parametrize("kind", ["npz", "images", "mnist", "cifar10"])
def test_the_home_of_nobody_is_no_place_of_data(kind: str, folder: Path) -> None:
    for command in ("compress model.onnx -fo new.qac", "eval model.onnx", "train --arch lenet5 -fo new.pt"):
        done = CliRunner().invoke(cli, [*command.split(), "--data", f"{kind}:~nosuchuser/x"])
        assert isinstance(done.exception, DataError) and "~nosuchuser" in str(done.exception), done.output


@pytest.mark.parametrize(
    "shard", ["", ".", "..", "x/../m.safetensors", "a" * 5000, "a\0b", "\ud800", "C:\\m", "/etc/passwd"]
)
def test_shards_of_impossible_names(shard: str, folder: Path) -> None:
    Path("m.bin.index.json").write_text(json.dumps({"weight_map": {"w": shard}}), encoding="utf-8")
    Path("there.qac").write_bytes(Path("model.qac").read_bytes())
    for command in ("compress m.bin.index.json -fo there.qac", "verify model.qac --source m.bin.index.json"):
        done = CliRunner().invoke(cli, command.split())
        assert isinstance(done.exception, QacompError), done.output
        assert len(str(done.exception)) < 500
    assert Path("there.qac").read_bytes() == Path("model.qac").read_bytes()


def test_a_network_of_a_size_that_no_tensor_has_is_never_made(folder: Path) -> None:
    import torch

    from qacomp.models import create_model

    state = create_model("lenet300", 10).state_dict()
    torch.save(state, "net.pt")
    torch.save(state | {"fc3.weight": torch.zeros(2**40, 0), "fc3.bias": torch.zeros(0)}, "vast.pt")
    for command in (
        "compress net.pt --arch lenet300 --num-classes 1000000000000",
        "compress net.pt --arch lenet300 --num-classes 10000000",
        "compress net.pt --arch lenet300 --data digits --preprocess size=1000000000000",
        "compress net.pt --arch lenet300 --data digits --preprocess mean=nan",
        "compress vast.pt --arch lenet300",
        "compress vast.pt",
    ):
        done = CliRunner().invoke(cli, command.split())
        assert isinstance(done.exception, QacompError) or "vast.pt" in command, done.output
        assert done.exception is None or isinstance(done.exception, QacompError), done.output


def test_an_error_is_no_longer_than_a_screen(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from qacomp.cli.main import main

    Path("long.toml").write_text("k = {" + ",".join(f"w{i} = 4" for i in range(10_000)) + "}", encoding="utf-8")
    Path("digits.toml").write_text("seed = " + "9" * 100_000, encoding="utf-8")
    for name in ("long.toml", "digits.toml"):
        with pytest.raises(SystemExit):
            main(["compress", "model.onnx", "--config", name])
        said = capsys.readouterr().err
        assert name in said and len(said) < 2100 and "a bug in" not in said


def test_a_graph_may_take_each_tensor_of_its_container_once(folder: Path) -> None:
    """A kilobyte could decode to twenty thousand weights, each looked at for every form."""
    from qacomp.formats import open_file, save_file

    qacomp.compress("model.onnx", output="whole.qac")
    with open_file("whole.qac") as container:
        model = onnx.ModelProto.FromString(container.graph() or b"")
        tensors, meta = {"w": container.tensor("w")}, dict(container.meta)
    first = model.graph.initializer[0]
    for number in range(2000):
        model.graph.initializer.add().CopyFrom(first)
        model.graph.initializer[-1].name = f"w{number}"
    for reference in ("qacomp", "location"):
        again = onnx.ModelProto.FromString(model.SerializeToString())
        for tensor in again.graph.initializer[1:]:
            tensor.external_data[0].key = reference
        save_file("many.qac", tensors, graph=again.SerializeToString(), meta=meta)
        for command in ("decode many.qac -fo out.onnx", "decode many.qac -fo out.onnx --onnx lut", "eval many.qac"):
            done = CliRunner().invoke(cli, command.split())
            assert isinstance(done.exception, QacompError) and "many.qac" in str(done.exception), done.output
        assert not Path("out.onnx").exists()
