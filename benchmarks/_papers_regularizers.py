"""Claim (c): regularizers against the matched baseline, before and after tuning; and what learning u is worth."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from _papers_cells import DIFFERENCE, cell
from _papers_claims import Claim, Question
from _papers_pieces import Piece, Trial
from _papers_training import TensorExamples, compressed, parts, prepared, pretrained
from torch import nn

from qacomp.options.config import CompressConfig
from qacomp.training.loop import DivergedError

NAME = "regularizers"
SEEDS = 5
KS = (2, 3, 4, 8)
NETWORKS = {"lenet300": "LeNet-300-100", "lenet5": "LeNet-5", "resnet20": "ResNet-20"}
ASKED = ("lenet300", "lenet5")
"""The networks that decide the claim; ResNet-20's cells take longest, and are run last."""
FIXED = 1e-12
"""A learning rate of the shared values at which they stay where they start."""
MAIN: dict[str, dict[str, Any]] = {
    "baseline": {"reg": "none"},
    "sin": {"reg": "sin:range=3sigma"},
    "cos": {"reg": "cos:range=3sigma"},
    "min": {"reg": "min"},
    "exp": {"reg": "exp"},
}
STARTS: dict[str, dict[str, Any]] = {
    f"{reg}, {start}, {'fixed' if fixed else 'learned'}": {"reg": f"{reg}:init={start}"}
    | ({"lr_levels": FIXED} if fixed else {})
    for reg in ("min", "exp")
    for start in ("uniform", "kmeans")
    for fixed in (False, True)
    if start == "uniform" or fixed  # learned from k-means is in MAIN
}
METHODS = MAIN | STARTS
BUDGETS: dict[str, dict[str, Any]] = {
    "lenet300": {"images": 5000, "epochs": 3, "tune_epochs": 1, "pull": 64.0, "pretraining": {"epochs": 5, "lr": 0.05}},
    "lenet5": {"images": 1500, "epochs": 4, "tune_epochs": 2, "pull": 64.0, "pretraining": {"epochs": 6, "lr": 0.02}},
    "resnet20": {
        "images": 1500,
        "test": 2000,  # all methods of a seed on the same ones
        "epochs": 2,
        "tune_epochs": 1,
        "pull": 64.0,
        "checkpoint": "resnet20_cifar10j.pth",
    },
}
BySeed = dict[int, dict[str, dict[str, float]]]
"""Accuracies in percent: seed -> method -> stage -> accuracy."""
TURNS = {"lenet300": 4, "lenet5": 5, "resnet20": 9}
STAGES = (
    ("before sharing, validation images", "trained"),
    ("before tuning", "shared"),
    ("after tuning", "tuned"),
)
"""Name each table, and tell which accuracy it shows (see `compressed` and `by_seed`)."""


def claim() -> Claim:
    """Return the claim: a piece is one network, seed and K under all methods, under all starts of u, or under one."""
    trials = []
    for arch, budget in BUDGETS.items():
        groups = {"main": MAIN, "starts": STARTS}
        if arch == "resnet20":
            groups = {name: {name: own} for name, own in MAIN.items()}
        data = "cifar10j" if arch == "resnet20" else "mnist"
        for group, methods in groups.items():
            for seed in range(SEEDS):
                for k in KS:
                    s = budget | {"arch": arch, "data": data, "validation": 1000, "batch": 64, "k": k}
                    s |= {"methods": methods}
                    turn = TURNS[arch] + (3 if group == "starts" else 0)
                    trials.append(Trial(NAME, f"{arch}-k{k}-{group}", seed, s, measure, turn))
    questions = [
        Question(
            f"{NETWORKS[arch]}, {when} tuning: R_E less the matched baseline, mean over K", gain(arch, stage), SEEDS
        )
        for arch in ASKED
        for when, stage in (("before", "shared"), ("after", "tuned"))
    ]
    return Claim(
        NAME,
        "regularizers",
        "a regularizer makes sharing cost less accuracy than k-means of the same network trained without it",
        "LeNet-300-100 and LeNet-5 on MNIST, ResNet-20 on CIFAR-10J, fine-tuned from a trained network, all layers "
        "shared, K = 2, 3, 4, 8, instead of AlexNet and VGG16 on CIFAR-10 from scratch, K = 8 and 64; the baseline has "
        "the same fine-tuning; of ResNet-20 1,500 images for training and 2,000 test images",
        tuple(trials),
        tuple(questions),
        cells=cells,
        remarks=remarks,
    )


