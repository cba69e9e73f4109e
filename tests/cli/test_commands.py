"""What each command promises on good input: files, JSON fields, defaults."""

import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from qacomp.formats import save_file
from qacomp.options.from_scratch import FROM_SCRATCH

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json
COMPRESS_FIELDS = {
    "container_bytes",
    "graph_bytes",
    "checkpoint_bytes",
    "ratio",
    "bits_per_weight",
    "accuracy",
    "layers",
    "seconds",
    "seed",
    "settings",
    "settings_toml",
    "notes",
    "max_abs_error",
}
LAYER_FIELDS = {
    "chosen",
    "error_db",
    "error_of",
    "name",
    "shape",
    "k",
    "bytes",
    "bits_per_weight",
    "entropy_bits_per_weight",
    "codec",
    "codec_reason",
    "skipped",
}
FAST = ("--epochs", "2", "--tune-epochs", "1")


def test_train_writes_a_checkpoint_that_knows_itself(trained: Path) -> None:
    kept = torch.load(trained, weights_only=True)
    assert kept["qacomp"]["arch"] == "lenet300"
    assert kept["qacomp"]["data"] == "digits"
    assert set(kept["state_dict"]) == {f"fc{i}.{n}" for i in (1, 2, 3) for n in ("weight", "bias")}


def test_train_takes_any_optimizer(qacomp: Qacomp, tmp_path: Path) -> None:
    train = ("train", "--arch", "lenet300", "--data", "digits", "--epochs", "1")
    losses = []
    for number, chosen in enumerate(((), ("--optimizer", str(FROM_SCRATCH)), ("--optimizer", "adam", "--lr", "0.001"))):
        answer = qacomp(*train, *chosen, "-o", tmp_path / f"{number}.pt", "--json")
        assert answer.code == 0, answer.err
        losses.append(answer.json["history"][0]["loss"])
    assert losses[0] == losses[1] != losses[2]
    assert str(FROM_SCRATCH) in qacomp("train", "--help").out
    wrong = qacomp(*train, "--optimizer", "sgd:momentums=1", "-o", tmp_path / "x.pt")
    assert wrong.code == 1 and "did you mean 'momentum'?" in wrong.err and not (tmp_path / "x.pt").exists()


