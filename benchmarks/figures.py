"""Draw the pictures of docs from benchmarks/results: python benchmarks/figures.py (part of `make tables`).

pruning.svg is EPruning's figure 3: training loss, best and mean energy by epoch. regularizers.svg is the regularizers
paper's figure 3: per network a panel of pre-tuning and one of post-tuning ratios, grouped bars over scope and K, and
the k-means baseline's accuracy on a second axis. The papers' claims have figures of their own, see _papers_figures.
"""

import json
import math
from pathlib import Path
from typing import Any

import _papers_figures
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qacomp.plots.drawing import LEVEL_COLOR, LINE_COLOR, QUIET_COLOR, house_style, render, title

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs"
METHODS = ("sin", "cos", "min", "exp", "straight-through", "exp + straight-through")
COLORS = ("#b8cde4", "#7fa6cf", "#f0b49e", "#c8452f", "#a5cf9b", "#33691e")
NAMES = {"lenet5_mnist": "LeNet-5, MNIST", "resnet20_c10j": "ResNet-20, CIFAR-10J"}
STAGES = ("pre-tuning", "post-tuning")


def regularizers(document: dict[str, Any]) -> Figure:
    """Figure 3: a row a network, columns before and after tuning."""
    networks: dict[str, list[dict[str, Any]]] = {}
    for row in document["rows"]:
        networks.setdefault(f"{row['settings']['arch']}, {row['settings']['data']}", []).append(row)
    with house_style():
        height = 2.6 * len(networks) + 0.9
        place = {"left": 0.055, "right": 0.945, "wspace": 0.26, "hspace": 0.55}
        figure = Figure(figsize=(12.0, height))
        axes = figure.subplots(
            len(networks), 2, squeeze=False, gridspec_kw={**place, "top": 1 - 0.55 / height, "bottom": 0.85 / height}
        )
        for line, (name, rows) in zip(axes, networks.items(), strict=True):
            for axis, stage in zip(line, STAGES, strict=True):
                _bars(axis, rows, stage)
                seeds = sorted({row["settings"]["seeds"] for row in rows})
                title(axis, f"{name}, {stage}", f"accuracy over that of k-means; seeds: {seeds[-1]}", limit=60)
        handles, labels = axes[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="lower center", ncols=len(METHODS) + 1, frameon=False, fontsize=7)
    return figure


def _bars(axis: Axes, rows: list[dict[str, Any]], stage: str) -> None:
    width = 0.8 / len(METHODS)
    baseline = [row["results"][f"kmeans {stage}"] for row in rows]
    for place, (method, color) in enumerate(zip(METHODS, COLORS, strict=True)):
        ratios = [row["results"][f"{method} {stage}"] / b for row, b in zip(rows, baseline, strict=True)]
        centers = [i + (place - (len(METHODS) - 1) / 2) * width for i in range(len(rows))]
        axis.bar(centers, ratios, width, color=color, label=method)
    axis.axhline(1.0, color="black", linewidth=0.6)
    axis.set_xticks(range(len(rows)), [f"K={row['settings']['k']}\n{row['settings']['scope']}" for row in rows])
    axis.set_ylabel("ratio")
    second = axis.twinx()
    second.spines["right"].set_visible(True)
    second.plot(range(len(rows)), baseline, "o", color=QUIET_COLOR, markersize=3.5)
    axis.plot([], [], "o", color=QUIET_COLOR, markersize=3.5, label="k-means' accuracy (right axis)")
    second.set_ylim(0, 105)
    second.set_ylabel("k-means, %")


def pruning(document: dict[str, Any]) -> Figure:
    """EPruning's figure 3: training loss, best and mean energy by epoch, of each network's first seed."""
    first: dict[str, dict[str, Any]] = {}
    for row in document["rows"]:
        if row["name"].endswith("_energy"):
            first.setdefault(row["name"].removesuffix("_energy"), row)
    with house_style():
        figure = Figure(figsize=(4.0 * max(1, len(first)), 2.6), layout="constrained")
        axes = figure.subplots(1, max(1, len(first)), squeeze=False)
        for panel, (name, row) in zip(axes[0], first.items(), strict=False):
            r = row["results"]
            epochs = [e["epoch"] for e in r["search"]]
            panel.plot(epochs, [e["best"] for e in r["search"]], color=LINE_COLOR, label="best energy")
            panel.plot(
                epochs,
                [math.nan if e["mean"] is None else e["mean"] for e in r["search"]],
                color=LINE_COLOR,
                ls=":",
                label="mean energy",
            )
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
    return figure


def main() -> None:
    """Draw every picture whose results are there."""
    for name, draw in {"regularizers": regularizers, "pruning": pruning}.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            picture = render(draw(json.loads(path.read_text(encoding="utf-8"))), "svg")
            (FIGURES / f"{name}.svg").write_bytes(picture)
    if (RESULTS / "papers.json").exists():
        document = json.loads((RESULTS / "papers.json").read_text(encoding="utf-8"))
        pieces = _papers_figures.read(RESULTS / "papers")
        for name, drawn in _papers_figures.DRAWN.items():
            if (figure := drawn(document, pieces)) is not None:
                (FIGURES / f"{name}.svg").write_bytes(render(figure, "svg"))


if __name__ == "__main__":
    main()
