"""What is drawn of one layer's weights: how many there are at each shared value, or in each of equal bins."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import NonFiniteWeightsError

_FEW = 256
_PEEK = 4096


@dataclass(frozen=True)
class LayerWeights:
    """One layer of one file.

    Shared: levels (K,) ascending, distinct float64, with counts (K,), and no values. Else values (n,), any float type,
    and neither levels nor counts.
    """

    name: str
    shape: tuple[int, ...]
    values: NDArray[np.floating] | None
    levels: NDArray[np.float64] | None = None
    counts: NDArray[np.int64] | None = None

    @property
    def extremes(self) -> tuple[float, float]:
        """Return the least and the largest weight; of shared ones, the least and the largest shared value."""
        held = self.values if self.levels is None else self.levels
        assert held is not None
        return float(held.min()), float(held.max())


def layer_weights(name: str, weight: NDArray[np.floating]) -> LayerWeights:
    """Return the weights of a dense float tensor of any shape, not empty; as shared where few values are distinct.

    Few: at most 256, each four times on average. Raises NonFiniteWeightsError.
    """
    flat = weight.reshape(-1)
    if not np.isfinite(flat).all():
        raise NonFiniteWeightsError(f"tensor {name} holds NaN or infinity, which no histogram can show; mend it first")
    if len(np.unique(flat[:_PEEK])) <= _FEW:
        distinct, counts = np.unique(flat, return_counts=True)
        if len(distinct) <= _FEW and 4 * len(distinct) <= len(flat):
            return LayerWeights(name, weight.shape, None, distinct.astype(np.float64), counts.astype(np.int64))
    return LayerWeights(name, weight.shape, flat)


def shared_weights(
    name: str, shape: tuple[int, ...], codebook: NDArray[np.floating], indices: NDArray[np.unsignedinteger]
) -> LayerWeights:
    """Return the weights codebook[indices]: codebook (K,) in any order, indices of `shape`; equal values are one level.

    Raises NonFiniteWeightsError.
    """
    book = codebook.astype(np.float64)
    if not np.isfinite(book).all():
        raise NonFiniteWeightsError(f"tensor {name} has NaN or infinity among its shared values; no histogram shows it")
    levels, place = np.unique(book, return_inverse=True)
    uses = np.bincount(indices.reshape(-1), minlength=len(book))  # (K,)
    counts = np.zeros(len(levels), np.int64)
    np.add.at(counts, place, uses)
    return LayerWeights(name, shape, None, levels, counts)


def common_range(layers: Sequence[LayerWeights]) -> tuple[float, float]:
    """Return an interval in which all the weights lie, of positive width also where they are all equal.

    Raises NonFiniteWeightsError where it is wider than float64 can say.
    """
    lows, highs = zip(*(layer.extremes for layer in layers), strict=True)
    low, high = min(lows), max(highs)
    size = max(abs(low), abs(high))
    if size > 1e300:
        raise NonFiniteWeightsError(f"tensor {layers[0].name} holds weights up to {size:g}; no histogram shows them")
    if high - low <= max(1e-9 * size, 1e-290):
        pad = 0.05 * size if size > 1e-280 else 0.5
        return low - pad, high + pad
    return low, high


def bin_counts(
    layer: LayerWeights, bins: int, interval: tuple[float, float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count the weights in `bins` equal parts of `interval`, which holds them all: (bins,), edges (bins + 1,)."""
    assert layer.values is not None
    edges = np.linspace(*interval, bins + 1)
    counts, _ = np.histogram(layer.values.astype(np.float64), bins, interval)
    return counts.astype(np.int64), edges
