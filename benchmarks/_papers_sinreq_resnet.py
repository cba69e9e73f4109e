"""ResNet-20 of claim (d): SinReQ beside DoReFa, with two controls: plain fine-tuning, and a pull to the start."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Self

import torch
from _papers_cells import DIFFERENCE, cell
from _papers_claims import Question
from _papers_pieces import Piece, Trial
from _papers_training import compressed, parts, prepared, pretrained, setup_of
from torch import Tensor

from qacomp.options.config import CompressConfig
from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.training.penalty_rates import travel
from qacomp.training.regularizers import QuantizedLayer, Regularizer
from qacomp.training.regularizers.base import REGULARIZERS, register_regularizer
from qacomp.training.regularizers.blocks import memory_order

ARCH, SEEDS, BITS = "resnet20", 3, (3, 5)
TO_START = "to-start"
BUDGET: dict[str, Any] = {
    "arch": ARCH,
    "data": "cifar10j",
    "images": 2500,
    "validation": 1000,
    "test": 2000,  # all cells of a seed on the same ones
    "checkpoint": "resnet20_cifar10j.pth",
    "epochs": 2,
    "batch": 64,
    "pull": 4.0,  # that of simplenet
}
CELLS = {
    "fp32": "fp32, fine-tuned alike",
    "dorefa": "DoReFa",
    "dorefa + sinreq": "DoReFa + SinReQ",
    "dorefa + to-start": "DoReFa + L2 to the start",
}
GAINS = (
    ("gain of SinReQ", "dorefa + sinreq", "dorefa"),
    ("gain of L2 to the start", "dorefa + to-start", "dorefa"),
    ("SinReQ less L2 to the start", "dorefa + sinreq", "dorefa + to-start"),
)


class ToStart(Regularizer):
    """R = ½ Σ (w − w₀)²: holds each weight where it was at the start, and knows nothing of levels.

    It isn't a mean, so that one λ pulls weights of all layers alike.
    """

    start: Tensor

    def __init__(self, start: Tensor) -> None:
        super().__init__()
        self.register_buffer("start", start.detach().clone())

    @classmethod
    def for_weights(
        cls, weight: Tensor, k: int, options: RegularizerOptions, quantized: QuantizedLayer | None = None
    ) -> Self:
        """Return the penalty of a layer that starts from `weight`; k and the quantizer don't matter."""
        return cls(weight)

    def reference(self, weight: Tensor) -> Tensor:
        """Return R over the whole layer, in its shape or flat in the order of memory: a scalar."""
        if weight.shape == self.start.shape:
            return (weight - self.start).square().sum() / 2
        start = memory_order(self.start)
        assert start is not None
        return (weight - start).square().sum() / 2

    def representatives(self) -> Tensor:
        """Return the starts of the weights, where the penalty is zero: (N,), ascending."""
        return torch.sort(self.start.reshape(-1)).values


def trials(claim: str) -> list[Trial]:
    """Return the trials: a piece is one seed at one number of bits, in all cells."""
    return [
        Trial(claim, f"{ARCH}-{bits}bits", seed, BUDGET | {"bits": bits}, measure, 6)
        for bits in BITS
        for seed in range(SEEDS)
    ]


def questions() -> list[Question]:
    """Return what explains the claim, and decides nothing: the gain, and what a plain pull to the start gains."""
    return [
        Question(
            f"ResNet-20, mean over {' and '.join(map(str, BITS))} bits: {title}", over_bits(one, other), SEEDS, False
        )
        for title, one, other in GAINS
    ]


def cells(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """Return the table of ResNet-20: accuracies, and differences seed by seed."""
    found: list[dict[str, Any]] = []
    for bits in BITS:
        own = of_bits(pieces, bits)
        for name, title in CELLS.items():
            found += cell("ResNet-20", f"{bits} bits", title, [p.figures[name]["shared"] for p in own])
        for title, one, other in GAINS:
            values = [p.figures[one]["shared"] - p.figures[other]["shared"] for p in own]
            found += cell("ResNet-20", f"{bits} bits", title, values, DIFFERENCE)
    return found


def of_bits(pieces: Sequence[Piece], bits: int) -> list[Piece]:
    """Return ResNet-20's pieces at a number of bits."""
    return [p for p in pieces if (p.settings["arch"], p.settings["bits"]) == (ARCH, bits)]


def over_bits(one: str, other: str) -> Callable[[Sequence[Piece]], list[float]]:
    """Return what computes, for each seed with all bits, one cell's accuracy less another's, mean over the bits."""
    return partial(_over_bits, one=one, other=other)


def _over_bits(pieces: Sequence[Piece], *, one: str, other: str) -> list[float]:
    seeds: dict[int, list[float]] = {}
    for bits in BITS:
        for p in of_bits(pieces, bits):
            seeds.setdefault(p.seed, []).append(p.figures[one]["shared"] - p.figures[other]["shared"])
    return [sum(found) / len(found) for _, found in sorted(seeds.items()) if len(found) == len(BITS)]


def measure(s: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return test and validation accuracy by cell; all start from the checkpoint and see the same batches.

    λ of the pull to the start is such that it pulls a weight at a distance from its start as hard as SinReQ at first
    pulls, on average, weights at that distance from their levels.
    """
    if TO_START not in REGULARIZERS.names():  # not on import: tests import it too
        register_regularizer(TO_START)(ToStart)
    examples = parts(s["data"], seed, (s["images"], s["validation"], s["test"]), prepared(ARCH))
    model = pretrained(ARCH, seed, s, examples)
    common = {"arch": ARCH, "seed": seed, "distill": "none", "augment": "none", "batch_size": s["batch"]}
    common |= {"epochs": s["epochs"]}
    quantized = common | {"quantizer": "dorefa", "bits": s["bits"], "schedule": "tanh"}
    held = CompressConfig().with_settings(quantized | {"reg": TO_START, "strength": 1.0}, TO_START)
    strength = s["pull"] / travel(setup_of(model, held, examples))
    settings: dict[str, dict[str, Any]] = {
        "fp32": common | {"reg": "none", "sharing": "after", "k": 256, "tune_epochs": 0},  # costs nothing that shows
        "dorefa": common | {"quantizer": "dorefa", "bits": s["bits"]},
        "dorefa + sinreq": quantized | {"reg": "sinreq", "pull": s["pull"]},
        "dorefa + to-start": quantized | {"reg": TO_START, "strength": strength},
    }
    return {
        name: compressed(model, CompressConfig().with_settings(own, name), examples) for name, own in settings.items()
    }
