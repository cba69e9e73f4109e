"""`decode --onnx`: the forms of an ONNX file, on the command line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json


def test_a_look_up_file_is_small_and_as_accurate(qacomp: Qacomp, packed: Path, tmp_path: Path) -> None:
    dense = qacomp("decode", packed, "-o", tmp_path / "dense.onnx", "--json").json
    answer = qacomp("decode", packed, "-o", tmp_path / "lut.onnx", "--onnx", "lut", "--json")
    assert answer.code == 0
    document = answer.json
    assert document["accuracy"] == dense["accuracy"]
    assert document["max_abs_error"] == 0
    assert document["onnx_bytes"] == (tmp_path / "lut.onnx").stat().st_size < 0.16 * dense["onnx_bytes"]
    onnx = document["onnx"]
    assert (onnx["mode"], onnx["dense_bytes"], onnx["comparison"]["max_abs_error"]) == ("lut", dense["onnx_bytes"], 0)
    assert min(onnx["comparison"][key] for key in ("load_ms", "dense_load_ms", "run_ms", "dense_run_ms")) > 0
    assert {t["name"]: t["form"] for t in onnx["tensors"]} == dict.fromkeys(
        ("fc1.weight", "fc2.weight", "fc3.weight"), "lut"
    )
    assert dense["onnx"]["tensors"] == []


def test_external_data_counts(qacomp: Qacomp, packed: Path, tmp_path: Path) -> None:
    answer = qacomp("decode", packed, "-o", tmp_path / "m.onnx", "--onnx", "lut", "--external-data", "--json")
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == ["m.onnx", "m.onnx.data"]
    assert answer.json["onnx_bytes"] == sum(f.stat().st_size for f in files)
    assert answer.json["onnx"]["data_file"] == str(files[1]) and answer.json["accuracy"] > 90


def test_people_see_size_difference_and_times(qacomp: Qacomp, packed: Path, tmp_path: Path) -> None:
    out = qacomp("decode", packed, "-o", tmp_path / "m.onnx", "--onnx", "lut").out
    for words in ("of the dense file's", "largest difference from the outputs", "load: ", "fc1.weight", "indices"):
        assert words in out


@pytest.mark.parametrize("arguments", [["--onnx", "sparse"], ["--onnx", "lut", "-o", "x.safetensors"]])
def test_what_cannot_be_made_is_refused(qacomp: Qacomp, packed: Path, tmp_path: Path, arguments: list[str]) -> None:
    assert qacomp("decode", packed, *arguments).code in (1, 2)
    assert not Path("x.safetensors").exists()


def test_matrix_products_on_integers(qacomp: Qacomp, packed: Path, tmp_path: Path) -> None:
    answer = qacomp("decode", packed, "-o", tmp_path / "m.onnx", "--onnx", "affine", "--affine-bits", "8", "--json")
    assert answer.code == 0
    document = answer.json
    assert document["onnx"]["fused"] == 3 and document["accuracy"] > 90
    assert 0 < document["onnx"]["comparison"]["max_abs_error_fp32"] < 1
    assert document["max_abs_error"] == max(t["max_abs_error"] for t in document["onnx"]["tensors"]) > 0
    assert "integer weights: 3" in qacomp("decode", packed, "-o", tmp_path / "n.onnx", "--onnx", "affine").out
    assert qacomp("decode", packed, "-o", tmp_path / "n.onnx", "--onnx", "affine", "--affine-block", "48").code == 1
