"""Draw the pictures of docs from benchmarks/results: python benchmarks/figures.py.

regularizers.svg is the regularizers paper's figure 3: per network a panel of pre-tuning and one of post-tuning ratios,
grouped bars over scope and K, and the k-means baseline's accuracy on a second axis.
"""

import json
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qacomp.plots.drawing import QUIET_COLOR, house_style, panel_grid, render, title

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
FIGURES = ROOT / "docs" / "figures"
METHODS = ("sin", "cos", "min", "exp", "straight-through", "exp + straight-through")
COLORS = ("#b8cde4", "#7fa6cf", "#f0b49e", "#c8452f", "#a5cf9b", "#33691e")
STAGES = ("pre-tuning", "post-tuning")


def regularizers(document: dict[str, Any]) -> Figure:
    """Figure 3: a row a network, columns before and after tuning."""
    networks: dict[str, list[dict[str, Any]]] = {}
    for row in document["rows"]:
        networks.setdefault(f"{row['settings']['arch']}, {row['settings']['data']}", []).append(row)
    with house_style():
        figure, axes = panel_grid(len(networks), 2, panel=(5.0, 1.9), top=0.75, bottom=0.75)
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


def main() -> None:
    """Draw every picture whose results are there."""
    FIGURES.mkdir(exist_ok=True)
    for name, draw in {"regularizers": regularizers}.items():
        path = RESULTS / f"{name}.json"
        if path.exists():
            picture = render(draw(json.loads(path.read_text(encoding="utf-8"))), "svg")
            (FIGURES / f"{name}.svg").write_bytes(picture)


if __name__ == "__main__":
    main()
