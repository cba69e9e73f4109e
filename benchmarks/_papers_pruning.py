"""Claim (f): EPruning from random weights against the dense network and against magnitude at the same share kept."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch.nn.functional as F
from _papers_cells import DIFFERENCE, cell
from _papers_claims import Claim, Question
from _papers_pieces import Piece, Trial
from _papers_training import TensorExamples, course_of, parts, prepared, trained

from qacomp.batches.arrays import ArrayBatches
from qacomp.models import create_model

NAME = "epruning"
SEEDS = 5  # the plan has 3, of which no interval decides anything
ARCH = "resnet20"
ENERGY = "energy:start=random,parents=keep,stagnation={stagnation}"
MAGNITUDE = "magnitude:unit=filter,rate={rate}"
BUDGET: dict[str, Any] = {
    "data": "cifar10j",
    "images": 3000,
    "validation": 1000,
    "side": 16,
    "epochs": 20,
    "stagnation": 10,  # half of the epochs, as in the paper
    "batch_size": 64,
    "lr": 0.1,
}
SETTINGS = ("epochs", "batch_size", "lr")


def claim() -> Claim:
    """Return the claim: a piece is one seed, with the three trainings on the same images."""
    trials = [Trial(NAME, "", seed, BUDGET, measure, 10) for seed in range(SEEDS)]
    return Claim(
        NAME,
        "EPruning",
        "the search beats magnitude at the same share kept, and the full network keeps its accuracy",
        "ResNet-20 at 16 pixels, 3,000 images of CIFAR-10J, 20 epochs from random weights of which at most 10 are the "
        "search; magnitude prunes the same share of filters while it trains",
        tuple(trials),
        (
            Question("pruned network, search less magnitude", differences("energy", "magnitude"), SEEDS),
            Question("the search's full network less its pruned one", differences("full", "energy"), SEEDS),
        ),
        cells=cells,
    )


def measure(s: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return the accuracies of the dense, the searched and the magnitude-pruned network, and the share kept."""
    examples = parts(s["data"], seed, (s["images"], s["validation"]), prepared(ARCH))
    train, val, test = (smaller(part, s["side"]) for part in (examples.train, examples.val, examples.test))
    run = partial(_run, replace(examples, train=train, val=val, test=test), {name: s[name] for name in SETTINGS}, seed)
    energy = run(ENERGY.format(stagnation=s["stagnation"]))
    rate = round(1 - energy["kept_share"], 4)
    return {"dense": run(None), "energy": energy, "magnitude": run(MAGNITUDE.format(rate=rate))}


def smaller(part: ArrayBatches, side: int) -> ArrayBatches:
    """Return images whose sides are so many pixels, by means of squares of pixels."""
    x = part.whole.x
    return ArrayBatches(replace(part.whole, x=F.avg_pool2d(x, x.shape[-1] // side)))


def _run(examples: TensorExamples, settings: dict[str, Any], seed: int, prune: str | None) -> dict[str, Any]:
    chosen = settings | ({} if prune is None else {"prune": prune})
    done = trained(partial(create_model, ARCH), examples, chosen, seed)
    told = done.pruning or {}
    found = course_of(done) | ({"kept_share": told["kept_share"]} if told else {})
    return found | ({"full": told["full"]["top1"]} if "full" in told else {})


def differences(one: str, other: str) -> Callable[[Sequence[Piece]], list[float]]:
    """Return what computes one accuracy less another, seed by seed; full: of the search's whole network."""
    return partial(_differences, one=one, other=other)


def _differences(pieces: Sequence[Piece], *, one: str, other: str) -> list[float]:
    return [_accuracy(piece, one) - _accuracy(piece, other) for piece in pieces]


def _accuracy(piece: Piece, name: str) -> float:
    figures = piece.figures
    return float(figures["energy"]["full"] if name == "full" else figures[name]["test"])


def cells(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """Return the rows of table 1, ours and the paper's for ResNet-20 on CIFAR-10."""
    titles = {"dense": "dense", "full": "search, F", "energy": "search, P", "magnitude": "magnitude"}
    found = []
    for name, title in titles.items():
        found += cell("ours", title, "top-1", [_accuracy(piece, name) for piece in pieces])
        if name in ("energy", "magnitude"):
            shares = [100 * piece.figures[name]["kept_share"] for piece in pieces]
            found += cell("ours", title, "parameters kept, %", shares)
    found += cell("ours", "P less magnitude", "top-1", differences("energy", "magnitude")(pieces), DIFFERENCE)
    return found
