"""Which codebooks, biases and norm scales half precision holds with no more loss than ordinary numbers have.

An ordinary number loses up to 2⁻¹¹ of itself. One near or below 6e-5, where half precision has fewer digits, may lose
2⁻¹¹ of what its tensor holds on the whole, but no more; and a bias that dwarfs what it is added to, an offset, loses
little of itself and much of the sum. What would lose more is kept exactly. Needs no torch.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import precision_bits, stored_values

MOST_REACHES = 64.0
"""How many times the size of what a bias is added to it may be: its rounding is then below 2⁻⁵ of that."""
_SAMPLE = 1 << 16
_NORMS = (("weight", "bias"), ("gamma", "beta"), ("scale", "bias"))


def holds(values: NDArray[Any], precision: str, counts: NDArray[np.floating] | None = None) -> bool:
    """Return whether `precision` rounds float32 `values` (rows, n) or (n,) without undue loss.

    Undue is more than ordinary numbers lose, measured in each row.
    counts: values' shape, what a unit of each value makes in the operator's output; None: the same for all. False also
    where `precision` is exact, or a value overflows.
    """
    bits = precision_bits(precision)
    if bits is None or values.dtype != np.float32 or not values.size:
        return False
    rounded = stored_values(values, precision)
    if rounded is values:  # it would overflow
        return False
    weights = 1.0 if counts is None else np.abs(counts.astype(np.float64))
    exact = values.astype(np.float64)
    size = np.abs(exact) * weights
    lost = np.abs(rounded.astype(np.float64) - exact) * weights
    typical = np.sqrt(np.mean(size * size, axis=-1, keepdims=True))
    return bool((lost <= np.maximum(size, typical) * 2.0 ** (5 - bits)).all())


def holds_bias(bias: NDArray[Any], precision: str, reach: float) -> bool:
    """Return whether `precision` holds a bias (n,) that is added to values of about the size `reach`."""
    return holds(bias, precision) and float(np.abs(bias).max()) <= MOST_REACHES * reach


def reach_of(weight: NDArray[Any], channels: int) -> float:
    """Estimate how large a weight's products are with inputs of variance 1: the root of its mean square a channel.

    Of a norm's scale (channels,) that is its own size. Large weights are sampled; one that isn't float has none: 0.
    """
    flat = weight.reshape(-1)
    sample = flat[:: max(1, flat.size // _SAMPLE)]
    if not np.issubdtype(sample.dtype, np.floating) or not sample.size:
        return 0.0
    wide = sample.astype(np.float64)
    return float(np.sqrt(np.mean(wide * wide) * max(1.0, weight.size / max(1, channels))))


def codebook_precision(codebook: NDArray[Any], precision: str) -> str:
    """Return `precision`, or exact where that would lose more of a codebook (..., K) than of an ordinary one."""
    return precision if holds(codebook, precision) else "exact"


def vectors_held(state: Mapping[str, NDArray[Any]], precision: str) -> dict[str, str]:
    """Return names of a state dict's vectors that `precision` may hold, with what each is; of others nothing is known.

    Names and shapes tell: x.bias beside a matrix or filters x.weight, and x.weight beside x.bias, both vectors of one
    length, which are a norm's. Parts of a recurrent layer (bias_ih_l0 beside weight_ih_l0) count like that too.
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