def test_compress_needs_nothing_but_the_checkpoint(qacomp: Qacomp, trained: Path, tmp_path: Path) -> None:
    copy = tmp_path / "net.pt"
    copy.write_bytes(trained.read_bytes())
    answer = qacomp("compress", copy, "--reg", "exp", "--k", "8", *FAST, "--json")
    assert answer.code == 0, answer.err
    document = answer.json
    container = tmp_path / "net.qac"
    assert document.keys() >= COMPRESS_FIELDS
    assert all(set(layer) == LAYER_FIELDS for layer in document["layers"])
    assert all(layer["codec_reason"] for layer in document["layers"])
    assert document["container_bytes"] == container.stat().st_size
    assert document["checkpoint_bytes"] == 4 * 266_610
    assert document["fp32_ratio"] == pytest.approx(document["checkpoint_bytes"] / document["container_bytes"])
    assert document["ratio"] == pytest.approx(document["source_bytes"] / document["container_bytes"])
    assert set(document["accuracy"]) == {"original", "fine_tuned", "shared", "tuned", "decoded", "chance"}
    assert document["accuracy"]["fine_tuned"] is None  # --reg exp shares in the forward pass
    assert document["accuracy"]["decoded"] == pytest.approx(document["accuracy"]["tuned"], abs=0.6)
    assert document["max_abs_error"] < 1e-3
    shared = [layer for layer in document["layers"] if layer["k"] is not None]
    assert [layer["name"] for layer in shared] == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert all(layer["k"] == 8 and layer["skipped"] is None for layer in shared)
    assert all(layer["skipped"] for layer in document["layers"] if layer["k"] is None)
    assert set(document["seconds"]) == {"fine-tune", "share", "tune", "evaluate", "encode", "decode"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["net.pt", "net.qac"]  # nothing left over
    inspected = qacomp("inspect", container, "--json").json["tensors"]
    for layer, tensor in zip(document["layers"], inspected, strict=True):
        assert all(layer[key] == tensor[key] for key in ("name", "bytes", "bits_per_weight"))


def test_accuracy_survives_compression(qacomp: Qacomp, trained: Path, tmp_path: Path) -> None:
    epochs = ("--epochs", "6", "--tune-epochs", "2")
    answer = qacomp("compress", trained, "--reg", "exp", "--k", "8", *epochs, "-o", tmp_path / "a.qac", "--json")
    accuracy = answer.json["accuracy"]
    assert accuracy["original"] > 93
    assert accuracy["decoded"] >= accuracy["original"] - 1.0
    assert answer.json["ratio"] >= 10


def test_the_same_command_gives_the_same_bytes(qacomp: Qacomp, trained: Path, tmp_path: Path) -> None:
    for name in ("a.qac", "b.qac"):
        assert qacomp("compress", trained, "--reg", "min", "--k", "4", *FAST, "-o", tmp_path / name).code == 0
    assert (tmp_path / "a.qac").read_bytes() == (tmp_path / "b.qac").read_bytes()


def test_the_reports_toml_reproduces_the_run(qacomp: Qacomp, trained: Path, tmp_path: Path) -> None:
    flags = ("--reg", "exp", "--k", "8,fc3=16", "--scope", "dense", "--seed", "3", "--stored-precision", "exact", *FAST)
    first = qacomp("compress", trained, *flags, "-o", tmp_path / "a.qac", "--json").json
    (tmp_path / "run.toml").write_text(first["settings_toml"])
    assert tomllib.loads(first["settings_toml"])["k_layers"] == {"fc3": 16}
    again = qacomp("compress", trained, "--config", tmp_path / "run.toml", "-o", tmp_path / "b.qac", "--json").json
    assert again["settings"] == first["settings"]
    assert (tmp_path / "a.qac").read_bytes() == (tmp_path / "b.qac").read_bytes()
    assert {layer["name"]: layer["k"] for layer in first["layers"] if layer["k"]} == {
        "fc1.weight": 8,
        "fc2.weight": 8,
        "fc3.weight": 16,
    }


def test_a_flag_overrides_the_config_file(qacomp: Qacomp, trained: Path, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text('reg = "none"\nk = 4\ntune_epochs = 0\n')
    answer = qacomp(
        "compress", trained, "--config", tmp_path / "run.toml", "--k", "5", "-o", tmp_path / "a.qac", "--json"
    )
    assert answer.json["settings"]["k"] == 5
    assert answer.json["settings"]["tune_epochs"] == 0


def test_scope_leaves_the_rest_dense_and_says_why(qacomp: Qacomp, tmp_path: Path) -> None:
    qacomp("train", "--arch", "lenet5", "--data", "digits", "--epochs", "1", "-o", tmp_path / "m.pt")
    document = qacomp("compress", tmp_path / "m.pt", "--k", "4", "--scope", "conv", "--tune-epochs", "0", "--json").json
    by_name = {layer["name"]: layer for layer in document["layers"]}
    assert by_name["conv1.weight"]["k"] == 4
    assert by_name["fc1.weight"]["k"] is None
    assert by_name["fc1.weight"]["skipped"] == "outside --scope conv"


def test_decode_measures_what_it_writes(qacomp: Qacomp, packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.onnx"
    document = qacomp("decode", packed, "-o", target, "--json").json
    assert document["onnx_bytes"] == target.stat().st_size
    assert document["max_abs_error"] == 0
    assert 0 < document["latency_ms"]["p50"] <= document["latency_ms"]["p95"]
    assert document["accuracy"] > 90
    model = onnx.load(target)
    onnx.checker.check_model(model)
    first = model.graph.input[0].type.tensor_type.shape.dim
    assert first[0].dim_param and [d.dim_value for d in first[1:]] == [1, 28, 28]
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    assert len(np.unique(weights["fc1.weight"])) <= 8
    assert document["accuracy"] == qacomp("eval", target, "--json").json["accuracy"]
    assert document["accuracy"] == qacomp("eval", packed, "--json").json["accuracy"]


def test_decode_gives_a_state_dict_too(qacomp: Qacomp, packed: Path, tmp_path: Path) -> None:
    target = tmp_path / "model.safetensors"
    assert qacomp("decode", packed, "-o", target).code == 0
    answer = qacomp("eval", target, "--arch", "lenet300", "--data", "digits", "--json")
    assert answer.json["accuracy"] == pytest.approx(qacomp("eval", packed, "--json").json["accuracy"], abs=0.3)


def test_decode_chooses_the_name_beside_the_container(qacomp: Qacomp, packed: Path, tmp_path: Path) -> None:
    copy = tmp_path / "x.qac"
    copy.write_bytes(packed.read_bytes())
    assert qacomp("decode", copy, "--no-measure").code == 0
    assert {path.name for path in tmp_path.iterdir()} == {"x.qac", "x.decoded.onnx"}


def test_inspect_and_verify(qacomp: Qacomp, packed: Path) -> None:
    document = qacomp("inspect", packed, "--json").json
    assert document["container_bytes"] == packed.stat().st_size
    assert document["meta"]["arch"] == "lenet300"
    assert {t["name"] for t in document["tensors"] if t["k"] == 8} == {"fc1.weight", "fc2.weight", "fc3.weight"}
    assert "fc1.weight" in qacomp("inspect", packed).out
    assert qacomp("verify", packed, "--json").json["ok"] is True


def test_verify_against_the_source(qacomp: Qacomp, tmp_path: Path) -> None:
    source, other, container = tmp_path / "t.pt", tmp_path / "o.pt", tmp_path / "t.qac"
    weights = torch.arange(1200.0).reshape(30, 40)
    torch.save({"w": weights}, source)
    torch.save({"w": weights + 1}, other)
    assert qacomp("compress", source, "--k", "4", "--json").code == 0
    answer = qacomp("verify", container, "--source", source, "--json")
    assert answer.json["source"]["bytes"] == source.stat().st_size and len(answer.json["source"]["sha256"]) == 64
    assert "made from" in qacomp("verify", container, "--source", source).out
    (tmp_path / "long.pt").write_bytes(source.read_bytes() + b"x")
    for file, text in ((other, "SHA-256"), (tmp_path / "long.pt", "bytes"), (tmp_path / "no.pt", "can't be read")):
        answer = qacomp("verify", container, "--source", file, "--json")
        assert answer.code == 1 and text in answer.json["error"]["message"] and answer.err.count("\n") == 1
    save_file(tmp_path / "bare.qac", {"x": np.arange(3)})
    answer = qacomp("verify", tmp_path / "bare.qac", "--source", source)
    assert answer.code == 1 and "hold no SHA-256 of its source" in answer.err


def test_weights_without_an_architecture(qacomp: Qacomp, tmp_path: Path) -> None:
    from safetensors.numpy import load_file, save_file

    rng = np.random.default_rng(0)
    state: dict[str, np.ndarray[Any, Any]] = {
        "a": rng.normal(size=(64, 80)).astype(np.float32),
        "norm": rng.normal(size=64).astype(np.float32),
        "steps": np.array([7], np.int64),
    }
    save_file(state, tmp_path / "net.safetensors")
    answer = qacomp(
        "compress", tmp_path / "net.safetensors", "--k", "16", "--reg", "exp", "--stored-precision", "exact", "--json"
    )
    assert answer.code == 0
    assert any("only weights are compressed" in note for note in answer.json["notes"])
    assert any("without effect: --reg" in note for note in answer.json["notes"])
    assert answer.json["accuracy"]["original"] is None
    assert qacomp("decode", tmp_path / "net.qac", "-o", tmp_path / "out.safetensors").code == 0
    decoded = load_file(tmp_path / "out.safetensors")
    assert len(np.unique(decoded["a"])) == 16
    assert np.abs(decoded["a"] - state["a"]).mean() < 0.1
    assert np.array_equal(decoded["norm"], state["norm"]) and np.array_equal(decoded["steps"], state["steps"])


def test_few_distinct_weights_are_kept_exactly_and_reported(qacomp: Qacomp, tmp_path: Path) -> None:
    values = torch.tensor([-0.5, 0.0, 0.25])
    torch.save({"w": values[torch.randint(0, 3, (30, 40))]}, tmp_path / "t.pt")
    answer = qacomp("compress", tmp_path / "t.pt", "--k", "16", "--json")
    assert answer.json["layers"][0]["k"] == 3
    assert any("3 shared values" in note for note in answer.json["notes"])


def test_json_and_progress_keep_apart(qacomp: Qacomp, packed: Path) -> None:
    answer = qacomp("verify", packed, "--json")
    assert answer.out.startswith("{") and answer.out.rstrip().endswith("}")


@pytest.mark.parametrize("command", ["train", "compress", "decode", "eval", "inspect", "diff", "verify", "demo"])
def test_every_command_explains_itself(qacomp: Qacomp, command: str) -> None:
    answer = qacomp(command, "--help")
    assert answer.code == 0
    assert "--json" in answer.out
