"""Five kinds of networks by command lines alone: trained from random weights, shared, decoded, run in onnxruntime."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qacomp.cli.main import cli

OWN_LOSS, OWN_METRIC = ["--loss-fn", "own_networks:mask_loss"], ["--metric", "own_networks:dice"]
KINDS = {
    "cnn": ("DigitsCNN", "digits", "accuracy"),
    "regression": ("Regression", "diabetes", "mse"),
    "two inputs": ("TwoInputs", "pairs", "accuracy"),
    "segmentation": ("UNet", "squares", "dice"),
    "text": ("TextClassifier", "texts", "accuracy"),
}


def run(*arguments: object) -> Any:
    done = CliRunner().invoke(cli, [str(argument) for argument in (*arguments, "--json")])
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_trained_shared_decoded_and_evaluated(kind: str, tmp_path: Path) -> None:
    network, data, metric = KINDS[kind]
    source, container, model = tmp_path / "net.pt", tmp_path / "net.qac", tmp_path / "net.onnx"
    named = ["--arch", f"own_networks:{network}", "--data", f"own_networks:{data}", "--min-size", 32, "--k", 8]
    measure = OWN_METRIC if metric == "dice" else []
    loss = OWN_LOSS if metric == "dice" else []
    st = ["--epochs", 2, "--sharing", "straight-through"]
    trained = run("train", *named, *loss, *measure, *st, "-o", source)
    assert trained["metric"].endswith(metric) and len(trained["history"]) == 2
    evaluated = run("eval", source, *named[:4], *measure)
    if metric == "accuracy":
        assert evaluated["accuracy"] == trained["accuracy"]
    else:
        assert evaluated["metric"]["value"] == trained["value"]
    plain = ["--sharing", "after", "--epochs", 0, "--tune-epochs", 0, "--stored-precision", "exact"]
    made = run("compress", source, *named, *measure, *plain, "-o", container)
    told = made["accuracy"] if metric == "accuracy" else made["metric"]
    in_torch = trained["accuracy" if metric == "accuracy" else "value"]
    assert told["original"] == pytest.approx(in_torch, abs=1e-4)
    assert told["decoded"] == pytest.approx(told["original"], rel=1e-4)  # the checkpoint had eight values in each layer
    run("decode", container, "-o", model, "--no-measure")
    measured = run("eval", model, "--data", f"own_networks:{data}", *measure)["metric"]
    assert measured["value"] == pytest.approx(told["decoded"], abs=1e-4)
