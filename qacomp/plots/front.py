"""The front of a sweep: loss against bytes, with all trials behind it and other forms of the model beside it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qacomp.plots.drawing import (
    BAR_COLOR,
    LEVEL_COLOR,
    LINE_COLOR,
    QUIET_COLOR,
    house_style,
    panel_grid,
    plain_text,
    title,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (5.2, 3.4)


@dataclass(frozen=True)
class FrontPoint:
    """A model of some bytes that loses so much; its name is written beside it, unless it is empty."""

    bytes: int
    loss: float
    name: str = ""


def draw_front(
    front: Sequence[FrontPoint], others: Sequence[FrontPoint], peers: Sequence[FrontPoint], measure: str, name: str
) -> "Figure":
    """Draw the front, smallest first, as a line; other trials as dots, peers as crosses. measure: what the loss is."""
    with house_style():
        figure, grid = panel_grid(1, 1, panel=_PANEL, top=0.55, bottom=0.5)
        axes = grid[0][0]
        points = [*front, *others, *peers]
        axes.set_xscale("log")
        if points and all(point.loss > 0 for point in points):
            axes.set_yscale("log")
        axes.plot(*_places(others), color=BAR_COLOR, marker="o", markersize=3.0, linestyle="none", gid="trials")
        axes.plot(*_places(front), color=LINE_COLOR, marker="o", markersize=3.5, linewidth=1.0, gid="front")
        axes.plot(*_places(peers), color=LEVEL_COLOR, marker="x", markersize=5.0, linestyle="none", gid="peers")
        middle = math.sqrt(min(p.bytes for p in points) * max(p.bytes for p in points)) if points else 0.0
        for point in points:
            _write_name(axes, point, point.bytes > middle)
        for formatted in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
            formatted(lambda value, place: f"{value:g}")
        axes.margins(x=0.12, y=0.12)
        axes.set_xlabel("kB, whole file")
        axes.set_ylabel(plain_text(measure, 60))
        title(axes, name, f"{len(front)} on the front of {len(front) + len(others)} trials")
        return figure


def _places(points: Sequence[FrontPoint]) -> tuple[list[float], list[float]]:
    """Return kilobytes and losses."""
    return [max(1, point.bytes) / 1000 for point in points], [point.loss for point in points]


def _write_name(axes: "Axes", point: FrontPoint, left: bool) -> None:
    """Write a point's name above it on the right, or below it on the left, away from a front that falls."""
    style: dict[str, Any] = {"textcoords": "offset points", "fontsize": 6, "color": QUIET_COLOR, "parse_math": False}
    style["ha"] = "right" if left else "left"
    axes.annotate(
        plain_text(point.name, 40),
        (max(1, point.bytes) / 1000, point.loss),
        xytext=(-4, -8) if left else (4, 4),
        **style,
    )
