"""Training sub-models, compressing to levels, and what inspect, decode and eval say of the result."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qacomp.formats import open_file

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json


@pytest.fixture(scope="module")
def ladder(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from qacomp.cli.main import main

    path = tmp_path_factory.mktemp("ladder") / "ladder.qac"
    arguments = ["--levels", "2,4", "--distill", "ta-m", "--epochs", "3", "--tune-epochs", "1", "--lr", "0.05"]
    with pytest.raises(SystemExit) as left:
        main(["compress", str(trained), *arguments, "--precision", "fp32", "-o", str(path)])
    assert left.value.code == 0
    return path


def test_inspect_lists_the_operating_points(qacomp: Qacomp, ladder: Path) -> None:
    points = qacomp("inspect", ladder, "--json").json["operating_points"]
    assert [p["name"] for p in points] == ["level2", "level4"]
    assert points[0]["bytes"] < points[1]["bytes"] == ladder.stat().st_size
    assert all(p["macs"] == 266_200 for p in points) and points[0]["accuracy"] > 80
    table = qacomp("inspect", ladder).out
    assert "bytes to download" in table and "level2" in table


def test_compress_lists_them_too(qacomp: Qacomp, trained: Path, tmp_path: Path) -> None:
    short = ["--levels", "2,4", "--epochs", "1", "--tune-epochs", "0", "--precision", "fp32"]
    table = qacomp("compress", trained, *short, "-o", tmp_path / "m.qac").out
    assert "bytes to download" in table and "level2" in table


def test_decode_and_eval_agree_with_what_the_file_says(qacomp: Qacomp, ladder: Path, tmp_path: Path) -> None:
    points = qacomp("inspect", ladder, "--json").json["operating_points"]
    measured = qacomp("eval", ladder, "--json", "--plot", tmp_path / "curve.svg").json
    assert [p["accuracy"] for p in measured["points"]] == [p["accuracy"] for p in points]
    assert measured["accuracy"] == points[-1]["accuracy"] and measured["points"][0]["latency_ms"]["p50"] > 0
    assert "level4" in (tmp_path / "curve.svg").read_text()
    for point in points:
        done = qacomp("decode", ladder, "--submodel", point["name"], "-f", "-o", tmp_path / "m.onnx", "--json")
        assert done.json["accuracy"] == point["accuracy"] and done.json["max_abs_error"] == 0
    assert "bytes to download" in qacomp("eval", ladder).out


def test_the_first_bytes_are_the_coarse_level(qacomp: Qacomp, ladder: Path, tmp_path: Path) -> None:
    point = qacomp("inspect", ladder, "--json").json["operating_points"][0]
    cut = tmp_path / "cut.qac"
    cut.write_bytes(ladder.read_bytes()[: point["bytes"]])
    done = qacomp("decode", cut, "--allow-truncated", "-o", tmp_path / "cut.onnx", "--json")
    assert done.json["accuracy"] == point["accuracy"]


def test_levels_without_data_and_without_an_architecture(qacomp: Qacomp, trained: Path, tmp_path: Path) -> None:
    import torch

    torch.save(torch.load(trained, weights_only=True)["state_dict"], tmp_path / "plain.pt")
    for extra in (["--arch", "lenet300"], []):
        target = tmp_path / "plain.qac"
        assert qacomp("compress", tmp_path / "plain.pt", *extra, "--levels", "4,16", "-o", target).code == 0
        with open_file(target) as container:
            assert container.levels == 2 and container.info("fc1.weight").levels == (4, 16)
        names = [p["name"] for p in qacomp("inspect", target, "--json").json["operating_points"]]
        assert names == ["level4", "level16"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--levels", "16,4"], "ascending"),
        (["--levels", "4,16", "--sharing", "straight-through:entropy=0.1"], "nested boundaries of --levels"),
    ],
)
def test_levels_that_cant_be(qacomp: Qacomp, trained: Path, arguments: list[str], message: str) -> None:
    answer = qacomp("compress", trained, *arguments)
    assert answer.code == 1 and message in answer.err


def test_sub_models_that_arent_there(qacomp: Qacomp, ladder: Path, packed: Path, tmp_path: Path) -> None:
    answer = qacomp("decode", ladder, "--submodel", "exit3", "-o", tmp_path / "x.onnx")
    assert answer.code == 1 and "level2, level4" in answer.err
    answer = qacomp("decode", packed, "--submodel", "level4", "-o", tmp_path / "x.onnx")
    assert answer.code == 1 and "a single network" in answer.err
    answer = qacomp("eval", packed, "--plot", tmp_path / "x.png")
    assert answer.code == 1 and "a single network" in answer.err and not (tmp_path / "x.png").exists()
    answer = qacomp("train", "--arch", "lenet300", "--data", "digits", "--distill", "ta-m", "-o", tmp_path / "m.pt")
    assert answer.code == 1 and "no sub-models" in answer.err
