"""Fill a target size that no common scale meets: finer steps for single tensors, as many as the bytes allow."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from qacomp.rate.record import RateSearch, ScaleTrial, finite
from qacomp.stages.scaled import Scaled

_FACTORS = (0.84, 0.92, 0.96, 0.98)  # on a step: a quarter, an eighth, ... of a bit for each weight of the tensor
_NEAR = 0.002  # of the bytes that are left
_MOST_TRIALS = 48
_SURE, _FEW_BYTES = 1.25, 16  # a step that is estimated to take so many times the room, and these bytes, isn't tried


def finer_steps(scaled: Scaled, scale: float, left: int, order: Sequence[str]) -> dict[str, float]:
    """Return factors on the steps of some tensors, so that all of them take at most `left` bytes at a scale.

    order: the tensors that are tried first come first. A step that doesn't fit is left as it was, and the next tensor
    is tried. The same source, scale and bytes give the same factors. Only steps that the source's estimate doesn't rule
    out are measured.
    """
    factors: dict[str, float] = {}
    now, told = (scaled.searched_bytes(scale), scaled.estimate(scale)) if scaled.estimate is not None else (0, 0.0)
    trials = [(name, factor) for factor in _FACTORS for name in order]
    for name, factor in trials[:_MOST_TRIALS]:
        tried = {**factors, name: factors.get(name, 1.0) * factor}
        fine = scaled.finer(tried)
        about = 0.0 if fine.estimate is None else fine.estimate(scale)
        if (about - told) * now > (left - now) * _SURE * told + _FEW_BYTES * told:
            continue
        size = fine.searched_bytes(scale)
        if size <= left:
            factors, now, told = tried, size, about
        if left * (1 - _NEAR) <= size <= left:
            break
    return factors


def with_figures(search: RateSearch, fine: Scaled, factors: Mapping[str, float]) -> RateSearch:
    """Return the record of a search whose chosen scale has the figures of `fine`, the source with these factors."""
    scale = search.chosen
    if scale is None:
        return search
    own = ScaleTrial(scale, fine.shared_bytes(scale), finite(fine.distance(scale)))
    trials = tuple(own if trial.scale == scale else trial for trial in search.trials)
    return replace(search, trials=trials, filled=tuple(sorted(factors)))
