"""Claim (b): teacher assistants help the smallest sub-model, from scratch."""

from collections.abc import Callable, Sequence
from typing import Any

import _papers_slimmable
from _papers_cells import DIFFERENCE, cell, printed
from _papers_claims import Claim, Question
from _papers_pieces import Piece, Trial

NAME = "assistants_scratch"
SEEDS = 30
SMALLEST = "width0.125"
FIRST = _papers_slimmable.SETTINGS | {"strategies": ["none", "ipkd", "ta-m"]}
SECOND = _papers_slimmable.SETTINGS | {"strategies": ["ta-1"]}


def claim() -> Claim:
    """Return the claim with 30 paired seeds; the one-assistant trainings come last."""
    trials = [Trial(NAME, "", seed, FIRST, _papers_slimmable.measure, 0) for seed in range(SEEDS)]
    trials += [Trial(NAME, "ta1", seed, SECOND, _papers_slimmable.measure, 8) for seed in range(SEEDS)]
    return Claim(
        NAME,
        "IPKD-TA",
        "assistants help the smallest sub-model, trained from scratch",
        "slimmable dense network of 196-64-64-10 units, widths ⅛, ¼, ½ and 1, on 600 images of MNIST at 14 × 14 "
        "pixels, 80 passes, instead of MobileNet-V1 on CIFAR-10 for 200 epochs",
        tuple(trials),
        (Question("smallest width, IPKD-TA-M less IPKD", less("ta-m", "ipkd", SMALLEST), SEEDS),),
        cells=cells,
    )


TITLES = {"none": "no distillation", "ipkd": "IPKD", "ta-1": "IPKD-TA-1", "ta-m": "IPKD-TA-M"}
PRINTED = {  # CIFAR-10 and CIFAR-100 in the paper's table II, widest first as its accuracies are
    "CIFAR-10": (
        (90.46, 90.59, 90.59, 90.54),
        (89.97, 90.17, 90.27, 90.45),
        (88.74, 89.16, 89.28, 89.15),
        (86.04, 87.03, 86.55, 86.36),
    ),
    "CIFAR-100": (
        (63.56, 63.75, 63.47, 64.19),
        (62.76, 63.52, 62.80, 63.96),
        (60.36, 61.88, 60.96, 62.47),
        (54.98, 58.17, 58.26, 59.18),
    ),
}


def cells(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """Return table II in shape, ours and the printed ones, smallest width first."""
    found = submodel_cells(pieces, [f"width{width}" for width in _papers_slimmable.WIDTHS], "ours, MNIST")
    for data, rows in PRINTED.items():
        for number, row in enumerate(reversed(rows)):
            part, name = f"the paper, {data}", f"width {number + 1} of 4"
            for strategy, value in zip(TITLES.values(), row, strict=True):
                found += printed(part, name, strategy, value)
            found += printed(part, name, "IPKD-TA-M less IPKD", round(row[3] - row[1], 2))
    return found


def submodel_cells(pieces: Sequence[Piece], names: Sequence[str], part: str) -> list[dict[str, Any]]:
    """Return a row for each sub-model: its accuracy under each strategy, and the assistants' differences."""
    seeds, found = by_seed(pieces), []
    for name in names:
        for strategy, title in TITLES.items():
            found += cell(part, name, title, [f[strategy][name] for f in seeds.values() if strategy in f])
        for other in ("ipkd", "none"):
            title = f"IPKD-TA-M less {TITLES[other]}"
            found += cell(part, name, title, less("ta-m", other, name)(pieces), DIFFERENCE)
    return found


def less(one: str, other: str, part: str) -> Callable[[Sequence[Piece]], list[float]]:
    """Return what computes, seed by seed, a sub-model's accuracy under one strategy less that under another."""

    def differences(pieces: Sequence[Piece]) -> list[float]:
        found = by_seed(pieces)
        return [f[one][part] - f[other][part] for f in found.values() if one in f and other in f]

    return differences


def by_seed(pieces: Sequence[Piece]) -> dict[int, dict[str, dict[str, float]]]:
    """Return seed -> strategy -> sub-model -> accuracy; a seed's pieces are joined."""
    found: dict[int, dict[str, dict[str, float]]] = {}
    for piece in pieces:
        found.setdefault(piece.seed, {}).update(piece.figures)
    return found
