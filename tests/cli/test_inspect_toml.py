"""`inspect --toml`: with these settings compress makes the same bytes again, of every kind of source."""

import importlib.util
import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import save_file as save_safetensors

import qacomp as package
from qacomp.formats import SharedTensor, save_file
from qacomp.models import create_model
from qacomp.options.config import CompressConfig

Qacomp = Callable[..., Any]
TRAINED = ("--epochs", "1", "--tune-epochs", "1", "--batch-size", "500")


@pytest.fixture(scope="module")
def cases() -> ModuleType:
    """The small models and settings of tests/digests. Tests are no package."""
    path = Path(__file__).parents[1] / "digests" / "cases.py"
    spec = importlib.util.spec_from_file_location("digest_cases", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def folder(cases: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model file of each kind, and data for those that are trained."""
    made = tmp_path_factory.mktemp("sources")
    torch.manual_seed(0)
    torch.save(create_model("lenet300", 10).state_dict(), made / "state.pth")
    onnx.save(cases.graph(), made / "model.onnx")
    save_safetensors(cases.arrays(), made / "bare.safetensors")
    cases._scripted(made)
    cases._pickled(made)
    np.savez(made / "images.npz", **cases.images())
    return made


DIGITS = ["state.pth", "--arch", "lenet300", "--data", "digits"]
COMMANDS: dict[str, tuple[list[str], list[str]]] = {
    "state dict": ([*DIGITS, "--reg", "exp", "--k", "4,fc3=8", *TRAINED], []),
    "state dict, levels": ([*DIGITS, "--levels", "4,8", *TRAINED], []),
    "state dict, pruned": ([*DIGITS, "--prune", "magnitude:epochs=1", *TRAINED[2:]], []),
    "state dict, quantizer": ([*DIGITS, "--quantizer", "dorefa", "--bits", "3", "--reg", "sinreq", *TRAINED[:2]], []),
    "state dict, tuned": ([*DIGITS, "--codebook", "channel", *TRAINED[2:]], []),
    "state dict without data": ([*DIGITS[:3], "--reg", "exp", "--include", "fc1.*"], []),
    "bare tensors": (["bare.safetensors", "--min-size", "1", "--k", "4"], []),
    "bare tensors, levels": (["bare.safetensors", "--min-size", "1", "--levels", "4,16"], []),
    "ONNX": (["model.onnx", "--k", "8"], []),
    "ONNX, grid": (["model.onnx", "--codebook", "affine4:16"], []),
    "ONNX, levels": (["model.onnx", "--levels", "4,16"], []),
    "TorchScript": (["small.jit", "--trust-pickle", "--input", "2,1,8,8"], ["--trust-pickle"]),
    "pickled module": (
        ["small.pt", "--trust-pickle", "--data", "npz:images.npz", "--reg", "exp", *TRAINED[:4]],
        ["--trust-pickle", "--data", "npz:images.npz"],
    ),
    "pickled module, exported": (["small.pt", "--trust-pickle", "--input", "batch,1,8,8"], ["--trust-pickle"]),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_the_settings_make_the_same_bytes(
    qacomp: Qacomp, folder: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    words, again = COMMANDS[name]
    first = qacomp("compress", *words, "-o", tmp_path / "a.qac", "--json")
    assert first.code == 0, first.err
    shown = qacomp("inspect", tmp_path / "a.qac", "--toml")
    assert shown.code == 0 and ("--data names a file" in shown.err) == ("npz:images.npz" in again)
    (tmp_path / "run.toml").write_text(shown.out, encoding="utf-8")
    second = qacomp("compress", words[0], "--config", tmp_path / "run.toml", *again, "-o", tmp_path / "b.qac", "--json")
    assert second.code == 0, second.err
    assert (tmp_path / "a.qac").read_bytes() == (tmp_path / "b.qac").read_bytes()
    assert set(second.json["notes"]) <= set(first.json["notes"])


@pytest.mark.parametrize("name", ["exp", "levels", "energy", "wrpn", "straight-through", "affine4", "without data"])
def test_a_module_of_the_users(cases: ModuleType, qacomp: Qacomp, tmp_path: Path, name: str) -> None:
    settings = cases._chosen(cases.NETWORKS[name])
    data = {} if name == "without data" else {"data": cases.images()}
    first = package.compress(cases.small(), output=tmp_path / "a.qac", input_shape=(1, 8, 8), **data, **settings)
    (tmp_path / "run.toml").write_text(qacomp("inspect", tmp_path / "a.qac", "--toml").out, encoding="utf-8")
    config, output = tmp_path / "run.toml", tmp_path / "b.qac"
    second = package.compress(cases.small(), config=config, output=output, input_shape=(1, 8, 8), **data)
    assert (tmp_path / "a.qac").read_bytes() == (tmp_path / "b.qac").read_bytes()
    assert set(second.notes) <= set(first.notes)


def written(path: Path, settings: str | None) -> Path:
    book, indices = np.array([0.0, 1.0], np.float32), np.arange(300).reshape(10, 30) % 2
    meta = {} if settings is None else {"settings": settings}
    save_file(path, {"w": SharedTensor(book, indices.astype(np.uint8))}, meta=meta)
    return path


def test_a_file_or_a_function_is_a_comment(qacomp: Qacomp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_mod.py").write_text("open('EXECUTED', 'w').close()\n")
    for spec, opened in (("evil_mod:f", False), ("npz:d.npz", False), ("digits", True)):
        answer = qacomp("inspect", written(tmp_path / "a.qac", f'data = "{spec}"\nk_layers = {{data = 4}}'), "--toml")
        table = tomllib.loads(answer.out)
        assert answer.code == 0 and table["k_layers"] == {"data": 4} and table["metric"] == "auto"
        assert table.get("data") == (spec if opened else None) and f'data = "{spec}"' in answer.out
        assert ("--data names a file or a function" in answer.err) == (not opened)
        (tmp_path / "a.qac").unlink()
    answer = qacomp("inspect", written(tmp_path / "a.qac", 'metric = "evil_mod:f"'), "--toml")
    assert "metric" not in tomllib.loads(answer.out) and '# metric = "evil_mod:f"' in answer.out
    assert sorted(os.listdir(tmp_path)) == ["a.qac", "evil_mod.py"]


def test_text_of_any_kind_stays_text(qacomp: Qacomp, tmp_path: Path) -> None:
    name = "\x1b[31mred\u202e\nk = 99"
    text = 'include = ["\\u001b[31mred\\u202e\\nk = 99"]\ndata = "a\\nk = 98"\n'
    answer = qacomp("inspect", written(tmp_path / "a.qac", text), "--toml")
    assert tomllib.loads(answer.out)["include"] == [name] and "k" not in tomllib.loads(answer.out)
    assert all(c == "\n" or c.isprintable() for c in answer.out)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (None, "holds no settings"),
        ("k = ", "valid TOML"),
        ("zzz = 1", "unknown setting 'zzz'"),
        ("k = 'x'", "wrong type"),
    ],
)
def test_what_is_no_settings_is_one_line(qacomp: Qacomp, tmp_path: Path, settings: str | None, told: str) -> None:
    answer = qacomp("inspect", written(tmp_path / "a.qac", settings), "--toml")
    assert answer.code == 1 and answer.out == "" and told in answer.err and len(answer.err.splitlines()) == 1


EARLIER = """reg = "exp"
sharing = "straight-through"
entropy = 0.05
side = "exact"
init = "uniform"
range = "layer"
domain = "auto"
learn_bits = false
bits_penalty = 0.03
slices = 2
schedule = "warmup"
warmup = 0.3
quantizer = "none"
ends = "same"
quantizer_scale = "unit"
distill = "kd"
distill_weight = 0.9
temperature = 2.0
prune = "energy"
prune_rate = 0.4
prune_epochs = 3
prune_unit = "weight"
prune_objective = "cross-entropy"
population = 5
momentum = 0.8
weight_decay = 0.001
size = [28, 30]
mean = [0.5]
run_seconds = 9.0
run_memory = "4GB"
"""


def test_settings_of_earlier_versions_get_their_present_names(qacomp: Qacomp, tmp_path: Path) -> None:
    answer = qacomp("inspect", written(tmp_path / "a.qac", EARLIER), "--toml")
    assert answer.code == 0, answer.err
    assert {name: value for name, value in tomllib.loads(answer.out).items() if name in tomllib.loads(EARLIER)} == {
        "reg": "exp:init=uniform,slices=2",
        "sharing": "straight-through:entropy=0.05",
        "schedule": "warmup:fraction=0.3",
        "quantizer": "none",
        "distill": "kd:temperature=2,weight=0.9",
        "prune": "energy:epochs=3,objective=cross-entropy,population=5,rate=0.4",
    }
    now = tomllib.loads(answer.out)
    assert (now["stored_precision"], now["optimizer"]) == ("exact", "sgd:momentum=0.8,weight_decay=0.001")
    assert (now["preprocess"], now["run_limits"]) == ("size=28x30,mean=0.5", "seconds=9,memory=4GB")
    CompressConfig().with_settings(now, "test").check()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ("sharing = 'straight-through'\nentropy = [1]", "entropy = [1]: a hyper-parameter must be"),
        ("size = 'x'", "size = 'x' has the wrong type"),
        ("reg = '!'\nslices = 3", "write NAME or NAME:HYPER_PARAMETER"),
    ],
)
def test_an_earlier_setting_that_can_not_be_is_one_line(
    qacomp: Qacomp, tmp_path: Path, settings: str, told: str
) -> None:
    answer = qacomp("inspect", written(tmp_path / "a.qac", settings), "--toml")
    assert answer.code == 1 and answer.out == "" and told in answer.err and len(answer.err.splitlines()) == 1


def test_a_users_own_settings_are_not_translated(qacomp: Qacomp, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text("entropy = 0.1\n", encoding="utf-8")
    answer = qacomp("compress", tmp_path / "m.pt", "--config", tmp_path / "run.toml")
    assert answer.code == 1 and "it is now --sharing straight-through:entropy=..." in answer.err


def test_toml_stands_alone(qacomp: Qacomp, tmp_path: Path) -> None:
    path = written(tmp_path / "a.qac", "k = 4")
    for other in (["--json"], ["--report", tmp_path / "r.html"]):
        answer = qacomp("inspect", path, "--toml", *other)
        assert answer.code == 2 and "--toml prints the settings only" in answer.err
