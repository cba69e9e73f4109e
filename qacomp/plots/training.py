"""Draw trainings by epoch, one beside another: task loss, penalty, and the metric on the validation part.

Figure 3 of Elthakeb et al. (SinReQ) compares a training with a penalty and one without in this way.
"""

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from qacomp.plots.drawing import (
    BAR_COLOR,
    LEVEL_COLOR,
    LINE_COLOR,
    QUIET_COLOR,
    PictureSizeError,
    house_style,
    panel_grid,
    plain_text,
    title,
)
from qacomp.plots.training_history import TrainingCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MOST_TRAININGS = 8
_PANEL = (3.0, 2.3)
_COLORS = (LINE_COLOR, LEVEL_COLOR, BAR_COLOR, QUIET_COLOR)
_DASHES = ("solid", "dashed")  # of the first four trainings, and of the others


def draw_trainings(curves: Sequence[TrainingCurve]) -> "Figure":
    """Draw a panel for the loss, one for the penalty if there is any, and one for each metric.

    Raises PictureSizeError for more than eight trainings.
    """
    if len(curves) > MOST_TRAININGS:
        raise PictureSizeError(f"{len(curves)} trainings in one picture; give at most {MOST_TRAININGS}")
    panels = panels_of(curves)
    with house_style():
        figure, grid = panel_grid(1, len(panels), panel=_PANEL, top=0.55, bottom=0.5 + 0.16 * len(curves))
        for axes, name in zip(grid[0], panels, strict=True):
            for number, curve in enumerate(curves):
                _line(axes, number, curve, _series(curve, name))
            axes.set_xlabel("epoch")
            axes.set_ylabel(plain_text(name, 40))
            title(axes, name, f"{len(curves)} trainings" if len(curves) > 1 else curves[0].stage)
        handles, labels = grid[0][0].get_legend_handles_labels()
        legend = figure.legend(handles, labels, loc="lower left", frameon=False, fontsize=7, borderaxespad=0.2)
        for text in legend.get_texts():
            text.set_parse_math(False)  # names of files aren't formulas
        return figure


def panels_of(curves: Sequence[TrainingCurve]) -> list[str]:
    """Return the names of the panels: loss, penalty, and metrics in the order of the trainings."""
    penalty = ["penalty"] if any(any(curve.penalties) for curve in curves) else []
    metrics = dict.fromkeys(f"validation {curve.metric}" for curve in curves if curve.metric)
    return ["loss", *penalty, *metrics]


def _series(curve: TrainingCurve, panel: str) -> Sequence[float]:
    """Return a training's values in a panel, empty where it has none."""
    if panel == "loss":
        return curve.losses
    if panel == "penalty":
        return curve.penalties if any(curve.penalties) else ()
    return curve.values if panel == f"validation {curve.metric}" else ()


def _line(axes: "Axes", number: int, curve: TrainingCurve, values: Sequence[float]) -> None:
    epochs = range(1, len(values) + 1)
    shown = plain_text(f"{curve.name}: {curve.stage}, {len(curve.losses)} epochs", 80)
    dots = "o" if sum(map(math.isfinite, values)) == 1 else ""  # one point makes no line
    axes.plot(
        epochs,
        values,
        color=_COLORS[number % len(_COLORS)],
        linestyle=_DASHES[number // len(_COLORS)],
        marker=dots,
        markersize=3.0,
        linewidth=1.1,
        label=f"{number + 1}. {shown}",
        gid=f"training-{number}",
    )
