"""The papers' figures redrawn from benchmarks/results/papers.json and the pieces: each is drawn where results exist.

- papers_assistants.svg: accuracy by switch, a line for each training (IPKD-TA, figure 2), ours.
- papers_regularizers.svg: accuracy over the baseline's as bars, the baseline on a second axis (regularizers, figure 3).
- papers_weights.svg: weights gather at the quantizer's levels, a column for each epoch (SinReQ, figure 2).
- papers_convergence.svg: accuracy and penalty by epoch, with and without the penalty (SinReQ, figure 3).
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from qacomp.plots.drawing import BAR_COLOR, LEVEL_COLOR, LINE_COLOR, QUIET_COLOR, house_style, title

Document = dict[str, Any]
STRATEGIES = {"no distillation": "#6b6b6b", "IPKD": "#7fa6cf", "IPKD-TA-1": "#a5cf9b", "IPKD-TA-M": "#c8452f"}
METHODS = {"sin": "#b8cde4", "cos": "#7fa6cf", "min": "#f0b49e", "exp": "#c8452f"}
ASSISTED = {"assistants_ladder": "ladder, simplenet", "assistants_scratch": "slimmable, MNIST"}
REACH = 3.0  # root mean squares that a histogram of weights spans on each side


def assistants(document: Document, pieces: Sequence[Document]) -> Figure | None:
    """Accuracy of each sub-model under each training, with 95 % intervals; a panel for each experiment."""
    found = {claim: _cells(document, claim, "accuracy") for claim in ASSISTED}
    found = {claim: cells for claim, cells in found.items() if cells}
    if not found:
        return None
    with house_style():
        figure = Figure(figsize=(4.2 * len(found), 2.8), layout="constrained")
        for panel, (claim, cells) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
            names = list(dict.fromkeys(c["row"] for c in cells))
            for offset, (strategy, color) in enumerate(STRATEGIES.items()):
                own = [c for c in cells if c["column"] == strategy and c["low"] is not None]
                at = [names.index(c["row"]) + 0.05 * (offset - 1.5) for c in own]
                ends = [[c["mean"] - c["low"] for c in own], [c["high"] - c["mean"] for c in own]]
                if own:
                    means = [c["mean"] for c in own]
                    panel.errorbar(at, means, ends, color=color, lw=1, marker="o", ms=3, capsize=2, label=strategy)
            panel.set_xticks(range(len(names)), names)
            panel.set_ylabel("test accuracy, %")
            panel.legend(frameon=False, fontsize=6)
            title(panel, ASSISTED[claim], f"{cells[0]['n']} seeds, 95 % intervals")
    return figure


def regularizers(document: Document, pieces: Sequence[Document]) -> Figure | None:
    """Accuracy over the matched baseline's, as bars, and the baseline's accuracy on a second axis."""
    cells = [*_cells(document, "regularizers"), *_cells(document, "alexnet")]
    parts = [
        part for part in dict.fromkeys(c["part"] for c in cells) if part.endswith(("before tuning", "after tuning"))
    ]
    if not parts:
        return None
    with house_style():
        figure = Figure(figsize=(8.4, 2.5 * ((len(parts) + 1) // 2)), layout="constrained")
        axes = figure.subplots((len(parts) + 1) // 2, 2, squeeze=False)
        for axis, part in zip(axes.flat, parts, strict=False):
            _bars(axis, [c for c in cells if c["part"] == part])
            title(axis, part, "accuracy over that of the matched baseline")
        axes[0][0].legend(frameon=False, fontsize=6, ncols=3)
    return figure


def _bars(axis: Axes, cells: Sequence[Document]) -> None:
    baseline = {c["row"]: c["mean"] for c in cells if c["column"] == "baseline"}
    names = list(baseline)
    for offset, (method, color) in enumerate(METHODS.items()):
        own = [c for c in cells if c["column"] == method]
        at = [names.index(c["row"]) + 0.2 * (offset - 1.5) for c in own]
        axis.bar(at, [1 + c["mean"] / baseline[c["row"]] for c in own], 0.2, color=color, label=method)
    axis.axhline(1.0, color="black", lw=0.6, ls=":")
    axis.set_xticks(range(len(names)), names)
    axis.set_ylabel("ratio")
    heights = [bar.get_height() for bar in axis.patches if hasattr(bar, "get_height")]
    axis.set_ylim(min([0.99, *heights]) - 0.005, max([1.01, *heights]) + 0.005)
    second = axis.twinx()
    second.spines["right"].set_visible(True)
    second.plot(range(len(names)), list(baseline.values()), "o", color=QUIET_COLOR, ms=3.5)
    axis.plot([], [], "o", color=QUIET_COLOR, ms=3.5, label="baseline (right)")
    second.set_ylabel("baseline, %")
    second.set_ylim(0, 105)


def weights(document: Document, pieces: Sequence[Document]) -> Figure | None:
    """Histograms of one layer's weights before and after each epoch; a row without and one with SinReQ."""
    shown = next((p for p in _sinreq(pieces) if "weights" in p["figures"]["dorefa"]), None)
    if shown is None:
        return None
    rows = {"DoReFa": shown["figures"]["dorefa"], "DoReFa + SinReQ": shown["figures"]["dorefa + sinreq"]}
    columns = len(rows["DoReFa"]["weights"])
    with house_style():
        figure = Figure(figsize=(2.1 * columns, 3.2), layout="constrained")
        axes = figure.subplots(2, columns, squeeze=False)
        for line, (name, found) in zip(axes, rows.items(), strict=True):
            for epoch, (panel, counts) in enumerate(zip(line, found["weights"], strict=True)):
                width = 2 * REACH / len(counts)
                centers = [-REACH + width * (i + 0.5) for i in range(len(counts))]
                panel.bar(centers, counts, width, color=BAR_COLOR)
                panel.set_yticks([])
                title(panel, name if epoch == 0 else f"epoch {epoch}", "before" if epoch == 0 else "")
        for panel in axes[-1]:
            panel.set_xlabel("weight / its root mean square", fontsize=6)
    return figure


