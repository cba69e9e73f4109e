"""Draw the operating points of a container: accuracy against bytes and against latency."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from qacomp.plots.drawing import LINE_COLOR, QUIET_COLOR, house_style, panel_grid, plain_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_PANEL = (3.4, 2.3)
_LEAST_SPAN = 0.2  # of the largest value


@dataclass(frozen=True)
class CurvePoint:
    """One network: top-1 accuracy in percent, bytes to fetch, and median milliseconds of one inference."""

    name: str
    accuracy: float
    bytes: int
    latency_ms: float


def draw_operating_points(points: Sequence[CurvePoint]) -> "Figure":
    """Draw two panels with accuracy on the y axis, over bytes and over latency. points: the smallest network first."""
    with house_style():
        figure, grid = panel_grid(1, 2, panel=_PANEL, top=0.2, bottom=0.5)
        bytes_axes, latency_axes = grid[0]
        _curve(bytes_axes, points, [point.bytes / 1000 for point in points], "kB to download")
        _curve(latency_axes, points, [point.latency_ms for point in points], "ms per inference")
        return figure


def _curve(axes: "Axes", points: Sequence[CurvePoint], x: list[float], label: str) -> None:
    accuracies = [point.accuracy for point in points]
    least = _LEAST_SPAN * max(x)
    if max(x) - min(x) < least:  # the difference is noise, and shouldn't look like more
        middle = (max(x) + min(x)) / 2
        axes.set_xlim(middle - least / 2, middle + least / 2)
    axes.locator_params(axis="x", nbins=5)
    axes.plot(x, accuracies, color=LINE_COLOR, marker="o", markersize=3.5, linewidth=1.0)
    for point, place in zip(points, x, strict=True):
        axes.annotate(
            plain_text(point.name, 16),
            (place, point.accuracy),
            xytext=(4, -8),
            textcoords="offset points",
            fontsize=7,
            color=QUIET_COLOR,
            parse_math=False,
        )
    axes.margins(x=0.15, y=0.15)
    axes.set_xlabel(label)
    axes.set_ylabel("top-1 accuracy, %")
