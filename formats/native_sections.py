"""Decode sections of indices with the C decoder, if qacomp-native is installed or QACOMP_NATIVE=1 asks for it.

All checks of a file and its limits stay those of the numpy reader. Where the C decoder refuses a section, numpy decodes
it again, and so raises the error that says what is wrong.
"""

import math
import os
from collections.abc import Sequence

import numpy as np

from qacomp.formats.codecs import Stream
from qacomp.formats.codecs.base import Array, word_dtype
from qacomp.formats.native_installed import installed
from qacomp.formats.native_library import library

VARIABLE = "QACOMP_NATIVE"
_CODECS = {2, 3, 4, 8, 12, 13, 14}
"""huffman, rans, context, twobyte, pruned, trellis, mixing; numpy is as fast with the others."""
_MOST = 1 << 28  # indices of a section, as sections.c demands
_ARENA = 1 << 20  # bytes to begin with


def native_wanted() -> bool:
    """Return whether sections are decoded in C: if it is installed, unless QACOMP_NATIVE says otherwise.

    0 means numpy; anything else but an empty text asks for C, which is then compiled where it isn't installed.
    """
    said = os.environ.get(VARIABLE, "")
    return said != "0" if said else installed() is not None


def reader() -> str:
    """Return what decodes sections of indices: "numpy", or C, and where that is from."""
    if not native_wanted():
        return "numpy"
    return "C (qacomp-native)" if installed() is not None else f"C (compiled here, {VARIABLE})"


def decode_native(codec: int, payload: memoryview, streams: Sequence[Stream]) -> list[Array] | None:
    """Return the parts of a section of indices at level 0, as the codec's `decode` does; None if C doesn't decode it.

    Where it isn't installed, it is compiled at the first call. Raises NativeReaderError if there is no C compiler.
    """
    plain = all(s.kind == "indices" and s.parents is None and not s.children for s in streams)
    if codec not in _CODECS or not plain or not len(payload) or not 0 < sum(s.count for s in streams) <= _MOST:
        return None
    functions = library()
    fields = np.array([_fields(s) for s in streams], np.uint64)
    stored = np.frombuffer(payload, np.uint8)
    sizes = [s.count * word_dtype(s).itemsize for s in streams]
    out = np.empty(sum(sizes), np.uint8)
    more = _ARENA
    while more > 1:
        arena = np.empty(more, np.uint8)
        more = functions.qac_indices(
            *(codec, stored.ctypes.data, stored.size, fields.ctypes.data, len(streams)),
            *(out.ctypes.data, arena.ctypes.data, arena.size),
        )
    if more:
        return None
    ends = np.cumsum(sizes)
    return [out[end - size : end].view(word_dtype(s)) for end, size, s in zip(ends, sizes, streams, strict=True)]


def _fields(stream: Stream) -> tuple[int, ...]:
    """Return what sections.c wants to know about a stream; a vector is one row."""
    shape = stream.shape
    second, deep = (shape[1], math.prod(shape[2:])) if len(shape) > 1 else (1, math.prod(shape))
    kernels, last = math.prod(shape[:2]), shape[-1] if len(shape) > 2 else 1
    return stream.count, stream.start, len(shape), second, deep, stream.alphabet, kernels, last
