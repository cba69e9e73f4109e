"""Draw penalties ρ, weights and shared values, trainings, operating points. Needs matplotlib (the extra `plot`).

For each picture one function takes plain values (names, arrays, levels) and returns a Figure; `render` returns the
bytes of its file. Levels are the shared values of a tensor or, for a penalty, the values where it is zero.
"""

from qacomp.plots.drawing import (
    MissingMatplotlibError,
    PictureFormatError,
    PictureSizeError,
    picture_format,
    render,
    require_matplotlib,
)
from qacomp.plots.front import FrontPoint, draw_front
from qacomp.plots.histogram import LayerWeights, layer_weights
from qacomp.plots.operating_points import CurvePoint, draw_operating_points
from qacomp.plots.penalty import PenaltyCurve, draw_penalties
from qacomp.plots.training import draw_trainings, panels_of
from qacomp.plots.training_history import HistoryError, TrainingCurve, read_history
from qacomp.plots.weights import Column, draw_weights

__all__ = [
    "Column",
    "CurvePoint",
    "FrontPoint",
    "HistoryError",
    "LayerWeights",
    "MissingMatplotlibError",
    "PenaltyCurve",
    "PictureFormatError",
    "PictureSizeError",
    "TrainingCurve",
    "draw_front",
    "draw_operating_points",
    "draw_penalties",
    "draw_trainings",
    "draw_weights",
    "layer_weights",
    "panels_of",
    "picture_format",
    "read_history",
    "render",
    "require_matplotlib",
]
