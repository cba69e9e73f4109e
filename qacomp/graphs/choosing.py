"""Recognise look-ups that select the best candidates, such as a detector's boxes, and not rows of an embedding.

Indices from a ranking or search operator (TopK, NonMaxSuppression, NonZero) say which candidates stay. If they select
narrow rows of a tensor, these are the boxes, points or variances of the candidates, and the tensor is a constant.
"""

from __future__ import annotations

import math

from qacomp.graphs.readers import Key, Readers, is_standard

_RANKING = ("TopK", "NonMaxSuppression", "NonZero")
_FIRST = (
    "Identity", "Cast", "CastLike", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Split",
    "Expand", "Tile", "Gather", "GatherND", "GatherElements", "Compress",
)  # fmt: skip
_ALL = ("Concat", "Add", "Sub", "Mul", "Div", "Mod", "Where", "Min", "Max", "Clip")
_NARROW = 8  # most values of a row: a box has four, with variances eight; an embedding has more
_MOST_STEPS = 64


def takes_candidates(readers: Readers, indices: Key | None, dims: tuple[int, ...]) -> bool:
    """Return whether these indices select candidates from a tensor of shape `dims`: narrow rows, by a ranking."""
    return math.prod(dims[1:]) <= _NARROW and _is_ranked(readers, indices)


def _is_ranked(readers: Readers, indices: Key | None) -> bool:
    waiting, seen = [indices], set[Key]()
    for _ in range(_MOST_STEPS):
        key = waiting.pop() if waiting else None
        node = readers.made.get(key) if key is not None and key not in seen else None
        if key is None and not waiting:
            break
        if key is None or node is None:
            continue
        seen.add(key)
        if not is_standard(node) or readers.function(node) is not None:
            continue
        if node.op_type in _RANKING:
            return True
        names = node.input[:1] if node.op_type in _FIRST else node.input if node.op_type in _ALL else ()
        waiting += [readers.key(key[0], name) for name in names]
    return False
