"""Pictures: penalties ρ, weights with their shared values, operating points. Needs matplotlib (the extra `plot`).

Each picture is one function from plain values (names, arrays, levels) to a Figure; `render` makes its bytes.
"""

from qacomp.plots.drawing import (
    MissingMatplotlibError,
    PictureFormatError,
    PictureSizeError,
    picture_format,
    render,
    require_matplotlib,
)
from qacomp.plots.histogram import LayerWeights, layer_weights
from qacomp.plots.operating_points import CurvePoint, draw_operating_points
from qacomp.plots.penalty import PenaltyCurve, draw_penalties
from qacomp.plots.weights import Column, draw_weights

__all__ = [
    "Column",
    "CurvePoint",
    "LayerWeights",
    "MissingMatplotlibError",
    "PenaltyCurve",
    "PictureFormatError",
    "PictureSizeError",
    "draw_operating_points",
    "draw_penalties",
    "draw_weights",
    "layer_weights",
    "picture_format",
    "render",
    "require_matplotlib",
]
