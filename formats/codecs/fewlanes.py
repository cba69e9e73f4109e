"""Encode rANS symbol by symbol, which is faster for few lanes than array operations of that length.

The result is the same as that of `lanes.encode` and `StepEncoder`, word for word.
"""

import numpy as np
from numpy.typing import NDArray

FEW_TO_ENCODE = 24
"""With up to this many lanes a step of array operations takes longer than its symbols one by one."""


def encode_few(
    states: NDArray[np.uint32], frequency: NDArray[np.integer], first: NDArray[np.integer], bits: int
) -> tuple[NDArray[np.uint32], NDArray[np.uint16]]:
    """Encode symbols, given their frequencies and first slots (n,): symbol i belongs to lane i % lanes.

    states: (lanes,) of the lanes before the last symbol. Returns those after the first symbol, and the words in the
    order of decoding.
    """
    lanes, shift = len(states), 32 - bits
    present: list[int] = states.tolist()
    words: list[int] = []
    lane = len(frequency) % lanes
    for share, slot in zip(frequency[::-1].tolist(), first[::-1].tolist(), strict=True):
        lane = (lane or lanes) - 1
        x = present[lane]
        if x >> shift >= share:
            words.append(x & 0xFFFF)
            x >>= 16
        present[lane] = (x // share << bits) + x % share + slot
    return np.array(present, np.uint32), np.array(words[::-1], np.uint16)
