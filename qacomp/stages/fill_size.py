"""Fill a target size that no common scale meets: finer steps for single tensors, as many as the bytes allow."""

from collections.abc import Sequence

from qacomp.stages.scaled import Scaled

_FACTORS = (0.84, 0.92, 0.96, 0.98)  # on a step: a quarter, an eighth, ... of a bit for each weight of the tensor
_NEAR = 0.002  # of the bytes that are left
_MOST_TRIALS = 48


def filled(scaled: Scaled, scale: float, left: int, order: Sequence[str]) -> Scaled:
    """Return the source with finer steps for some tensors, so that they take at most `left` bytes at a scale.

    order: the tensors that are tried first come first. A step that doesn't fit is left as it was, and the next tensor
    is tried. The same source, scale and bytes give the same steps.
    """
    factors: dict[str, float] = {}
    trials = [(name, factor) for factor in _FACTORS for name in order]
    for name, factor in trials[:_MOST_TRIALS]:
        tried = {**factors, name: factors.get(name, 1.0) * factor}
        size = scaled.finer(tried).shared_bytes(scale)
        if size <= left:
            factors = tried
        if left * (1 - _NEAR) <= size <= left:
            break
    return scaled.finer(factors)
