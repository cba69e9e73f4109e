"""Claim (d): SinReQ's table 1 on simplenet, with plain fine-tuning in full precision as control; and ResNet-20's."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import _papers_sinreq_resnet as resnet
from _papers_cells import DIFFERENCE, cell, printed
from _papers_claims import Claim, Question
from _papers_pieces import Piece, Trial
from _papers_training import compressed, parts, prepared, pretrained

from qacomp.options.config import CompressConfig

NAME = "sinreq"
SEEDS = 10
MORE = 8
"""Seeds at 3 bits beside the planned ten, whose intervals were a little wider than ± 0.3 points."""
BITS = (3, 4, 5)
QUANTIZERS = {"dorefa": "DoReFa", "wrpn": "WRPN"}
PRINTED = {  # the paper's CIFAR10 rows: DoReFa, with SinReQ, WRPN, with SinReQ; full precision 74.91
    3: (58.80, 63.28, 55.26, 56.46),
    4: (65.54, 70.88, 68.72, 70.84),
    5: (73.12, 74.10, 73.94, 74.82),
}
WATCHED = "conv2"
"""The layer of the paper's figure 2; its weights are counted in the first seed."""
BUDGET: dict[str, Any] = {
    "arch": "simplenet",
    "data": "cifar10j",
    "images": 6000,
    "validation": 1000,
    "pretraining": {"epochs": 8, "lr": 0.02},
    "epochs": 3,
    "batch": 64,
    "pull": 4.0,  # chosen on a validation part by the suite sinreq
}


def claim() -> Claim:
    """Return the claim: a piece is one seed at one number of bits, all four trainings and the control."""
    trials = [
        Trial(
            NAME, f"{bits}bits", seed, BUDGET | {"bits": bits}, measure, 7 if bits > min(BITS) else 1 if seed < 5 else 3
        )
        for bits in BITS
        for seed in range(SEEDS + (MORE if bits == min(BITS) else 0))
    ]
    trials += resnet.trials(NAME)
    return Claim(
        NAME,
        "SinReQ",
        "SinReQ adds accuracy to quantized fine-tuning",
        "simplenet, 6,000 images of CIFAR-10J, 8 epochs in full precision, then 3 of fine-tuning, the penalty in the "
        f"quantizer's own domain, every layer quantized; {MORE} seeds at {min(BITS)} bits were added to the planned "
        f"{SEEDS}, whose intervals were a little wider than ± 0.3 points. ResNet-20 from its trained weights, "
        f"{resnet.BUDGET['images']:,} images, {resnet.BUDGET['epochs']} epochs; its second control has, instead of the "
        "sine, a penalty that pulls each weight to where it started, as hard at the same distance",
        tuple(trials),
        (
            *(
                Question(
                    f"{title} at {min(BITS)} bits, with SinReQ less without", gain(quantizer, min(BITS)), SEEDS + MORE
                )
                for quantizer, title in QUANTIZERS.items()
            ),
            *resnet.questions(),
        ),
        cells=cells,
    )


def cells(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """Return table 1, ours and the paper's."""
    found: list[dict[str, Any]] = []
    for bits in BITS:
        row, own = f"{bits} bits", [piece.figures for piece in of_bits(pieces, bits)]
        found += cell("ours", row, "fp32, fine-tuned alike", [f["fp32"]["shared"] for f in own])
        for quantizer, title in QUANTIZERS.items():
            for name, text in ((quantizer, title), (f"{quantizer} + sinreq", f"{title} + SinReQ")):
                found += cell("ours", row, text, [f[name]["shared"] for f in own])
            found += cell("ours", row, f"gain, {title}", gain(quantizer, bits)(pieces), DIFFERENCE)
    for bits, row in PRINTED.items():
        found += printed("the paper", f"{bits} bits", "fp32", 74.91)
        for number, title in enumerate(QUANTIZERS.values()):
            plain, drawn = row[2 * number : 2 * number + 2]
            found += printed("the paper", f"{bits} bits", title, plain)
            found += printed("the paper", f"{bits} bits", f"{title} + SinReQ", drawn)
            found += printed("the paper", f"{bits} bits", f"gain, {title}", round(drawn - plain, 2))
    return found + resnet.cells(pieces)


def of_bits(pieces: Sequence[Piece], bits: int) -> list[Piece]:
    """Return simplenet's pieces at a number of bits."""
    return [piece for piece in pieces if (piece.settings["arch"], piece.settings["bits"]) == (BUDGET["arch"], bits)]


def measure(s: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return test and validation accuracy by cell; all start from one trained network and see the same batches."""
    examples = parts(s["data"], seed, (s["images"], s["validation"]), prepared(s["arch"]))
    model = pretrained(s["arch"], seed, s, examples)
    cells: dict[str, dict[str, Any]] = {"fp32": {"reg": "none", "sharing": "after", "k": 256}}
    for quantizer in QUANTIZERS:
        cells[quantizer] = {"quantizer": quantizer, "bits": s["bits"]}
        cells[f"{quantizer} + sinreq"] = cells[quantizer] | {"reg": "sinreq", "pull": s["pull"], "schedule": "tanh"}
    watched = WATCHED if seed == 0 else None
    return {name: compressed(model, config(s, seed, name, own), examples, watched) for name, own in cells.items()}


def config(s: dict[str, Any], seed: int, cell: str, own: dict[str, Any]) -> CompressConfig:
    """Return one cell's settings. The control has 256 shared values, which cost it nothing that shows."""
    settings = {"arch": s["arch"], "seed": seed, "distill": "none", "augment": "none", "batch_size": s["batch"]}
    settings |= {"epochs": s["epochs"]} | ({"tune_epochs": 0} if "quantizer" not in own else {})
    return CompressConfig().with_settings(settings | own, cell)


def gain(quantizer: str, bits: int) -> Callable[[Sequence[Piece]], list[float]]:
    """Return what computes SinReQ's gain, seed by seed."""
    return partial(differences, one=f"{quantizer} + sinreq", other=quantizer, bits=bits)


def differences(pieces: Sequence[Piece], *, one: str, other: str, bits: int) -> list[float]:
    """Return one cell's test accuracy less another's, seed by seed."""
    found = [piece.figures for piece in of_bits(pieces, bits)]
    return [f[one]["shared"] - f[other]["shared"] for f in found]
