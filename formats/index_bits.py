"""Measure the bits that a tensor's indices take at each level: by them the bytes of a section are divided."""

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.encoding import index_counts, symbol_entropy
from qacomp.formats.records import TensorRecord
from qacomp.formats.tensor_decoder import TensorDecoder

_STREAM_BITS = 16
"""Counts what a stream takes besides its symbols: the codec context stores two bytes of parameters for each."""


def level_bits(record: TensorRecord, counts: NDArray[np.int64], top: int) -> tuple[int, ...]:
    """Return the bits that the indices take in the section of each level up to `top`: about those of any good codec.

    These are their order-0 entropy, and what a codec pays to learn how often each of them occurs. A finer level takes
    what its indices take less what the coarser ones do, which follow from them. counts: how often each index of level
    `top` occurs, or each of the finest level if the levels are stored at once.
    """
    whole = [_adaptive_bits(counts)]
    for children in reversed(() if record.at_once else record.children[:top]):
        counts = np.add.reduceat(counts, np.cumsum((0, *children[:-1])))
        whole.insert(0, _adaptive_bits(counts))
    beside = _STREAM_BITS if record.count else 0
    return tuple(beside + round(max(fine - coarse, 0.0)) for coarse, fine in pairwise((0.0, *whole)))


def _adaptive_bits(counts: NDArray[np.int64]) -> float:
    """Return the bits of symbols that occur so often, with half the log2 of their number for each learnt frequency.

    That is the price of a free parameter (Rissanen 1984, Universal coding, information, prediction, and estimation).
    """
    number, different = int(counts.sum()), int(np.count_nonzero(counts))
    return number * symbol_entropy(counts) + max(different - 1, 0) / 2 * math.log2(max(number, 1))


class DecodedBits:
    """The bits of the indices of an open file; a group is decoded when they are first asked for.

    levels: the number of complete levels; the bits of later ones aren't known.
    """

    def __init__(self, decoder: TensorDecoder, levels: int) -> None:
        self._decoder, self._levels = decoder, levels
        self._known: dict[int, tuple[int, ...]] = {}

    def __call__(self, number: int) -> Sequence[int]:
        """Return the bits at each level of a tensor in a group of indices. Raises a FormatError."""
        if number not in self._known:
            tensors = self._decoder.header.tensors
            group = tensors[number].group - 1
            members = self._decoder.members.indices[group]
            deepest = min(max(tensors[n].stored_levels for n in members), self._levels) - 1
            for n, part in zip(members, self._decoder.group_indices(group, deepest), strict=True):
                record = tensors[n]
                top = min(deepest, record.stored_levels - 1)
                counts = index_counts(part, record.levels[-1 if record.at_once else top])
                self._known[n] = level_bits(record, counts, top)
        return self._known[number]
