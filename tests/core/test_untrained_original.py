"""An original that knows nothing is no measure: neither of good sharing nor of a drop."""

import math
from typing import Any

import own_networks as own
import pytest
import torch

import qacomp
from qacomp.batches.given import load_examples
from qacomp.evaluation.guessing import guessing, no_better
from qacomp.evaluation.metric import MSE
from qacomp.evaluation.verdict import judge
from qacomp.models.first_weights import is_untouched


@pytest.mark.parametrize(
    ("accuracy", "chance", "word"),
    [
        ((10.0, 10.0), 10.3, "not measured"),
        ((12.0, 95.0), None, "not measured"),
        ((80.0, 92.0), None, "good"),
        ((50.0, 95.0), 51.0, "not measured"),
        ((95.0, 60.0), None, "broken"),
    ],
)
def test_only_an_original_that_knows_something_is_compared(
    accuracy: tuple[float, float], chance: float | None, word: str
) -> None:
    verdict = judge(None, {}, accuracy, chance=chance)
    assert verdict.word == word
    assert ("tells nothing" in str(verdict)) == (word == "not measured")


def test_guessing_is_the_most_common_class_within_its_noise() -> None:
    y = torch.tensor([0] * 60 + [1] * 40)
    test = load_examples(
        {"train": [(torch.zeros(100, 4), y)], "val": [(torch.zeros(100, 4), y)]}, torch.nn.Linear(4, 2)
    ).test
    error = 100 * math.sqrt(0.6 * 0.4 / 100)
    assert guessing(test, 60 + 1.9 * error) == pytest.approx(60) and guessing(test, 60 + 2.1 * error) is None
    values = [(torch.zeros(30, 4), torch.zeros(30))]
    assert guessing(load_examples({"train": values, "val": values}, torch.nn.Linear(4, 2)).test, 0.0) is None


def test_an_untrained_module_is_trained_and_said_to_be_untrained() -> None:
    torch.manual_seed(0)
    result = qacomp.compress(own.DigitsCNN(), own.digits(), k=8, sharing="straight-through", epochs=6, min_size=32)
    accuracy = result.accuracy
    assert (
        accuracy.original is not None
        and accuracy.decoded is not None
        and accuracy.original < 25 < 70 < accuracy.decoded
    )
    assert any("doesn't teach" in note for note in result.notes)
    assert result.verdict.word == "not measured" and "the original is" in str(result.verdict)


@pytest.mark.parametrize("kind", ["regression", "segmentation"])
def test_an_untrained_network_of_any_kind_is_not_its_own_teacher(kind: str) -> None:
    """With random weights as a teacher it would learn to stay as it is."""
    torch.manual_seed(0)
    networks = {"regression": own.Regression, "segmentation": own.UNet}
    data = {"regression": own.diabetes, "segmentation": own.squares}
    functions: dict[str, Any] = {"loss_fn": own.mask_loss, "metric": own.dice} if kind == "segmentation" else {}
    how: dict[str, Any] = {
        "sharing": "straight-through",
        "k": 16,
        "epochs": 6,
        "tune_epochs": 0,
        "min_size": 32,
        "lr": 0.05,
    }
    result = qacomp.compress(networks[kind](), data[kind](), **how, **functions)
    assert any("doesn't teach" in note for note in result.notes), result.notes
    assert result.verdict.word == "not measured" and "tells nothing" in str(result.verdict)
    if kind == "regression":
        assert result.metric is not None and result.metric.decoded < 0.8 * result.metric.original
    if kind == "segmentation":
        assert result.metric is not None and result.metric.decoded > 0.6 > 0.4 > result.metric.original


@pytest.mark.parametrize("kind", [own.DigitsCNN, own.UNet, own.TextClassifier, own.Regression])
def test_one_step_of_training_shows_in_the_weights(kind: type[torch.nn.Module]) -> None:
    torch.manual_seed(0)
    network = kind()
    assert is_untouched(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(1e-3 * torch.randn_like(parameter))
    assert not is_untouched(network)


def test_a_regression_that_knows_less_than_the_mean_is_no_better_than_guessing() -> None:
    values = torch.linspace(-1, 1, 40)[:, None]
    batches = [(torch.zeros(40, 3), values)]
    test = load_examples({"train": batches, "val": batches}, torch.nn.Linear(3, 1)).test
    spread = float(values.var(unbiased=False))
    assert no_better(MSE, test, 1.01 * spread) is not None and no_better(MSE, test, 0.99 * spread) is None
