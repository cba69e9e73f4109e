"""`qacomp compress --prune`: one command prunes, shares and codes; what can't work says so in one line."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json
FAST = ("--tune-epochs", "1", "--json")


@pytest.mark.parametrize(
    "options",
    [("magnitude:epochs=2,scope=global,rate=0.9", "--k", "6"), ("energy:epochs=2,stagnation=1",)],
    ids=["magnitude", "energy"],
)
def test_prune_share_and_code(qacomp: Qacomp, trained: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    target = tmp_path / "net.qac"
    answer = qacomp("compress", trained, "--prune", *options, *FAST, "-o", target)
    assert answer.code == 0, answer.err
    document = answer.json
    pruning = document["pruning"]
    assert 0 < pruning["parameters_kept"] <= pruning["parameters_left"] < pruning["parameters"] == 266_610
    assert pruning["kept_share"] == pruning["parameters_kept"] / pruning["parameters"]
    assert {layer["name"] for layer in pruning["layers"]} == {f"fc{i}.weight" for i in (1, 2, 3)}
    assert any("parameters kept" in note for note in document["notes"])
    assert document["max_abs_error"] < 1e-4
    assert qacomp("decode", target, "-o", tmp_path / "net.onnx", "--no-measure").code == 0
    weights = sum(int(torch.tensor(list(t.dims)).prod()) for t in onnx.load(tmp_path / "net.onnx").graph.initializer)
    assert weights == pytest.approx(pruning["parameters_left"], abs=8)  # the graph's own constants


def test_weights_without_an_architecture_cannot_be_pruned(qacomp: Qacomp, tmp_path: Path) -> None:
    torch.save({"a.weight": torch.randn(8, 8)}, tmp_path / "w.pt")
    answer = qacomp("compress", tmp_path / "w.pt", "--prune", "magnitude")
    assert answer.code == 1 and "--arch" in answer.err


def test_bad_rates_are_refused(qacomp: Qacomp, trained: Path) -> None:
    for rate in ("0", "1", "-1", "nan"):
        answer = qacomp("compress", trained, "--prune", f"magnitude:rate={rate}")
        assert answer.code == 1 and "--prune magnitude: rate = " in answer.err, rate
