"""Decide which codebooks, biases and norm scales can be stored in half precision without much loss.

Rounding to fp16 changes a normal number by at most 2⁻¹¹ of itself. Below about 6e-5 fp16 has fewer digits; such a
number may change by 2⁻¹¹ of its tensor's root mean square. A bias much larger than the values that it is added to may
lose little of itself and still much of the sum, so it isn't rounded. Whatever would lose more is stored exactly.
Doesn't need torch.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import precision_bits, stored_values

MOST_REACHES = 64.0
"""Largest ratio of a bias to the values that it is added to; its rounding error is then below 2⁻⁵ of those values."""
_SAMPLE = 1 << 16
_NORMS = (("weight", "bias"), ("gamma", "beta"), ("scale", "bias"))


def holds(values: NDArray[Any], precision: str, counts: NDArray[np.floating] | None = None) -> bool:
    """Return whether `precision` can hold float32 `values` (rows, n) or (n,) without much loss in any row.

    The error of a value may be 2⁻¹¹ (for fp16) of the value or of its row's root mean square, whichever is larger.
    counts: in the shape of the values, the weight of each value's error; None: equal weights. Returns False if
    `precision` is exact, if a value would overflow, and for other dtypes.
    """
    bits = precision_bits(precision)
    if bits is None or values.dtype != np.float32 or not values.size:
        return False
    rounded = stored_values(values, precision)
    if rounded is values:  # a value would overflow
        return False
    weights = 1.0 if counts is None else np.abs(counts.astype(np.float64))
    exact = values.astype(np.float64)
    size = np.abs(exact) * weights
    lost = np.abs(rounded.astype(np.float64) - exact) * weights
    typical = np.sqrt(np.mean(size * size, axis=-1, keepdims=True))
    return bool((lost <= np.maximum(size, typical) * 2.0 ** (5 - bits)).all())


def holds_bias(bias: NDArray[Any], precision: str, reach: float) -> bool:
    """Return whether `precision` can hold a bias (n,) that is added to values of about the size `reach`."""
    return holds(bias, precision) and float(np.abs(bias).max()) <= MOST_REACHES * reach


def reach_of(weight: NDArray[Any], channels: int) -> float:
    """Estimate the size of a weight's products with inputs of variance 1: √(mean square · inputs of a channel).

    For a norm's scale (channels,) that is its root mean square. Large weights are sampled; 0 for a weight that isn't
    float.
    """
    flat = weight.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLE)]
    if not np.issubdtype(sample.dtype, np.floating) or not sample.size:
        return 0.0
    wide = sample.astype(np.float64)
    return float(np.sqrt(np.mean(wide * wide) * max(1.0, weight.size / max(1, channels))))


def codebook_precision(codebook: NDArray[Any], precision: str) -> str:
    """Return `precision` if it can hold a codebook (..., K) without much loss, else "exact"."""
    return precision if holds(codebook, precision) else "exact"


def vectors_held(state: Mapping[str, NDArray[Any]], precision: str) -> dict[str, str]:
    """Map names of the vectors in a state dict that `precision` can hold to a description of each.

    A vector is recognised by names and shapes: x.bias beside a matrix or filters x.weight is a bias (so is bias_ih_l0
    of a recurrent layer beside weight_ih_l0); x.weight and x.bias, both vectors of one length, belong to a norm.
    """
    found: dict[str, str] = {}
    for name, array in state.items():
        if array.dtype != np.float32 or array.ndim != 1 or not array.size:
            continue
        path, _, leaf = name.rpartition(".")
        prefix = f"{path}." if path else ""
        for scale, bias in _NORMS:
            other = state.get(prefix + (bias if leaf == scale else scale)) if leaf in (scale, bias) else None
            if other is not None and other.shape == array.shape:
                held = (
                    holds(array, precision)
                    if leaf == scale
                    else holds_bias(array, precision, reach_of(other, array.size))
                )
                if held:
                    found[name] = f"norm's {leaf}, a vector"
        for word in ("weight", "kernel"):
            beside = prefix + leaf.replace("bias", word)
            weight = state.get(beside) if "bias" in leaf else None
            fits = weight is not None and weight.ndim > 1 and array.size in weight.shape
            if weight is not None and fits and holds_bias(array, precision, reach_of(weight, array.size)):
                found[name] = f"bias beside {beside}, a vector"
    return found
