"""Draw histograms of weights, one panel per layer, with the shared values u as lines; several files are columns.

The files before, during and after fine-tuning show how the weights move to u (Elthakeb et al., figure 2).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qacomp.plots.drawing import (
    BAR_COLOR,
    FULL_HEIGHT_LEVELS,
    LINE_COLOR,
    PictureSizeError,
    draw_levels,
    footnote,
    house_style,
    panel_grid,
    plain_text,
    title,
)
from qacomp.plots.histogram import LayerWeights, bin_counts, common_range

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_COLUMNS, MAX_PANELS = 8, 256
_PANEL = (2.4, 1.5)


@dataclass(frozen=True)
class Column:
    """One file: the heading above its panels, and its layers by name."""

    heading: str
    layers: Mapping[str, LayerWeights]


def draw_weights(
    columns: Sequence[Column], names: Sequence[str], *, bins: int = 100, log: bool = False, remark: str = ""
) -> "Figure":
    """Draw a panel for each layer of `names` and each column: one row per layer, or up to four layers if one column.

    A layer with levels is drawn as a bar for each level, as high as its count; a layer without as a histogram of `bins`
    bins over the layer's range in all columns. Dashed lines are the layer's levels; if a column has none, the levels
    of the last column that has some. If a column lacks a layer, its panel is empty except for a text that says so. log:
    counts on a logarithmic axis. remark: a line at the bottom.

    Raises PictureSizeError for too many panels, NonFiniteWeightsError for weights too large to draw,
    MissingMatplotlibError.
    """
    if len(columns) > MAX_COLUMNS or len(columns) * len(names) > MAX_PANELS:
        raise PictureSizeError(
            f"{len(columns)} files with {len(names)} layers don't fit one picture of at most {MAX_COLUMNS} files and"
            f" {MAX_PANELS} panels; give fewer files or choose layers with --layers"
        )
    single = len(columns) == 1
    across = max(1, min(4, math.ceil(math.sqrt(len(names))))) if single else len(columns)
    rows = math.ceil(len(names) / across) if single else len(names)
    with house_style():
        figure, grid = panel_grid(rows, across, panel=_PANEL, top=0.85, bottom=0.8)
        panels = [axes for row in grid for axes in row]
        for row, name in enumerate(names):
            here = [column.layers.get(name) for column in columns]
            known = [layer for layer in here if layer is not None]
            interval = common_range(known)
            shared = next((layer.levels for layer in reversed(known) if layer.levels is not None), None)
            for layer, column, axes in zip(here, columns, panels[row * len(columns) :], strict=False):
                if layer is None:
                    _say_missing(axes, name, column.heading)
                    continue
                levels = shared if layer.levels is None else layer.levels
                _draw_panel(axes, layer, levels, interval, bins, log)
        for axes in panels[len(names) * len(columns) :]:
            axes.set_axis_off()
        for axes, column in zip(panels, columns, strict=False):
            height, place = figure.get_figheight(), axes.get_position()
            heading = plain_text(column.heading, 34)
            figure.text(place.x0, 1 - 0.27 / height, heading, fontsize=10, parse_math=False)
        footnote(figure, _explanation(columns, names, remark))
    return figure


def _draw_panel(
    axes: "Axes",
    layer: LayerWeights,
    levels: NDArray[np.float64] | None,
    interval: tuple[float, float],
    bins: int,
    log: bool,
) -> None:
    from matplotlib.ticker import EngFormatter, MaxNLocator

    low, high = interval
    margin = 0.03 * (high - low)
    detail = "×".join(map(str, layer.shape)) or "scalar"
    if levels is not None:
        draw_levels(axes, levels, front=layer.levels is None)
    floor = 0.5 if log else 0.0  # a count of one must be visible on a logarithmic axis
    if log:
        axes.set_yscale("log")
    if layer.levels is not None and layer.counts is not None:
        used = layer.counts > 0
        width = min(5.0, max(0.8, 0.5 * 72 * _PANEL[0] / len(layer.levels)))  # points
        axes.vlines(layer.levels[used], floor, layer.counts[used], colors=LINE_COLOR, linewidth=width, gid="counts")
        top, detail = int(layer.counts.max()), f"{detail}, K = {len(layer.levels)}"
    else:
        counts, edges = bin_counts(layer, bins, interval)
        axes.stairs(counts, edges, baseline=floor, fill=True, color=BAR_COLOR, gid="histogram")
        top = int(counts.max())
    axes.set_xlim(low - margin, high + margin)
    axes.set_ylim(floor, top * 2.0 if log else top * 1.08)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    if not log:
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        axes.yaxis.set_major_formatter(EngFormatter(sep=""))
    title(axes, layer.name, detail)


def _say_missing(axes: "Axes", name: str, heading: str) -> None:
    axes.set_axis_off()
    title(axes, name, f"not in {heading}")


def _explanation(columns: Sequence[Column], names: Sequence[str], remark: str) -> list[str]:
    drawn = [column.layers[name] for column in columns for name in names if name in column.layers]
    books = [len(layer.levels) for layer in drawn if layer.levels is not None]
    lines = ["x: weight, y: number of weights"]
    if any(k <= FULL_HEIGHT_LEVELS for k in books):
        lines[0] += "; dashed: shared values"
    if any(k > FULL_HEIGHT_LEVELS for k in books):
        lines[0] += f"; ticks at the bottom: shared values, if there are more than {FULL_HEIGHT_LEVELS}"
    return [*lines, remark] if remark else lines
