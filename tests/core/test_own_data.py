"""Networks of every kind train on whatever their users have as data, and decode to ONNX models that do the same."""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import own_networks as own
import pytest
import torch
from click.testing import CliRunner
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import qacomp
from qacomp.batches.form import BatchForm
from qacomp.batches.given import load_examples
from qacomp.cli.main import cli
from qacomp.errors import ConfigError, DataError, QacompError
from qacomp.runtime.session import open_session

FAST: dict[str, Any] = {"reg": "exp", "k": 8, "epochs": 1, "tune_epochs": 1, "min_size": 32}


@dataclass(frozen=True)
class Case:
    """A network, its data and what is measured; value: computes that of ONNX outputs and targets, by hand."""

    network: Callable[[], nn.Module]
    data: Callable[[], Any]
    metric: str
    value: Callable[[list[Any], Any], float]
    options: tuple[str, ...] = ()

    def named(self) -> list[str]:
        return ["--arch", f"own_networks:{self.network.__name__}", "--data", f"own_networks:{self.data.__name__}"]


def top1(outputs: list[Any], y: Tensor) -> float:
    return float(100 * (outputs[0].argmax(1) == y.numpy()).mean())


MASKED = ("--loss-fn", "own_networks:mask_loss", "--metric", "own_networks:dice")
CASES = {
    "cnn": Case(own.DigitsCNN, own.digits, "accuracy", top1),
    "regression": Case(own.Regression, own.diabetes, "mse", lambda o, y: float(((o[0] - y.numpy()) ** 2).mean())),
    "two inputs": Case(own.TwoInputs, own.pairs, "accuracy", top1),
    "segmentation": Case(own.UNet, own.squares, "dice", lambda o, y: own.dice(torch.tensor(o[0]), y), MASKED),
    "text": Case(own.TextClassifier, own.texts, "accuracy", top1),
}


