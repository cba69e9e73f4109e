"""Draw the pictures of docs from benchmarks/results: python benchmarks/_figures.py (part of `make tables`)."""

import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from tables import ROOT, load

from qacomp.plots.drawing import LEVEL_COLOR, LINE_COLOR, QUIET_COLOR, house_style, render, title

NAMES = {"lenet5_mnist": "LeNet-5, MNIST", "resnet20_c10j": "ResNet-20, CIFAR-10J"}


def convergence(rows: list[dict[str, Any]]) -> bytes:
    """EPruning's figure 3: training loss, best and mean energy by epoch, of each network's first seed."""
    first: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["name"].endswith("_energy"):
            first.setdefault(row["name"].removesuffix("_energy"), row)
    with house_style():
        figure = Figure(figsize=(4.0 * max(1, len(first)), 2.6), layout="constrained")
        axes = figure.subplots(1, max(1, len(first)), squeeze=False)
        for panel, (name, row) in zip(axes[0], first.items(), strict=False):
            r = row["results"]
            epochs = [e["epoch"] for e in r["search"]]
            panel.plot(epochs, [e["best"] for e in r["search"]], color=LINE_COLOR, label="best energy")
            panel.plot(epochs, [e["mean"] for e in r["search"]], color=LINE_COLOR, ls=":", label="mean energy")
            panel.set_xticks(epochs[:: max(1, len(epochs) // 10)])
            panel.set_xlabel("epoch")
            panel.set_ylabel("energy loss")
            panel.axvline(r["frozen_after"] + 0.5, color=QUIET_COLOR, lw=0.6, ls="--")
            other = panel.twinx()
            other.spines["right"].set_visible(True)
            other.plot(epochs, [e["cross_entropy"] for e in r["epochs"]], color=LEVEL_COLOR, label="training loss")
            other.set_ylabel("training loss")
            lines = [*panel.get_lines()[:2], *other.get_lines()]
            panel.legend(handles=lines, frameon=False, fontsize=6)
            title(panel, NAMES.get(name, name), f"the state is frozen after epoch {r['frozen_after']}")
        return render(figure, "svg")


def main() -> int:
    """Write docs/pruning.svg."""
    Path(ROOT / "docs" / "pruning.svg").write_bytes(convergence(load("pruning")["rows"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
