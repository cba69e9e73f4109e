"""Compute the curves of `draw_penalties` with the same code that computes the penalty in training."""

import math
from statistics import NormalDist

import numpy as np
import torch
from numpy.typing import NDArray

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.options.method import MethodLike
from qacomp.plots.penalty import PenaltyCurve
from qacomp.training.regularizers import REGULARIZERS, build_regularizers

_POINTS = 801
_SAMPLE = 2001


def penalty_curve(
    method: MethodLike, k: int, low: float, high: float, *, levels: tuple[float, ...] | None = None
) -> PenaltyCurve:
    """Compute the penalty ρ of a regularizer with K levels at points of [low, high].

    The points are evenly spaced, and also the levels and the midpoints between them.

    method: the regularizer's name and hyper-parameters. sin, cos: [low, high] is their range if `method` gives none.
    min, exp: their levels are `levels` if given; otherwise the hyper-parameter `init` finds them in normally
    distributed weights that fill the interval (three standard deviations on both sides). sinreq: its scale is that of
    weights which reach both ends of the interval. Raises ConfigError for unusable ends, levels or hyper-parameters.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConfigError(f"--low {low:g} --high {high:g}: give two numbers, the lower one first")
    if not max(abs(low), abs(high)) <= 1e6 or high - low < 1e-6 * max(abs(low), abs(high), 1e-3):
        raise ConfigError(f"--low {low:g} --high {high:g}: too wide or too narrow to draw; give ends such as -1 and 1")
    chosen = CompressConfig().with_settings({"reg": method}, "the picture").reg
    name = chosen.name
    if "range" in (found.name for found in REGULARIZERS.hyperparameters(name)):
        chosen = chosen.filled(range=f"{low!r}:{high!r}")
    weights = torch.from_numpy(_bell(low, high))  # (n,)
    if levels is not None:
        if not all(low <= u <= high for u in levels) or len(set(levels)) < 2:
            raise ConfigError("--levels: give at least two different numbers between --low and --high")
        weights, k = torch.tensor(sorted(set(levels)), dtype=torch.float64), len(set(levels))
    penalty = build_regularizers(chosen, {"w": weights}, {"w": k})["w"].double().eval()
    found = penalty.representatives().detach().double()
    if levels is not None and not torch.equal(found, weights):
        raise ConfigError(
            f"--levels: the levels of {name} follow from K and its range; leave --levels out, or use min or exp"
        )
    at = np.unique(np.concatenate([np.linspace(low, high, _POINTS), *_corners(found.numpy(), low, high)]))
    with torch.no_grad():
        values = [float(penalty.reference(w)) for w in torch.from_numpy(at)]
    return PenaltyCurve(name, at, np.array(values), found.numpy())


def _bell(low: float, high: float) -> NDArray[np.float64]:
    """Return even quantiles (n,), ascending, of a normal distribution cut off at three standard deviations."""
    bell = NormalDist()
    edge = bell.cdf(3.0)
    quantiles = np.linspace(1 - edge, edge, _SAMPLE).tolist()
    unit = np.array([bell.inv_cdf(q) for q in quantiles]) / 3.0
    weights: NDArray[np.float64] = low + (high - low) * (unit + 1) / 2
    weights[0], weights[-1] = low, high
    return weights


def _corners(levels: NDArray[np.float64], low: float, high: float) -> list[NDArray[np.float64]]:
    """Return the points in [low, high] where ρ has zeros and peaks: the levels and the midpoints between them."""
    corners = [levels, (levels[1:] + levels[:-1]) / 2]
    return [c[(c >= low) & (c <= high)] for c in corners]