def torch_seeded(build: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    return build()


def onnx_outputs(model: bytes, batches: Any) -> tuple[list[Any], Any]:
    """All outputs of the ONNX model, and all targets."""
    session, found, targets = open_session(model), [], []
    names = [entry.name for entry in session.get_inputs()]
    for batch in batches.in_order(64):
        feed = (
            batch.x
            if isinstance(batch.x, dict)
            else dict(zip(names, batch.x if isinstance(batch.x, tuple) else (batch.x,), strict=True))
        )
        outputs = session.run(None, {name: value.numpy() for name, value in feed.items()})
        found.append(outputs[:1])
        targets.append(batch.y)
    return [np.concatenate(parts) for parts in zip(*found, strict=True)], torch.cat(targets)


@pytest.mark.parametrize("name", CASES)
def test_one_call_trains_shares_decodes_and_measures(name: str) -> None:
    case = CASES[name]
    network = torch_seeded(case.network)
    functions: dict[str, Any] = {}
    if case.options:
        functions = {"loss_fn": own.mask_loss, "metric": own.dice}
    result = qacomp.compress(network, case.data(), **FAST, **functions)
    assert result.history and result.max_abs_error is not None and result.max_abs_error < 1e-4
    outputs = [value.name for value in result.to_onnx().graph.output]
    assert outputs == {"two inputs": ["output0", "output1"], "text": ["logits", "hidden"]}.get(name, ["logits"])
    told = result.accuracy.decoded if case.metric == "accuracy" else result.metric and result.metric.decoded
    assert (result.metric.name if result.metric else "accuracy") == case.metric
    test = load_examples(case.data(), network).test
    by_hand = case.value(*onnx_outputs(result.to_onnx().SerializeToString(), test))
    assert told == pytest.approx(by_hand, abs=1e-5)
    network.load_state_dict(qacomp.decode(result))
    assert max(len(torch.unique(network.get_parameter(layer.name))) for layer in result.layers if layer.k) <= 8
    again = qacomp.compress(torch_seeded(case.network), case.data(), **FAST, **functions)
    assert again.output.read_bytes() == result.output.read_bytes()


@pytest.mark.parametrize("name", CASES)
def test_one_command_line_does_the_same(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    source, container = tmp_path / "net.pt", tmp_path / "net.qac"
    torch.save({"state_dict": torch_seeded(case.network).state_dict()}, source)
    command = ["compress", str(source), *case.named(), *case.options, "--reg", "exp", "--k", "8", "--epochs", "1"]
    done = CliRunner().invoke(cli, [*command, "--tune-epochs", "0", "--min-size", "32", "--json", "-o", str(container)])
    assert done.exit_code == 0, done.output
    told = __import__("json").loads(done.stdout)
    wanted = told["metric"]["decoded"] if told["metric"] else told["accuracy"]["decoded"]
    measured = ["eval", str(container), "--data", case.named()[3], "--json"]
    shown = CliRunner().invoke(cli, [*measured, *(case.options[2:] if case.options else ())])
    assert shown.exit_code == 0, shown.output
    assert __import__("json").loads(shown.stdout)["metric"]["value"] == pytest.approx(wanted, abs=1e-5)


def test_what_cannot_be_iterated_again_is_refused() -> None:
    with pytest.raises(DataError, match="iterated only once"):
        qacomp.compress(own.Regression(), (batch for batch in [(torch.zeros(4, 10), torch.zeros(4))]), k=4)


def test_errors_name_shapes_and_dtypes_and_no_values() -> None:
    secret = [({"a": torch.full((4, 3), 123.25), "b": torch.full((4, 3), 123.25)}, torch.zeros(4))] * 12
    with pytest.raises(QacompError) as caught:
        qacomp.compress(own.DigitsCNN(), secret, k=4)
    assert "float32[" in str(caught.value) and "123" not in str(caught.value) and len(str(caught.value)) < 600
    with pytest.raises(DataError, match=r"\(float32\[8, 10\]\)|float32\[8, 10\]"):
        BatchForm.of("data", own.Regression()).batch(torch.zeros(8, 10))


def test_an_unknown_task_asks_for_a_loss() -> None:
    batches = [(torch.zeros(4, 10), torch.zeros(4, 7))] * 12
    with pytest.raises(
        ConfigError, match=r"no loss is known for outputs float32\[4\] and targets float32\[4, 7\]; give"
    ):
        qacomp.compress(own.Regression(), batches, k=4, reg="exp")


class Cached(nn.Module):
    """Returns scores and a cache, which is no tensor, as decoders of transformers do."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.head = nn.Embedding(12, 8), nn.Linear(8, 12)

    def forward(self, input_ids: Tensor) -> dict[str, Any]:
        return {"logits": self.head(self.words(input_ids)), "cache": object()}


def test_a_cache_beside_the_scores_is_left_out_and_labels_must_be_those_of_the_next_place() -> None:
    ids = torch.randint(0, 12, (8, 6), generator=torch.Generator().manual_seed(0))
    following = torch.cat([ids[:, 1:], torch.full((8, 1), -100)], 1)
    settings: dict[str, Any] = {"k": 4, "sharing": "after", "epochs": 0, "tune_epochs": 0, "min_size": 16}
    network = torch_seeded(Cached)
    result = qacomp.compress(network, [{"input_ids": ids, "labels": following}] * 10, **settings)
    assert [value.name for value in result.to_onnx().graph.output] == ["logits"]
    with pytest.raises(ConfigError, match="the input's own tokens"):
        qacomp.compress(network, [{"input_ids": ids, "labels": ids}] * 10, **settings)


def test_splits_are_disjoint_and_the_same_again() -> None:
    y = torch.arange(100)
    loader = DataLoader(TensorDataset(y[:, None].float(), y), batch_size=8, shuffle=True)
    first, again = (load_examples(loader, nn.Linear(1, 2)) for _ in range(2))

    def seen(part: Any) -> list[int]:
        return sorted(int(label) for batch in part.in_order(8) for label in batch.y)

    parts = [seen(part) for part in (first.train, first.val, first.test)]
    assert sorted(itertools.chain(*parts)) == list(range(100)) and [len(part) for part in parts] == [80, 10, 10]
    assert parts == [seen(part) for part in (again.train, again.val, again.test)]


def test_an_epoch_s_order_follows_from_the_seed_and_no_generator_of_the_caller_moves() -> None:
    y = torch.arange(40)
    generator = torch.Generator().manual_seed(5)
    loader = DataLoader(TensorDataset(y[:, None].float(), y), batch_size=8, shuffle=True, generator=generator)
    train = load_examples({"train": loader, "val": loader}, nn.Linear(1, 2)).train
    states = generator.get_state(), torch.get_rng_state()

    def order(epoch: int) -> list[int]:
        batches = train.training(8, augment="none", entropy=[0, 1, epoch])
        return [int(label) for batch in batches for label in batch.y]

    assert order(0) == order(0) and order(0) != order(1)
    assert torch.equal(states[0], generator.get_state()) and torch.equal(states[1], torch.get_rng_state())
