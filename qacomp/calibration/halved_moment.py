"""Take a second moment in two halves of the samples, and shrink it as far as each half predicts the other better.

Of inputs that have nothing to do with each other, few samples find correlations all the same. Compensation would follow
those, and make outputs on other inputs worse than plain rounding does. So what lies beside the diagonal is shrunk. How
far is tried: by what compensation from one half loses on the other one, which has other images or texts. A formula for
independent samples (Schäfer and Strimmer, 2005) shrinks too little, since neighbouring windows and words aren't
independent, and since compensation needs the inverse of a moment.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from qacomp.rate.compensation import DAMPING

_LARGE, _ENOUGH = 1024, 16
"""Inputs of a moment whose trials take seconds, and samples for each of them with which there are none: next to nothing
was shrunk on images then."""
# Odds of what is taken off to what is kept, which are tried; and those of a large moment, which are tried in single
# precision and for one half alone.
_ODDS: Sequence[float] = (0.0, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 300.0)
_FEW_ODDS: Sequence[float] = (0.0, 0.3, 3.0, 30.0)
_WORSE = 1.01  # times the least loss: a shrinkage that loses more ends the trials


@dataclass
class HalvedMoment:
    """Hold Σ x xᵀ over the samples of each half, (groups, n, n) float64, and how many x were added."""

    _totals: dict[int, Tensor] = field(default_factory=dict)
    _counts: list[int] = field(default_factory=lambda: [0, 0])

    def add(self, moment: Tensor, count: int, number: int) -> None:
        """Add Σ x xᵀ over so many x. number: of their image, text or run, which says to what half they belong."""
        half = number % 2
        self._totals[half] = self._totals[half] + moment if half in self._totals else moment
        self._counts[half] += count

    @property
    def count(self) -> int:
        """Return how many x were added."""
        return sum(self._counts)

    def mean(self) -> Tensor | None:
        """Return the mean over all x, shrunk as far as it is chance; None before the first one."""
        if not self._totals:
            return None
        totals = list(self._totals.values())
        mean = (totals[0] if len(totals) == 1 else totals[0] + totals[1]) / max(1, self.count)
        inputs = mean.shape[-1]
        enough = inputs > _LARGE and self.count >= _ENOUGH * inputs
        if enough or not all(self._counts) or not bool(torch.isfinite(mean).all()):
            return mean
        return _shrunk(mean, self._odds() / 2)  # all samples are twice those of a half: half as much of it is chance

    def _odds(self) -> float:
        """Return the odds with which each half predicts the other best."""
        first, second = (self._totals[half] / self._counts[half] for half in (0, 1))
        ways, tried = [(first, second), (second, first)], _ODDS
        if first.shape[-1] > _LARGE:
            power = first.diagonal(dim1=-2, dim2=-1).mean().clamp_min(torch.finfo(first.dtype).tiny)
            ways, tried = [((first / power).float(), (second / power).float())], _FEW_ODDS
        best, least = 0.0, float("inf")
        for odds in tried:
            lost = sum(_lost(_shrunk(one, odds), other) for one, other in ways)
            if lost < least:
                best, least = odds, lost
            elif lost > _WORSE * least:
                break
        return best


def _shrunk(moment: Tensor, odds: float) -> Tensor:
    """Return a moment (groups, n, n) with the same diagonal, and the rest divided by 1 + odds."""
    powers = moment.diagonal(dim1=-2, dim2=-1)
    return moment / (1 + odds) + (powers * (odds / (1 + odds))).diag_embed()


def _lost(moment: Tensor, other: Tensor) -> float:
    """Return the output error on `other` of errors of 1 in each input, which are compensated by a moment."""
    upper = _upper(moment)
    moved = ((upper @ other) * upper).sum(-1)  # of each row, as an error of the weights
    return float((moved / upper.diagonal(dim1=-2, dim2=-1).square()).sum())


def _upper(moment: Tensor) -> Tensor:
    """Return the upper Cholesky factor U of M⁻¹ = Uᵀ U, damped as for rounding, (groups, n, n)."""
    unit = torch.eye(moment.shape[-1], dtype=moment.dtype)
    scale = moment.diagonal(dim1=-2, dim2=-1).mean(-1)
    damped = moment + torch.where(scale > 0, DAMPING * scale, 1.0)[:, None, None] * unit
    back = torch.linalg.cholesky(damped.flip(-2, -1)).flip(-2, -1)  # M = R Rᵀ with an upper R
    found: Tensor = torch.linalg.solve_triangular(back, unit, upper=True)
    return found
