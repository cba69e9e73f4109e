"""An original that knows nothing is no measure: neither of good sharing nor of a drop."""

import math

import own_networks as own
import pytest
import torch

import qacomp
from qacomp.batches.given import load_examples
from qacomp.evaluation.guessing import guessing
from qacomp.evaluation.verdict import judge


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
