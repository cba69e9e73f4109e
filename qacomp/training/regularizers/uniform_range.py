"""Find the range [w, W] of a static regularizer: that of the uniform grid of K values that fits the weights best."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

_SAMPLE = 65_536  # weights of a layer that are looked at
_FRACTIONS = 48  # ranges that are tried


def pooled_weights(weights: Iterable[Tensor]) -> Tensor:
    """Return the weights of several layers as one tensor (n,) float32 on the CPU; of many weights every m-th."""
    parts = [w.detach().reshape(-1).cpu() for w in weights]
    stride = max(1, sum(p.numel() for p in parts) // (4 * _SAMPLE))
    return torch.cat([p[::stride].float() for p in parts])


def around_mean(weight: Tensor, reach: float) -> tuple[float, float]:
    """Return (mean − reach·σ, mean + reach·σ) of the weights; equal weights get a range of width 1 around them."""
    values = weight.detach().double()
    middle, half = float(values.mean()), reach * float(values.std(correction=0))
    half = half if half > 1e-12 else 0.5
    return middle - half, middle + half


def uniform_range(weight: Tensor, k: int, *, inset: float) -> tuple[float, float]:
    """Return (low, high) of the uniform grid of `k` values with the least mean squared distance to `weight`.

    The paper leaves w and W to the user. Weights are bell-shaped, so a grid from the smallest to the largest weight
    would spend most of its values on outliers; instead pairs of quantiles (q, 1 − q) are tried as its ends. inset:
    distance from low to the first value, in steps (0 for sine, ½ for cosine). A layer whose weights are all equal gets
    a range of width 1 around them.
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
