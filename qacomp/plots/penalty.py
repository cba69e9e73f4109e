"""Draw the penalties ρ of regularizers over an interval, side by side (Malchiodi et al., figures 1 and 2)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from qacomp.plots.drawing import LINE_COLOR, draw_levels, house_style, panel_grid, title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_ACROSS = 3


@dataclass(frozen=True)
class PenaltyCurve:
    """One regularizer: weights (n,) ascending, penalty ρ (n,) of each, and levels (K,), the zeros of ρ; all float64."""

    name: str
    weights: NDArray[np.float64]
    penalty: NDArray[np.float64]
    levels: NDArray[np.float64]


def draw_penalties(curves: Sequence[PenaltyCurve]) -> "Figure":
    """Draw a panel for each curve, up to three in a row, each with its own y axis, since the penalties differ in size.

    The x axis is the curve's interval. Dashed vertical lines are the levels in that interval; the panel's title has the
    number of levels outside. Raises MissingMatplotlibError.
    """
    columns = min(len(curves), _ACROSS)
    with house_style():
        figure, grid = panel_grid(-(-len(curves) // columns), columns, panel=(3.0, 1.9), top=0.5, bottom=0.5)
        panels = [axes for row in grid for axes in row]
        for axes, curve in zip(panels, curves, strict=False):
            low, high = float(curve.weights[0]), float(curve.weights[-1])
            inside = levels_between(curve.levels, low, high)
            axes.plot(curve.weights, curve.penalty, color=LINE_COLOR, linewidth=1.1, gid="penalty")
            draw_levels(axes, inside)
            axes.locator_params(axis="y", nbins=5)
            margin = 0.02 * (high - low)
            axes.set_xlim(low - margin, high + margin)
            axes.set_ylim(0.0, 1.08 * float(curve.penalty.max()) or 1.0)
            axes.set_xlabel("weight w", labelpad=2)
            axes.set_ylabel("penalty ρ(w)", labelpad=3)
            outside = len(curve.levels) - len(inside)
            title(
                axes, curve.name, f"K = {len(curve.levels)}" + (f", {outside} outside the interval" if outside else "")
            )
        for axes in panels[len(curves) :]:
            axes.set_axis_off()
    return figure


def levels_between(levels: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    """Return the values of `levels` (K,) that are in [low, high], with a margin for float32 rounding."""
    slack = 1e-6 * max(abs(low), abs(high), high - low)
    return levels[(levels >= low - slack) & (levels <= high + slack)]
