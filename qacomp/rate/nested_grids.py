"""Nest grids: one tensor at several steps, each level of which refines the indices of the coarser one.

Each level is rounded and compensated by itself, so that it is as good as in a file of its own. Most of a finer level's
index follows from the coarser one; an entry of the finer codebook stands for a pair of both, so its values may repeat.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import Level, SharedTensor
from qacomp.rate.grid_form import distinct


def nested_grids(levels: Sequence[NDArray[np.integer]], steps: Sequence[float]) -> SharedTensor:
    """Return the tensor whose level l holds levels[l] · steps[l], in float64; the coarsest comes first.

    levels: integers of one shape. Raises ValueError for more pairs than indices have: 65,536.
    """
    found, places = distinct(levels[0])
    books, parents = [found * steps[0]], []
    for integers, step in zip(levels[1:], steps[1:], strict=True):
        lowest = int(integers.min())
        width = int(integers.max()) - lowest + 1
        pairs, places = distinct(places * width + (integers - lowest))
        books.append((pairs % width + lowest) * step)
        parents.append(pairs // width)
    if len(books[-1]) > 1 << 16:
        raise ValueError(f"{len(books[-1]):,} pairs of values, and a codebook holds 65,536")
    indices = places.astype(np.uint8 if len(books[-1]) <= 256 else np.uint16)
    coarser = tuple(Level(book, parent) for book, parent in zip(books[:-1], parents, strict=True))
    return SharedTensor(books[-1], indices, coarser)
