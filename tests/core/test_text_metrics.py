"""Perplexity and the similarity of embeddings, against their definitions and against other packages."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from qacomp.errors import MetricError
from qacomp.evaluation.metric_choice import choose_metric
from qacomp.evaluation.metrics import Measure, evaluate, more_is_better
from qacomp.evaluation.similarity import similarity

RNG = np.random.default_rng(0)


def test_perplexity_is_that_of_torch_and_leaves_out_ignored_labels() -> None:
    scores = RNG.normal(0, 5, (3, 7, 50)).astype(np.float32)
    labels = RNG.integers(0, 50, (3, 7))
    labels[1, 3:] = -100
    rows = torch.from_numpy(scores).double().reshape(-1, 50)
    wanted = math.exp(float(torch.nn.functional.cross_entropy(rows, torch.from_numpy(labels).reshape(-1))))
    assert evaluate("perplexity", scores, labels) == pytest.approx(wanted, rel=1e-9)
    scorer = choose_metric("perplexity", None, torch.from_numpy(scores), torch.from_numpy(labels)).start()
    for i in range(3):
        scorer.add(torch.from_numpy(scores[i : i + 1]), torch.from_numpy(labels[i : i + 1]))
    assert scorer.value() == pytest.approx(wanted, rel=1e-9)
    assert evaluate("perplexity", np.zeros((4, 8)), np.arange(4)) == pytest.approx(8)
    assert evaluate("perplexity", np.array([[0.0, 3000.0]]), np.array([0])) == math.inf
    assert math.isnan(evaluate("perplexity", np.array([[0.0, math.nan]]), np.array([0])))


def test_less_perplexity_is_better() -> None:
    measure = Measure("perplexity", 10.0, 12.0, 5)
    assert measure.lost == 2.0 and measure.to_json()["higher_is_better"] is False
    assert not more_is_better("perplexity") and more_is_better("similarity")
    assert not choose_metric("perplexity", None, np.zeros((2, 3)), np.zeros(2, int)).higher


def test_similarity_is_spearmans_rank_correlation_of_all_pairs() -> None:
    one = RNG.normal(size=(30, 8)).astype(np.float32)
    other = one + RNG.normal(0, 0.5, one.shape).astype(np.float32)
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (one, other)]
    pairs = np.triu_indices(30, 1)
    ranks = [np.argsort(np.argsort((v @ v.T)[pairs])) for v in unit]  # no two are equal here
    wanted = float(np.corrcoef(ranks[0], ranks[1])[0, 1])
    assert evaluate("similarity", one, other) == pytest.approx(wanted, abs=1e-4)
    assert similarity(one, one * 3) == pytest.approx(1)
    assert similarity(np.eye(4)[[0, 0, 1, 1]], np.eye(4)[[2, 2, 3, 3]]) == pytest.approx(1)  # ties share ranks
    assert math.isnan(similarity(one[:2], other[:2])) and math.isnan(similarity(one, one * math.nan))


@pytest.mark.parametrize(
    ("name", "outputs", "targets"),
    [
        ("perplexity", np.zeros((3, 4)), np.zeros(3)),
        ("perplexity", np.zeros((3, 4)), np.array([0, 1, 4])),
        ("perplexity", np.zeros((3, 4)), np.full(3, -100)),
        ("similarity", np.zeros((3, 4)), np.zeros(3)),
        ("similarity", np.zeros((3, 4)), np.zeros((2, 4))),
    ],
)
def test_what_does_not_fit_is_one_error(name: str, outputs: NDArray[Any], targets: NDArray[Any]) -> None:
    with pytest.raises(MetricError, match=name):
        evaluate(name, outputs, targets)
