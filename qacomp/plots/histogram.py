"""Count the weights of one layer for drawing: at each shared value, or in bins of equal width."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import NonFiniteWeightsError

_FEW = 256
_PEEK = 4096
_OTHERS = "choose other layers with --layers"


@dataclass(frozen=True)
class LayerWeights:
    """The weights of one layer of one file, either shared or dense.

    Shared: levels (K,) are distinct ascending shared values, counts (K,) the number of weights with each, and values is
    None. Dense: values (n,) of any float type, and levels and counts are None.
    """

    name: str
    shape: tuple[int, ...]
    values: NDArray[np.floating] | None
    levels: NDArray[np.float64] | None = None
    counts: NDArray[np.int64] | None = None

    @property
    def extremes(self) -> tuple[float, float]:
        """Return the smallest and the largest weight, or, if they are shared, the smallest and largest shared value."""
        held = self.values if self.levels is None else self.levels
        assert held is not None
        return float(held.min()), float(held.max())


def layer_weights(name: str, weight: NDArray[np.floating]) -> LayerWeights:
    """Return the weights of a dense float tensor of any shape, which must not be empty.

    A tensor with at most 256 distinct values, each four times on average or more, counts as shared. Raises
    NonFiniteWeightsError if a weight is NaN or infinite.
    """
    flat = weight.reshape(-1)
    if not np.isfinite(flat).all():
        raise NonFiniteWeightsError(f"tensor {name} has NaN or infinite values, so it has no histogram; {_OTHERS}")
    if len(np.unique(flat[:_PEEK])) <= _FEW:
        distinct, counts = np.unique(flat, return_counts=True)
        if len(distinct) <= _FEW and 4 * len(distinct) <= len(flat):
            return LayerWeights(name, weight.shape, None, distinct.astype(np.float64), counts.astype(np.int64))
    return LayerWeights(name, weight.shape, flat)


def shared_weights(
    name: str, shape: tuple[int, ...], codebook: NDArray[np.floating], indices: NDArray[np.unsignedinteger]
) -> LayerWeights:
    """Return the weights codebook[indices]: codebook (K,) in any order, indices of `shape`.

    Equal values of the codebook become one level. Raises NonFiniteWeightsError if a value is NaN or infinite.
    """
    book = codebook.astype(np.float64)
    if not np.isfinite(book).all():
        raise NonFiniteWeightsError(f"tensor {name} has NaN or infinite shared values, no histogram; {_OTHERS}")
    levels, place = np.unique(book, return_inverse=True)
    uses = np.bincount(indices.reshape(-1), minlength=len(book))  # (K,)
    counts = np.zeros(len(levels), np.int64)
    np.add.at(counts, place, uses)
    return LayerWeights(name, shape, None, levels, counts)


def common_range(layers: Sequence[LayerWeights]) -> tuple[float, float]:
    """Return an interval (low, high) of positive width that contains all weights of the layers, even if all are equal.

    Raises NonFiniteWeightsError if a weight is larger than 1e300, where the width could overflow float64.
    """
    lows, highs = zip(*(layer.extremes for layer in layers), strict=True)
    low, high = min(lows), max(highs)
    size = max(abs(low), abs(high))
    if size > 1e300:
        raise NonFiniteWeightsError(f"tensor {layers[0].name} has weights up to {size:g}, too large to draw; {_OTHERS}")
    if high - low <= max(1e-9 * size, 1e-290):
        pad = 0.05 * size if size > 1e-280 else 0.5
        return low - pad, high + pad
    return low, high


def bin_counts(
    layer: LayerWeights, bins: int, interval: tuple[float, float]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count the weights in `bins` equal parts of `interval`, which contains all: counts (bins,), edges (bins + 1,)."""
    assert layer.values is not None
    edges = np.linspace(*interval, bins + 1)
    counts, _ = np.histogram(layer.values.astype(np.float64), bins, interval)
    return counts.astype(np.int64), edges
