"""Strings in checkpoints, containers and ONNX files name built-in kinds alone: nothing is imported or opened."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

import qacomp as package
from qacomp.exporting.onnx_model import METADATA_KEY
from qacomp.formats import open_file, save_file
from qacomp.models import create_model

Qacomp = Callable[..., Any]


@pytest.fixture
def evil(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """A module in the working folder, and data there; whether any of it was used."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "evil_mod.py").write_text("open('EXECUTED', 'w').close()\ndef f(*_): return 1.0\n")
    (tmp_path / "d.npz").write_bytes(b"never read")
    opened: list[Any] = []
    monkeypatch.setattr("qacomp.datasets.npz.read_arrays", lambda *a: opened.append(a))
    monkeypatch.setattr("qacomp.evaluation.samples.read_arrays", lambda *a: opened.append(a))
    return lambda: (tmp_path / "EXECUTED").exists() or bool(opened)


SPECS = ["evil_mod:f", "npz:d.npz", "images:.", "cifar10:.", "mnist:/", "evil_mod.f:g", "digits:x", "nothing"]


def rewritten(source: Path, target: Path, **changes: Any) -> None:
    """A container with other metadata and new checksums."""
    with open_file(source) as c:
        tensors = {n: (c.shared(n) if c.info(n).k is not None else c.tensor(n)) for n in c.names}
        save_file(target, tensors, graph=c.graph(), meta=c.meta | changes)


def small_model(folder: Path) -> Path:
    weight = np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [10, 32])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [10, 32])
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", [x], [y], [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")
    return folder / "m.onnx"


@pytest.mark.parametrize("spec", SPECS)
def test_data_that_an_onnx_container_names(qacomp: Qacomp, evil: Callable[[], bool], spec: str, tmp_path: Path) -> None:
    assert qacomp("compress", small_model(tmp_path), "--k", "4").code == 0
    rewritten(tmp_path / "m.qac", tmp_path / "e.qac", data=spec, settings=f'metric = "{spec}"\n')
    decoded = qacomp("decode", "e.qac", "-o", "e.onnx")
    assert decoded.code == 0 and "isn't used" in decoded.err and "give --data" in decoded.err
    measured = qacomp("eval", "e.qac")
    assert measured.code == 1 and "isn't used" in measured.err
    for command in ("inspect", "verify"):
        assert qacomp(command, "e.qac").code == 0
    assert qacomp("inspect", "e.qac", "--report", "r.html").code == 0
    package.decode("e.qac")
    assert not evil()


def test_a_metric_that_a_container_names(qacomp: Qacomp, evil: Callable[[], bool], tmp_path: Path) -> None:
    assert qacomp("compress", small_model(tmp_path), "--k", "4").code == 0
    rewritten(tmp_path / "m.qac", tmp_path / "e.qac", settings='metric = "evil_mod:f"\n')
    (tmp_path / "mine.py").write_text(
        "import numpy as np\ndef data(): return {'x': np.ones((10, 32), np.float32), 'y': np.ones((10, 32))}\n"
    )
    decoded = qacomp("decode", "e.qac", "-o", "e.onnx", "--data", "mine:data")
    assert decoded.code == 0 and "container's metric 'evil_mod:f' isn't run" in decoded.err
    assert "mse: " in decoded.out and not evil()


@pytest.mark.parametrize("spec", SPECS)
def test_data_that_a_checkpoint_names(qacomp: Qacomp, evil: Callable[[], bool], spec: str, tmp_path: Path) -> None:
    header = {"version": 1, "arch": "lenet300", "num_classes": 10, "preprocessing": None, "data": spec, "extra": {}}
    torch.save({"qacomp": header, "state_dict": create_model("lenet300", 10).state_dict()}, tmp_path / "own.pt")
    done = qacomp("compress", "own.pt", "--k", "4")
    assert done.code == 0 and "isn't used" in done.err and "give --data" in done.err
    measured = qacomp("eval", "own.pt")
    assert measured.code == 1 and "isn't used" in measured.err
    rewritten(tmp_path / "own.qac", tmp_path / "e.qac", data=spec)
    decoded = qacomp("decode", "e.qac", "-o", "e.onnx")
    assert decoded.code == 0 and "isn't used" in decoded.err
    model = onnx.load(tmp_path / "e.onnx")
    assert any(p.key == METADATA_KEY for p in model.metadata_props)
    measured = qacomp("eval", "e.onnx")
    assert measured.code == 1 and "isn't used" in measured.err
    assert not evil()


def test_built_in_data_that_a_file_names_is_used(qacomp: Qacomp, packed: Path) -> None:
    assert qacomp("eval", packed, "--json").json["data"] == "digits"