def remarks(pieces: Sequence[Piece]) -> list[str]:
    """Return a sentence for each network, K and method that diverged in some seeds."""
    counts: dict[tuple[str, int, str], int] = {}
    for piece in pieces:
        for name, figures in piece.figures.items():
            if "diverged" in figures:
                key = piece.settings["arch"], piece.settings["k"], name
                counts[key] = counts.get(key, 0) + 1
    return [
        f"{NETWORKS[arch]}, K = {k}: {name} diverged in {count} of {SEEDS} seeds, which have no cell."
        for (arch, k, name), count in sorted(counts.items())
    ]


def cells(pieces: Sequence[Piece]) -> list[dict[str, Any]]:
    """Return, by network and stage, the baseline's accuracy and each method's difference to it, a row for each K."""
    found = []
    for arch, title in NETWORKS.items():
        for when, stage in STAGES:
            for k in KS:
                found += beside_baseline(f"{title}, {when}", f"K = {k}", table(pieces, arch, k), stage)
    return found


def beside_baseline(part: str, row: str, seeds: BySeed, stage: str) -> list[dict[str, Any]]:
    """Return a row of a table: the baseline's accuracy at a stage, and each method's difference to it."""
    known = [figures for figures in seeds.values() if "baseline" in figures]
    found = cell(part, row, "baseline", [f["baseline"][stage] for f in known])
    for method in METHODS:
        values = [f[method][stage] - f["baseline"][stage] for f in known if method in f and method != "baseline"]
        found += cell(part, row, method, values, DIFFERENCE)
    return found


def measure(s: dict[str, Any], seed: int) -> dict[str, Any]:
    """Return each method's accuracies, all from the seed's trained network (see `compared`)."""
    counts = s["images"], s["validation"], *([s["test"]] if "test" in s else [])
    examples = parts(s["data"], seed, counts, prepared(s["arch"]))
    return compared(pretrained(s["arch"], seed, s, examples), s, seed, examples)


def compared(model: nn.Module, s: dict[str, Any], seed: int, examples: TensorExamples) -> dict[str, Any]:
    """Return each method's accuracies (see `compressed`): all from one trained network, on the same batches.

    A method whose loss became NaN or infinite has the error instead, as `diverged`; it counts in no cell.
    """
    found: dict[str, Any] = {}
    for name in s["methods"]:
        try:
            found[name] = compressed(model, config(s, seed, name), examples)
        except DivergedError as error:
            found[name] = {"diverged": str(error)}
    return found


def config(s: dict[str, Any], seed: int, method: str) -> CompressConfig:
    """Return the settings of one method: the paper's training, without a teacher."""
    settings = {"arch": s["arch"], "seed": seed, "k": s["k"], "sharing": "after", "distill": "none", "augment": "none"}
    settings |= {"batch_size": s["batch"], "epochs": s["epochs"], "tune_epochs": s["tune_epochs"]}
    own = dict(s["methods"][method])
    if own["reg"] != "none":
        own["pull"] = s["pull"]
    return CompressConfig().with_settings(settings | own, method)


def gain(arch: str, stage: str) -> Callable[[Sequence[Piece]], list[float]]:
    """Return what computes, for each seed with all K, the mean over K of R_E's accuracy less the baseline's."""
    return partial(_gains, arch=arch, stage=stage, method="exp")


def _gains(pieces: Sequence[Piece], *, arch: str, stage: str, method: str) -> list[float]:
    cells = [table(pieces, arch, k) for k in KS]
    found = []
    for seed in range(SEEDS):
        if all(seed in cell and method in cell[seed] for cell in cells):
            pairs = [(cell[seed][method][stage], cell[seed]["baseline"][stage]) for cell in cells]
            found.append(sum(a - b for a, b in pairs) / len(pairs))
    return found


def table(pieces: Sequence[Piece], arch: str, k: int) -> BySeed:
    """Return the accuracies of one network and K."""
    return by_seed([piece for piece in pieces if (piece.settings["arch"], piece.settings["k"]) == (arch, k)])


def by_seed(pieces: Sequence[Piece]) -> BySeed:
    """Return the accuracies in all these pieces, without methods that diverged.

    Beside those of the pieces: trained, on the validation images after fine-tuning, before any weight is shared.
    """
    found: BySeed = {}
    for piece in pieces:
        measured = {
            name: figures | {"trained": figures["epochs"][-1][2]}
            for name, figures in piece.figures.items()
            if "diverged" not in figures
        }
        found.setdefault(piece.seed, {}).update(measured)
    return found
