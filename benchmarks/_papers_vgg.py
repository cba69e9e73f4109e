"""Claim (g): VGG-11 from random weights under a quantizer, with and without SinReQ: the paper's figure 3."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from _papers_cells import DIFFERENCE, cell
from _papers_claims import Claim, Question
from _papers_pieces import Piece, Trial
from _papers_training import course_of, parts, prepared, trained
from torch import nn

from qacomp.models.families.vgg import _A, _vgg

NAME = "sinreq_scratch"
SEEDS = 5
ARMS: dict[str, dict[str, Any]] = {
    "without": {"reg": "none"},
    "with": {"reg": "sinreq", "pull": 4.0, "schedule": "tanh"},  # as in claim (d)
}
BUDGET: dict[str, Any] = {
    "data": "cifar10j",
    "images": 4000,
    "validation": 1000,
    "epochs": 10,
    "batch_size": 64,
    "lr": 0.02,
    "quantizer": "dorefa",
    "bits": 3,
    "width": 0.5,
    "arms": ARMS,
}
SETTINGS = ("epochs", "batch_size", "lr", "quantizer", "bits")


def claim() -> Claim:
    """Return the claim: a piece is one seed, with and without the penalty, on the same images and batches."""
    trials = [Trial(NAME, "", seed, BUDGET, measure, 8) for seed in range(SEEDS)]
    return Claim(
        NAME,
        "SinReQ",
        "VGG-11 from scratch converges to a better accuracy with SinReQ (figure 3)",
        "VGG-11 of half width, 4,000 images of CIFAR-10J, 10 epochs from random weights, DoReFa at 3 bits in every "
        "layer, the penalty's strength that of claim (d); with the default one a first seed, which isn't counted, "
        "stopped learning early",
        tuple(trials),
        (
            Question("test accuracy, with SinReQ less without", gain("test"), SEEDS),
            Question("validation accuracy, mean over the epochs, with less without", gain("course"), SEEDS),
        ),
        cells=cells,
    )


def measure(s: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return for each arm the test accuracy and [loss, penalty, validation accuracy] of each epoch."""
    examples = parts(s["data"], seed, (s["images"], s["validation"]), prepared("vgg11"))
    settings, make = {name: s[name] for name in SETTINGS}, partial(network, s["width"])
    return {name: course_of(trained(make, examples, settings | own, seed)) for name, own in s["arms"].items()}


def network(width: float) -> nn.Module:
    """Return VGG-11 with this share of its filters."""
    filters = tuple(round(width * number) for number in _A)
    output = nn.Linear(filters[-2], 10)
    return _vgg(filters, output, output, gain=1.2)


def gain(figure: str) -> Callable[[Sequence[Piece]], list[float]]:
    """Return what computes the difference of test accuracies, or of the means over the epochs, seed by seed."""
    return partial(_gains, figure=figure)


def _gains(pieces: Sequence[Piece], *, figure: str) -> list[float]:
    return [_figure(piece.figures["with"], figure) - _figure(piece.figures["without"], figure) for piece in pieces]


def _figure(arm: dict[str, Any], figure: str) -> float:
    course = [measured for _, _, measured in arm["epochs"]]
    return float(arm["test"]) if figure == "test" else sum(course) / len(course)


def cells(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """Return the accuracies of both arms, and the gain."""
    found = []
    for figure, row in (("test", "test accuracy"), ("course", "validation, mean over the epochs")):
        for name in ARMS:
            found += cell("ours", row, f"{name} SinReQ", [_figure(p.figures[name], figure) for p in pieces])
        found += cell("ours", row, "gain", gain(figure)(pieces), DIFFERENCE)
    return found
