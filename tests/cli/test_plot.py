"""`qacomp plot`: its pictures, its JSON, and one line for whatever can't be drawn."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.formats import SharedTensor, save_file

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json

BLOCKED = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == {name!r}:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Block())
from qacomp.cli.main import main
main(sys.argv[1:])
"""


def without(name: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-P", "-c", BLOCKED.format(name=name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def make_container(path: Path, layers: int = 3) -> Path:
    rng = np.random.default_rng(0)
    book = np.array([-0.5, 0.0, 0.25, 0.75], np.float32)
    names = [f"layer{i}.weight" for i in range(layers)]
    save_file(path, {name: SharedTensor(book, rng.integers(0, 4, (12, 10)).astype(np.uint8)) for name in names})
    return path


def test_penalties_side_by_side(qacomp: Qacomp, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "penalty.svg"
    answer = qacomp("plot", "penalty", "--reg", "sin,exp", "--reg", "min", "--k", "4", "-o", target, "--json")
    assert answer.code == 0
    assert [p["reg"] for p in answer.json["panels"]] == ["sin", "exp", "min"]
    assert all(p["k"] == len(p["levels"]) == 4 for p in answer.json["panels"])
    assert answer.json["output_bytes"] == target.stat().st_size
    first = target.read_bytes()
    assert qacomp("plot", "penalty", "--reg", "sin,exp,min", "--k", "4", "-o", target, "-f").code == 0
    assert target.read_bytes() == first


def test_before_and_after(qacomp: Qacomp, trained: Path, packed: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    target = tmp_path / "weights.png"
    answer = qacomp("plot", "weights", trained, packed, "-o", target, "--log", "--json")
    assert answer.code == 0 and answer.err == ""
    panels = answer.json["panels"]
    assert [(p["layer"], p["k"]) for p in panels] == [
        (f"{layer}.weight", k) for layer in dict.fromkeys(p["layer"][:-7] for p in panels) for k in (None, 8)
    ]
    assert len(panels) == 6 and answer.json["left_out"] == []
    assert target.read_bytes().startswith(b"\x89PNG")


def test_what_is_left_out_is_named(qacomp: Qacomp, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    container = make_container(tmp_path / "m.qac", 5)
    target = tmp_path / "w.svg"
    answer = qacomp("plot", "weights", container, "--max-panels", "3", "-o", target, "--json")
    assert answer.json["left_out"] == ["layer3.weight", "layer4.weight"]
    assert "3 of 5 layers are drawn" in answer.err and "layer3.weight, layer4.weight" in answer.err
    assert "3 of 5 layers" in target.read_text()
    answer = qacomp("plot", "weights", container, "--layers", "layer4,layer0", "-o", target, "-f", "--json")
    assert [p["layer"] for p in answer.json["panels"]] == ["layer0.weight", "layer4.weight"]
    other = make_container(tmp_path / "n.qac", 1)
    answer = qacomp("plot", "weights", container, other, "--layers", "layer?", "-o", target, "-f", "--json")
    assert "n.qac: has no layer layer4.weight" in answer.err
    assert len(answer.json["panels"]) == 6


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (("penalty", "-o", "p.jpg"), ("p.jpg", ".png or .svg")),
        (("penalty", "-o", "missing/p.png"), ("missing", "doesn't exist")),
        (("penalty", "--reg", "sinus", "-o", "p.png"), ("unknown regularizer 'sinus'",)),
        (("penalty", "--low", "1", "--high", "-1", "-o", "p.png"), ("--low 1 --high -1",)),
        (("penalty", "--reg", "cos", "--levels", "-0.5,0.4", "-o", "p.png"), ("levels of cos",)),
        (("weights", "m.qac", "-o", "p.pdf"), ("p.pdf", ".png or .svg")),
        (("weights", "absent.qac", "-o", "p.png"), ("absent.qac", "does not exist")),
        (("weights", "broken.qac", "-o", "p.png"), ("broken.qac",)),
        (("weights", "text.pt", "-o", "p.png"), ("text.pt",)),
        (("weights", "m.qac", "--layers", "conv9", "-o", "p.png"), ("m.qac", "--layers conv9")),
        (("weights", "m.qac", "--layers", "layer0,conv9", "-o", "p.png"), ("--layers conv9", "layer0.weight")),
        (("weights", "nan.qac", "-o", "p.png"), ("nan.qac", "fc.weight", "NaN")),
        (("weights", *["m.qac"] * 9, "-o", "p.png"), ("9 files",)),
        (("weights", "m.qac", "m.qac", "--max-panels", "1", "-o", "p.png"), ("2 files", "--max-panels")),
    ],
)
def test_what_cannot_be_drawn(
    qacomp: Qacomp,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    fragments: tuple[str, ...],
) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    good = make_container(Path("m.qac")).read_bytes()
    Path("broken.qac").write_bytes(good[: len(good) // 2])
    Path("text.pt").write_text("no checkpoint " * 50)
    save_file("nan.qac", {"fc.weight": np.full((3, 3), np.nan, np.float32)})
    answer = qacomp("plot", *arguments)
    assert answer.code == 1
    assert len(answer.err.splitlines()) == 1 and answer.err.startswith("qacomp: error: ")
    for fragment in fragments:
        assert fragment in answer.err
    assert not list(tmp_path.glob("p.*"))


def test_usage(qacomp: Qacomp, tmp_path: Path) -> None:
    assert qacomp("plot", "weights", "-o", tmp_path / "p.png").code == 2
    assert qacomp("plot", "penalty", "--k", "1", "-o", tmp_path / "p.png").code == 2
    assert qacomp("plot", "penalty").code == 2
    for command in (("plot",), ("plot", "penalty"), ("plot", "weights")):
        answer = qacomp(*command, "--help")
        assert answer.code == 0 and "--json" in answer.out


def test_without_matplotlib_one_line_says_what_to_install(tmp_path: Path) -> None:
    done = without("matplotlib", "plot", "penalty", "-o", tmp_path / "p.png")
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "need matplotlib" in done.stderr and "qacomp[plot]" in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_container_is_drawn_without_torch(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    container = make_container(tmp_path / "m.qac")
    done = without("torch", "plot", "weights", container, "-o", tmp_path / "w.svg")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "w.svg").read_bytes().startswith(b"<?xml")


def history(path: Path, penalty: float, epochs: int = 3, **more: Any) -> Path:
    """A document with a training of some epochs, and one epoch of tuning after it."""
    rows = [
        {
            "stage": "train",
            "epoch": i + 1,
            "loss": 1 / (i + 1),
            "penalty": penalty,
            "validation_accuracy": 90 + i,
            **more,
        }
        for i in range(epochs)
    ]
    path.write_text(json.dumps({"history": [*rows, rows[0] | {"stage": "tune", "penalty": 0.0}]}))
    return path


def test_trainings_with_and_without_a_penalty(qacomp: Qacomp, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    files = [history(tmp_path / "with_$x$.json", 0.5), history(tmp_path / "without.json", 0.0, epochs=1)]
    target = tmp_path / "training.svg"
    answer = qacomp("plot", "training", *files, "-o", target, "--json")
    assert answer.code == 0, answer.err
    assert answer.json["panels"] == ["loss", "penalty", "validation accuracy"]
    assert [(t["stage"], t["epochs"]) for t in answer.json["trainings"]] == [("train", 3), ("train", 1)]
    first, text = target.read_bytes(), target.read_text()
    assert "1. with_$x$.json: train, 3 epochs" in text and "2. without.json: train, 1 epochs" in text
    assert text.count('id="training-0"') == 3 and text.count('id="training-1"') == 3
    assert qacomp("plot", "training", *files, "-o", target, "-f").code == 0 and target.read_bytes() == first
    alone = qacomp("plot", "training", files[1], "-o", tmp_path / "alone.png", "--json")
    assert alone.json["panels"] == ["loss", "validation accuracy"]
    other = history(tmp_path / "dice.json", 0.0, validation_accuracy=None, metric="dice", validation=0.5)
    both = qacomp("plot", "training", files[0], other, "-o", tmp_path / "both.png", "--json")
    assert both.json["panels"] == ["loss", "penalty", "validation accuracy", "validation dice"]


@pytest.mark.parametrize(
    "text", ["{", "[1]", "{}", '{"history": 3}', '{"history": []}', '{"history": [{"stage": "a"}]}', "[" * 100_000]
)
def test_what_is_no_history_is_a_line(qacomp: Qacomp, tmp_path: Path, text: str) -> None:
    pytest.importorskip("matplotlib")
    (tmp_path / "x.json").write_text(text)
    answer = qacomp("plot", "training", tmp_path / "x.json", "-o", tmp_path / "x.png")
    assert answer.code == 1 and len(answer.err.splitlines()) == 1
    assert "x.json: not the history of a training" in answer.err and not (tmp_path / "x.png").exists()


def test_a_loss_that_is_no_number_is_a_line(qacomp: Qacomp, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    file = history(tmp_path / "x.json", float("nan"))
    answer = qacomp("plot", "training", file, "-o", tmp_path / "x.png")
    assert answer.code == 1 and "not the history of a training" in answer.err
    nine = qacomp("plot", "training", *[history(tmp_path / "y.json", 0.0)] * 9, "-o", tmp_path / "x.png")
    assert nine.code == 1 and "give at most 8" in nine.err