def convergence(document: Document, pieces: Sequence[Document]) -> Figure | None:
    """Validation accuracy by epoch with and without SinReQ, and the penalty on a second axis: means over seeds."""
    own = [p for p in _sinreq(pieces) if "epochs" in p["figures"]["dorefa"]]
    if not own:
        return None
    with house_style():
        figure = Figure(figsize=(7.6, 2.7), layout="constrained")
        for panel, quantizer in zip(figure.subplots(1, 2), ("dorefa", "wrpn"), strict=True):
            for cell, color in ((quantizer, QUIET_COLOR), (f"{quantizer} + sinreq", LINE_COLOR)):
                by_epoch = list(zip(*(p["figures"][cell]["epochs"] for p in own), strict=True))
                epochs = range(1, len(by_epoch) + 1)
                panel.plot(epochs, [mean(e[2] for e in at) for at in by_epoch], "o-", ms=3, color=color, label=cell)
            second = panel.twinx()
            second.spines["right"].set_visible(True)
            second.plot(epochs, [mean(e[1] for e in at) for at in by_epoch], "s:", ms=3, color=LEVEL_COLOR)
            panel.plot([], [], "s:", ms=3, color=LEVEL_COLOR, label="penalty (right)")
            second.set_ylabel("penalty")
            panel.set_xticks(list(epochs))
            panel.set_xlabel("epoch of fine-tuning")
            panel.set_ylabel("validation accuracy, %")
            panel.legend(frameon=False, fontsize=6)
            title(panel, quantizer, f"3 bits, simplenet, {len(own)} seeds")
    return figure


DRAWN: dict[str, Callable[[Document, Sequence[Document]], Figure | None]] = {
    "papers_assistants": assistants,
    "papers_regularizers": regularizers,
    "papers_weights": weights,
    "papers_convergence": convergence,
}


def read(folder: Path) -> list[Document]:
    """Return the pieces in a folder, by name; a broken one is left out, as the runner does."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(json.loads(path.read_text(encoding="utf-8")))
        except ValueError:
            continue
    return found


def _cells(document: Document, claim: str, kind: str | None = None) -> list[Document]:
    row = next((row for row in document["rows"] if row["name"] == claim), {"results": {}})
    return [c for c in row["results"].get("cells", []) if kind in (None, c["kind"])]


def _sinreq(pieces: Sequence[Document]) -> list[Document]:
    shown = {"arch": "simplenet", "bits": 3}
    return [p for p in pieces if p.get("claim") == "sinreq" and shown.items() <= p["settings"].items()]
