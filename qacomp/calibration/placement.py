"""Where each value of a weight ends that operators rearrange before another one reads it: the model itself tells.

It is run with the places of the values in place of the values, in digits that half precision holds.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from onnx import helper

from qacomp.graphs.taps import Taps
from qacomp.runtime.agreement import Feed
from qacomp.runtime.session import Session

_DIGIT = 2048  # half precision holds all integers up to it


def places_read(
    session: Session, tapped: Taps, weights: Mapping[str, tuple[int, ...]], feed: Feed
) -> dict[str, NDArray[np.int64]]:
    """Return of each output `held` the place in the weight's own tensor that each of its values comes from.

    session: of the tapped model; weights: the shape of each. An output has no entry where it isn't the weight's
    values, each once: they are scaled, repeated or cut off. It has an empty one where its operator doesn't run.
    """
    behind = [tap for tap in tapped.taps if tap.held]
    if not behind:
        return {}
    names = sorted({tap.held for tap in behind})
    kinds = {v.name: helper.tensor_dtype_to_np_dtype(v.type.tensor_type.elem_type) for v in tapped.model.graph.input}
    places = {tap.weight: np.arange(math.prod(weights[tap.weight])) for tap in behind}
    found = dict.fromkeys(names, np.zeros((), np.int64))
    for power in range(_digits(max(p.size for p in places.values()))):
        digits = {
            weight: (own // _DIGIT**power % _DIGIT).reshape(weights[weight]).astype(kinds[weight])
            for weight, own in places.items()
        }
        for name, value in zip(names, session.run(names, {**feed, **digits}, kept=False), strict=True):
            found[name] = found[name] + _whole(value) * _DIGIT**power
    sizes = {tap.held: places[tap.weight].size for tap in behind}
    return {
        held: found[held] for held, size in sizes.items() if not found[held].size or _is_permutation(found[held], size)
    }


def _digits(size: int) -> int:
    return max(1, math.ceil(math.log(max(size, 2), _DIGIT)))


def _whole(values: NDArray[np.floating]) -> NDArray[np.int64]:
    """Return integers; −1 for what is none."""
    with np.errstate(invalid="ignore"):
        whole = np.where(np.isfinite(values) & (np.rint(values) == values), values, -1)
    return np.clip(whole, -1, _DIGIT).astype(np.int64)


def _is_permutation(places: NDArray[np.int64], size: int) -> bool:
    return places.size == size and np.array_equal(np.sort(places, axis=None), np.arange(size))
