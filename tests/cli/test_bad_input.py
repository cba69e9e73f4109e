"""Bad input ends in one clear line, exit code 1 (2 for usage), and no output, whole or partial."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json


class Custom:
    """A class that a pickle may ask for."""


def expect(answer: Any, code: int, *fragments: str) -> None:
    assert answer.code == code, answer.err
    line = answer.err.strip().splitlines()[-1]
    assert line.startswith("qacomp: error: ") if code == 1 else "Error: " in answer.err
    for fragment in fragments:
        assert fragment in answer.err, answer.err


def make_bad_checkpoints(folder: Path) -> dict[str, tuple[Path, tuple[str, ...]]]:
    good = folder / "good.pt"
    torch.save({"fc.weight": torch.randn(30, 30)}, good)
    bad = {
        "missing": (folder / "missing.pt", ("missing.pt",)),
        "folder": (folder, (folder.name,)),
        "empty": (folder / "empty.pt", ("empty.pt", "empty")),
        "text": (folder / "text.pt", ("text.pt",)),
        "truncated": (folder / "truncated.pt", ("truncated.pt",)),
        "class": (folder / "class.pt", ("class.pt", "--trust-pickle")),
        "nan": (folder / "nan.pt", ("nan.pt", "layer2.weight", "NaN")),
        "infinite": (folder / "infinite.pt", ("infinite.pt", "layer2.weight", "inf")),
    }
    (folder / "empty.pt").touch()
    (folder / "text.pt").write_text("<html>not found</html>" * 50)
    (folder / "truncated.pt").write_bytes(good.read_bytes()[:-500])
    torch.save({"weight": Custom()}, folder / "class.pt")
    weight = torch.randn(20, 20)
    for name, value in (("nan", float("nan")), ("infinite", float("inf"))):
        spoiled = weight.clone()
        spoiled[3, 4] = value
        torch.save({"layer1.weight": weight, "layer2.weight": spoiled}, folder / f"{name}.pt")
    return bad


@pytest.mark.parametrize("kind", ["missing", "folder", "empty", "text", "truncated", "class", "nan", "infinite"])
@pytest.mark.parametrize("command", ["compress", "eval"])
def test_a_checkpoint_that_is_none(qacomp: Qacomp, tmp_path: Path, kind: str, command: str) -> None:
    path, fragments = make_bad_checkpoints(tmp_path)[kind]
    if command == "eval" and kind in ("nan", "infinite"):  # weights without an architecture, whatever they hold
        fragments = (path.name, "--arch")
    expect(qacomp(command, path), 1, *fragments)
    assert not list(tmp_path.glob("*.qac*"))


def test_the_distiller_checkpoint_is_refused_and_its_class_never_imported(
    qacomp: Qacomp, shared_dir: Path, tmp_path: Path
) -> None:
    path = shared_dir / "ckpt" / "distiller_resnet20_channel_pruned_ft.pth.tar"
    expect(qacomp("compress", path, "--arch", "resnet20", "-o", tmp_path / "x.qac"), 1, "distiller.", "--trust-pickle")
    assert not list(tmp_path.iterdir())


def test_a_wrong_architecture_names_keys_and_shapes(qacomp: Qacomp, trained: Path, tmp_path: Path) -> None:
    output = tmp_path / "x.qac"
    expect(qacomp("compress", trained, "--arch", "lenet5", "-o", output), 1, "lenet5", "conv1.weight", "fc1.weight")
    expect(qacomp("compress", trained, "--arch", "lenet55", "-o", output), 1, "lenet55", "lenet5")
    assert not output.exists()


@pytest.mark.parametrize(
    "spec", ["digit", "mnist:", "mnist:/nowhere/at/all", "npz:missing.npz", "cifar10:.", "os:getcwd"]
)
def test_data_that_can_not_be_read(qacomp: Qacomp, trained: Path, tmp_path: Path, spec: str) -> None:
    expect(qacomp("compress", trained, "--data", spec, "-o", tmp_path / "x.qac"), 1)
    assert not list(tmp_path.iterdir())


def test_labels_out_of_range(qacomp: Qacomp, trained: Path, tmp_path: Path) -> None:
    images, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 12
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    answer = qacomp("compress", trained, "--data", f"npz:{tmp_path / 'd.npz'}", "-o", tmp_path / "x.qac")
    expect(answer, 1, "12 classes", "10")
    np.savez(tmp_path / "d.npz", x_train=images, y_train=labels - 5, x_test=images, y_test=labels)
    expect(qacomp("compress", trained, "--data", f"npz:{tmp_path / 'd.npz'}", "-o", tmp_path / "x.qac"), 1, "label")


@pytest.mark.parametrize("flags", [("--k", "1"), ("--k", "70000"), ("--k", "fc1=0"), ("--k", "nosuch=4")])
def test_a_k_that_can_not_be(qacomp: Qacomp, trained: Path, tmp_path: Path, flags: tuple[str, ...]) -> None:
    answer = qacomp("compress", trained, *flags, "-o", tmp_path / "x.qac")
    expect(answer, 1, "k" if "nosuch" not in flags[1] else "nosuch")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "flags",
    [
        ("--k", "many"),
        ("--scope", "some"),
        ("--nothing",),
        ("--device", "tpu"),
    ],
)
def test_a_wrong_command_line_is_a_usage_error(qacomp: Qacomp, trained: Path, flags: tuple[str, ...]) -> None:
    expect(qacomp("compress", trained, *flags), 2)


@pytest.mark.parametrize(
    ("flags", "fragment"),
    [
        (("--reg", "tan"), "exp"),
        (("--lr", "0"), "lr"),
        (("--epochs", "-1"), "epochs"),
        (("--preprocess", "size=0"), "--preprocess: size = 0: must lie"),
        (("--preprocess", "size=3x4x5"), "write 32 or 32x48"),
        (("--preprocess", "mean=a,b"), "must be numbers"),
        (("--preprocess", "mean=0.1,0.2"), "mean has 2 values"),
        (("--preprocess", "std=0"), "std = 0.0: must be greater"),
        (("--preprocess", "32"), "write PART=VALUE"),
        (("--preprocess", "sizes=3"), "did you mean 'size'?"),
        (("--preprocess", "std=1,std=1"), "given twice"),
        (("--strength", "-1"), "strength"),
        (("--lr", "nan"), "lr"),
        (("--lr", "1e9"), "--lr"),
    ],
)
def test_a_setting_that_can_not_work(
    qacomp: Qacomp, trained: Path, tmp_path: Path, flags: tuple[str, ...], fragment: str
) -> None:
    expect(qacomp("compress", trained, "--reg", "exp", "--epochs", "1", *flags, "-o", tmp_path / "x.qac"), 1, fragment)
    assert not (tmp_path / "x.qac").exists()


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("k = ", "TOML"),
        ("unknown = 1\n", "unknown"),
        ('k = "8"\n', "k"),
        ("k = true\n", "k"),
        ("k_layers = 3\n", "k_layers"),
    ],
)
def test_a_bad_config_file(qacomp: Qacomp, trained: Path, tmp_path: Path, text: str, fragment: str) -> None:
    (tmp_path / "run.toml").write_text(text)
    expect(qacomp("compress", trained, "--config", tmp_path / "run.toml"), 1, "run.toml", fragment)
    expect(qacomp("compress", trained, "--config", tmp_path / "missing.toml"), 1, "missing.toml")


@pytest.mark.parametrize("target", ["no/such/folder/x.qac", "."])
def test_an_output_that_can_not_be_written(
    qacomp: Qacomp, trained: Path, packed: Path, tmp_path: Path, target: str
) -> None:
    path = tmp_path / target
    assert qacomp("compress", trained, "-o", path).code in (1, 2)
    assert qacomp("decode", packed, "-o", path.with_suffix(".onnx") if target != "." else path).code in (1, 2)
    assert qacomp("train", "--arch", "lenet300", "--data", "digits", "-o", path).code in (1, 2)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["decode", "verify", "inspect", "eval"])
def test_a_container_that_is_none(qacomp: Qacomp, packed: Path, tmp_path: Path, command: str) -> None:
    whole = packed.read_bytes()
    flipped = bytearray(whole)
    flipped[len(flipped) // 2] ^= 0x10
    for name, data in (("empty", b""), ("text", b"hello" * 99), ("cut", whole[:-9]), ("flipped", bytes(flipped))):
        path = tmp_path / f"{name}.qac"
        path.write_bytes(data)
        expect(qacomp(command, path), 1, path.name)
    assert not list(tmp_path.glob("*.onnx"))
    expect(qacomp(command, tmp_path / "missing.qac"), 1, "missing.qac")


def test_decode_to_something_else(qacomp: Qacomp, packed: Path, tmp_path: Path) -> None:
    expect(qacomp("decode", packed, "-o", tmp_path / "model.tflite"), 1, ".onnx", ".safetensors")


def test_an_error_is_json_with_json(qacomp: Qacomp, tmp_path: Path) -> None:
    answer = qacomp("compress", tmp_path / "missing.pt", "--json")
    assert answer.code == 1
    assert answer.json["error"]["type"] == "NotACheckpointError"


def test_debug_shows_the_traceback(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    from qacomp.cli.main import main

    with pytest.raises(SystemExit):
        main(["verify", str(tmp_path / "missing.qac"), "--debug"])
    assert "Traceback" in capfd.readouterr().err
