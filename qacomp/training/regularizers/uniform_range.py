"""The range [w, W] of a static regularizer: the K-level uniform grid that fits the layer's weights best."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

_SAMPLE = 65_536
_FRACTIONS = 48


def pooled_weights(weights: Iterable[Tensor]) -> Tensor:
    """Return several layers' weights in one (n,), on the CPU; large layers by an even sample of their share."""
    parts = [w.detach().reshape(-1).cpu() for w in weights]
    stride = max(1, sum(p.numel() for p in parts) // (4 * _SAMPLE))
    return torch.cat([p[::stride].float() for p in parts])


def uniform_range(weight: Tensor, k: int, *, inset: float) -> tuple[float, float]:
    """Return (low, high) of the uniform grid of `k` values with the least mean squared distance to `weight`.

    The paper leaves w and W to the user; weights are bell-shaped, so the extremes waste levels on outliers. Candidates
    are pairs of quantiles (q, 1 − q). `inset`: from low to the first level, in steps (0 for sine, ½ for cosine).
    A layer whose weights are all equal gets a range of width 1 around them.
    """
    values = weight.detach().reshape(-1).double().cpu()
    if values.numel() > _SAMPLE:
        values = values[torch.linspace(0, values.numel() - 1, _SAMPLE).long()]  # (n,)
    ordered = values.sort().values
    best = (float("inf"), 0.0, 0.0)
    for q in [0.0, *torch.logspace(-5, math.log10(0.45), _FRACTIONS).tolist()]:
        low, high = (float(ordered[round(f * (ordered.numel() - 1))]) for f in (q, 1.0 - q))
        if high - low <= 1e-12:
            break
        step = (high - low) / (k - 1)
        nearest = torch.clamp(torch.round((values - low) / step), 0, k - 1) * step + low  # (n,)
        error = float(((values - nearest) ** 2).mean())
        if error < best[0]:
            best = (error, low, high)
    _, low, high = best
    if high - low <= 1e-12:
        middle = float(ordered[ordered.numel() // 2])
        return middle - 0.5, middle + 0.5
    margin = inset * (high - low) / (k - 1)
    return low - margin, high + margin
