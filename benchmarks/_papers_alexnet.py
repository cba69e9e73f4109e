"""Claim (e): the regularizers on the paper's own AlexNet of 22 million weights, at K = 8 and 64, by kind of layer."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from _papers_claims import Claim, Question
from _papers_pieces import Piece, Trial
from _papers_regularizers import MAIN, STAGES, BySeed, beside_baseline, by_seed, compared
from _papers_training import parts, prepared, pretrained

NAME = "alexnet"
SEEDS = 5
KS = (8, 64)
SCOPES = ("all", "conv", "dense")
ASKED = ("baseline", "exp")
"""The methods that decide the claim, in all layers, with every seed; the others have one seed."""
FIRST = 0  # the seed of the one trained network that every piece starts from
BUDGET: dict[str, Any] = {
    "arch": "alexnet",
    "data": "cifar10j",
    "images": 1500,
    "validation": 500,
    "test": 2000,  # all methods of a seed on the same ones
    "batch": 64,
    "epochs": 2,
    "tune_epochs": 1,
    "pull": 64.0,
    "pretraining": {"images": 5000, "epochs": 10, "lr": 0.01},
}


def claim() -> Claim:
    """Return the claim: a piece is one seed, K, kind of layers and method."""
    trials = [
        Trial(NAME, f"{scope}-k{k}-{method}", seed, _settings(scope, k, method), measure, 10 if decides else 13)
        for scope in SCOPES
        for seed in range(SEEDS)
        for k in KS
        for method in MAIN
        if (decides := scope == "all" and method in ASKED) or seed == FIRST
    ]
    questions = [
        Question(
            f"{when}: R_E less the matched baseline, mean over K",
            partial(_gains, stage=stage),
            SEEDS,
            asked=stage != "trained",  # it tells whether the gain is that of sharing
        )
        for when, stage in STAGES
    ]
    return Claim(
        NAME,
        "regularizers",
        "the gains of the paper's own networks: AlexNet and VGG16 at K = 8 and 64",
        "AlexNet alone, 21.6 million weights, trained once on 5,000 images of CIFAR-10J for 10 epochs; every seed "
        "fine-tunes it for 2 epochs on 1,500 other images, and 2,000 images test it; the baseline has the same "
        "fine-tuning. All layers with 5 seeds for R_E and the baseline; the other regularizers, and the convolutions "
        "or the dense layers alone, with one",
        tuple(trials),
        tuple(questions),
        cells=cells,
    )


def _settings(scope: str, k: int, method: str) -> dict[str, Any]:
    return BUDGET | {"k": k, "scope": scope, "methods": {method: MAIN[method] | {"scope": scope}}}


def measure(s: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the method's accuracies (see `compared`), from the one trained network."""
    counts, first = (s["validation"], s["test"]), s | {"images": s["pretraining"]["images"]}
    form = prepared(s["arch"])
    begun = parts(s["data"], FIRST, (first["images"], *counts), form)
    model = pretrained(s["arch"], FIRST, first, begun)
    return compared(model, s, seed, parts(s["data"], seed + 1, (s["images"], *counts), form))


def _gains(pieces: Sequence[Piece], *, stage: str) -> list[float]:
    tables = [_table(pieces, "all", k) for k in KS]
    gains = []
    for seed in range(SEEDS):
        found = [table.get(seed, {}) for table in tables]
        if all(method in figures for figures in found for method in ASKED):
            gains.append(sum(f["exp"][stage] - f["baseline"][stage] for f in found) / len(found))
    return gains


def _table(pieces: Sequence[Piece], scope: str, k: int) -> BySeed:
    return by_seed([piece for piece in pieces if (piece.settings["scope"], piece.settings["k"]) == (scope, k)])


def cells(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """Return, by kind of layers and stage, the baseline's accuracy and each method's difference to it."""
    found = []
    for scope in SCOPES:
        for when, stage in STAGES:
            for k in KS:
                found += beside_baseline(f"AlexNet, {scope}, {when}", f"K = {k}", _table(pieces, scope, k), stage)
    return found
