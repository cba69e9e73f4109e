"""Every command: what stands where an output goes stays, and no output is what the command reads."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

Qacomp = Callable[..., Any]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with m.pt and, compressed from it, m.qac."""
    from qacomp.cli.main import main

    folder = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    torch.save({"w": torch.randn(40, 40)}, folder / "m.pt")
    with pytest.raises(SystemExit) as left:
        main(["compress", str(folder / "m.pt"), "--k", "16", "-o", str(folder / "m.qac")])
    assert left.value.code == 0
    return folder


def copied(made: Path, folder: Path) -> dict[str, bytes]:
    """The same two files in a fresh folder, a settings file, and a file of the user's; their bytes."""
    for name in ("m.pt", "m.qac"):
        (folder / name).write_bytes((made / name).read_bytes())
    (folder / "run.toml").write_text("k = 4\n")
    for name in ("mine.txt", "mine.onnx", "mine.svg", "mine.html", "mine.safetensors"):
        (folder / name).write_text("mine")
    return {path.name: path.read_bytes() for path in folder.iterdir()}


COMMANDS = {
    "compress": (["compress", "m.pt", "--config", "run.toml", "-o"], ["m.pt", "run.toml"], "mine.txt"),
    "compress --report": (["compress", "m.pt", "-o", "n.qac", "--report"], ["m.pt", "n.qac"], "mine.html"),
    "decode": (["decode", "m.qac", "-o"], [], "mine.safetensors"),
    "inspect --report": (["inspect", "m.qac", "--report"], ["m.qac"], "mine.html"),
    "plot weights": (["plot", "weights", "m.qac", "-o"], [], "mine.svg"),
    "plot penalty": (["plot", "penalty", "-o"], [], "mine.svg"),
    "plot training": (["plot", "training", "mine.txt", "-o"], [], "mine.svg"),
    "train": (["train", "--arch", "lenet300", "--data", "npz:mine.txt", "-o"], ["mine.txt"], "mine.onnx"),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_no_output_takes_the_place_of_anything(
    qacomp: Qacomp, made: Path, tmp_path: Path, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = copied(made, tmp_path)
    arguments, inputs, other = COMMANDS[command]
    for name in inputs:
        answer = qacomp(*arguments, name, "--force")
        assert answer.code == 1 and len(answer.err.splitlines()) == 1, answer
        assert "which this command reads" in answer.err or "same file" in answer.err
    answer = qacomp(*arguments, other)
    assert answer.code == 1 and f"{other}: exists already" in answer.err and "--force" in answer.err
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == kept


def test_demo_writes_over_nothing(qacomp: Qacomp, tmp_path: Path) -> None:
    for name in ("model.pt", "model.onnx", "model.pt.resume"):
        (tmp_path / name).write_text("mine")
        answer = qacomp("demo", "-o", tmp_path)
        assert answer.code == 1 and f"{name}: exists already" in answer.err
        assert (tmp_path / name).read_text() == "mine"
        (tmp_path / name).unlink()


def test_decode_without_a_name_spares_the_source(qacomp: Qacomp, made: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.randn(40, 40)}, tmp_path / "s.safetensors")
    source = (tmp_path / "s.safetensors").read_bytes()
    assert qacomp("compress", tmp_path / "s.safetensors").code == 0
    assert qacomp("decode", tmp_path / "s.qac").code == 0
    assert (tmp_path / "s.decoded.safetensors").is_file() and (tmp_path / "s.safetensors").read_bytes() == source
    again = qacomp("decode", tmp_path / "s.qac")
    assert again.code == 1 and "s.decoded.safetensors: exists already" in again.err
    assert qacomp("decode", tmp_path / "s.qac", "-f").code == 0


def test_snapshots_of_an_earlier_run_stay(qacomp: Qacomp, made: Path, tmp_path: Path) -> None:
    (tmp_path / "epoch-0001.pt").write_text("mine")
    answer = qacomp("compress", made / "m.pt", "-o", tmp_path / "m.qac", "--snapshots", tmp_path)
    assert answer.code == 1 and "epoch-0001.pt: exists already" in answer.err
    assert not (tmp_path / "m.qac").exists()


@pytest.mark.parametrize("option", ["-o", "--report"])
def test_no_other_output_has_the_name_of_a_snapshot(qacomp: Qacomp, made: Path, tmp_path: Path, option: str) -> None:
    other = tmp_path / ".." / tmp_path.name / "epoch-0004.pt"
    output = () if option == "-o" else ("-o", tmp_path / "m.qac")
    answer = qacomp("compress", made / "m.pt", *output, option, other, "--snapshots", tmp_path)
    assert answer.code == 1 and "the name of a snapshot" in answer.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("path", ["", "new.onnx/"])
def test_an_output_that_is_no_path_of_a_file(
    qacomp: Qacomp, made: Path, tmp_path: Path, command: str, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    kept = copied(made, tmp_path)
    answer = qacomp(*COMMANDS[command][0], path, "--force")
    assert answer.code == 2 and "isn't the path of a file" in answer.err
    assert {name.name: name.read_bytes() for name in tmp_path.iterdir()} == kept


def test_the_files_of_the_data_are_no_output(qacomp: Qacomp, made: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((1, 2), np.float32))
    kept = (tmp_path / "d.npz").read_bytes()
    answer = qacomp("compress", made / "m.pt", "--data", f"npz:{tmp_path / 'd.npz'}", "-fo", tmp_path / "d.npz")
    assert answer.code == 1 and "which this command reads" in answer.err
    assert (tmp_path / "d.npz").read_bytes() == kept


def test_a_folder_is_no_checkpoint(qacomp: Qacomp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in (".", "..", tmp_path, "/"):
        answer = qacomp("compress", folder)
        assert answer.code == 1 and "give the checkpoint file in it" in answer.err
