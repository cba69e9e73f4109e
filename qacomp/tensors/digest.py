"""A digest of inputs, so that what was measured on them isn't taken for what others would give."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def arrays_digest(groups: Iterable[Mapping[str, NDArray[Any]]]) -> str:
    """Return the SHA-256, in hex, over the names, types, shapes and values of arrays in groups, in their order."""
    found = hashlib.sha256()
    for group in groups:
        for name, array in group.items():
            found.update(f"{name}\0{array.dtype.str}{array.shape}\0".encode())
            if array.dtype.hasobject:
                found.update(repr(array.tolist()).encode())
            else:
                found.update(np.ascontiguousarray(array).tobytes())
        found.update(b"\0")
    return found.hexdigest()
