"""Find the contexts of the codec mixing: what a block's values have to do with those that were coded before.

Values are distances from the centre of the codebook. Magnitudes are predicted by the mean magnitudes of the tensor, the
filter, the input channel, the place in the kernel, the same kernel and the neighbours in it. Signs are predicted by the
signed neighbours, since trained kernels are smooth. All numbers are integers.
"""

from collections.abc import Sequence

import numpy as np

from qacomp.formats.codecs.contextcounts import Ints, add_each
from qacomp.formats.codecs.contextmodel import log2_fixed
from qacomp.formats.codecs.mixingblocks import PLACES, Block, Table

FLAGS = 18
"""Flags of a magnitude with contexts of their own: whether it is above 0, above 1, ...; later ones use the last."""
_FLOOR = 15  # added to a mean magnitude in 1/256, so that its logarithm exists
_NEAR, _DIAGONAL, _FAR = (4, 4), (2, -1), (2, -1)
"""Weights of a neighbour's magnitude and of its signed value, by its distance: 1, the square root of 2, 2. Signed
values are continued as along a plane: what lies beside minus what lies behind.
"""
_FINE, _COARSE, _RATIO, _LEVEL = 64, 32, 24, 16
"""Numbers of cells: of expected magnitudes in 1/8 and 1/4 octaves, of ratios in 1/4, of a tensor's mean in 1/2."""
_SIGNED = (1, 2, 6, 13, 21, 32, 48)  # ratios of the signed neighbours to the mean, in 1/16
_ABSOLUTE = (1, 2, 3, 5, 7, 9, 13)  # sums of signed neighbours, in 1/4
_SMOOTH = (2, 5, 8, 13, 19, 26, 35, 48)  # as _SIGNED, for magnitudes

SHARED = (_FINE, 9 * _RATIO, _RATIO * _LEVEL)
OWN = (1, _COARSE)
"""Contexts of magnitudes: those that all streams of a section share, and those of each stream."""
SIGN_SHARED, SIGN_OWN = (8 * 4, 8 * 4, 9 * 3, 8 * PLACES), (8,)
MAGNITUDE_INPUTS, SIGN_INPUTS = len(SHARED) + len(OWN), len(SIGN_SHARED) + len(SIGN_OWN)


def slots(streams: int) -> tuple[int, int]:
    """Return the numbers of slots of all contexts: of magnitudes and of signs."""
    return FLAGS * (sum(SHARED) + streams * sum(OWN)), sum(SIGN_SHARED) + streams * sum(SIGN_OWN)


def _bases(shared: Sequence[int], own: Sequence[int], streams: int, number: int) -> Ints:
    """Return the first context of each input for a stream: shared contexts come first, then those of each stream."""
    found, first = [], 0
    for size in shared:
        found.append(first)
        first += size
    for size in own:
        found.append(first + number * size)
        first += streams * size
    return np.array(found, np.int64)


class Surroundings:
    """Holds what is known of a stream: its values so far, and the sums of their magnitudes.

    streams: number of streams of the section; number: of this one.
    """

    def __init__(self, table: Table, streams: int, number: int) -> None:
        self.table = table
        self._magnitude_base = _bases(SHARED, OWN, streams, number)
        self._sign_base = _bases(SIGN_SHARED, SIGN_OWN, streams, number)
        kernels = table.rows * table.held
        self._values: Ints = np.zeros((table.places, kernels), np.int64)
        self._total: Ints = np.zeros((2, 1), np.int64)
        self._row: Ints = np.zeros((2, table.rows), np.int64)
        self._column: Ints = np.zeros((2, table.held), np.int64)
        self._place: Ints = np.zeros((2, table.places), np.int64)
        self._kernel: Ints = np.zeros((2, kernels), np.int64)
        self._near = [_neighbours(place, table.width) for place in range(table.places)]

    def contexts(self, block: Block) -> tuple[Ints, "Signs"]:
        """Return the contexts of a block's magnitudes, (inputs, n), and what its signs' contexts need."""
        kernels, columns = self.table.kernels(block), self.table.columns_held(block)
        total, count = self._total[:, 0].tolist()
        mean = (256 * total + 128) // (count + 1)
        level = int(log2_fixed(np.array([mean + _FLOOR]))[0])

        def ratio(sums: Ints, prior: int, scale: int = 1) -> Ints:
            means = (256 * scale * sums[0] + prior * mean) // (scale * sums[1] + prior)
            return log2_fixed(means + _FLOOR) - level

        row, column = ratio(self._row, 3).take(block.rows), ratio(self._column, 3).take(columns)
        place = int(ratio(self._place[:, block.place : block.place + 1], 4)[0])
        kernel = ratio(self._kernel.take(kernels, axis=1), 3, 2)
        around, weight, signed, sides = self._neighbourhood(block.place, kernels)
        near = log2_fixed((256 * around + 8 * mean) // (weight + 8) + _FLOOR) - level
        long = 16 * level + 13 * row + 13 * column + 10 * place + 7 * kernel
        short = 16 * level + 12 * row + 12 * column + 14 * place + 6 * near
        smooth = 1024 * np.abs(signed) // (mean + 77)  # 77 is 0.3 in 1/256
        height = min(max((level >> 5) - 6, 0), _LEVEL - 1)
        found = np.stack(
            [
                _cell((short >> 7) - 24, _FINE),
                _cell((long >> 8) - 12, _RATIO) + _RATIO * np.searchsorted(_SMOOTH, smooth, "right"),
                _cell((near >> 4) + _RATIO // 2, _RATIO) + _RATIO * height,
                np.zeros(len(kernels), np.int64),
                _cell((short + 5 * kernel >> 8) - 12, _COARSE),
            ]
        )
        signs = Signs(self._sign_base, np.where(signed < 0, -1, 1), smooth, np.abs(signed), sides, block.place)
        return FLAGS * (found + self._magnitude_base[:, None]), signs

    def _neighbourhood(self, place: int, kernels: Ints) -> tuple[Ints, int, Ints, Ints]:
        """Return weighted sums of the neighbours' magnitudes, their weight, of signed values, and two signs as 0..8."""
        around, signed, sides, weight = (*(np.zeros(len(kernels), np.int64) for _ in range(3)), 0)
        for other, (much, sign) in self._near[place]:
            values = self._values[other].take(kernels)
            around += much * np.abs(values)
            signed += sign * values
            weight += much
            if (much, sign) == _NEAR:
                sides = 3 * sides + np.sign(values)
        return around, weight, signed, sides

    def add(self, block: Block, values: Ints) -> None:
        """Add a block's values (n,)."""
        kernels, columns = self.table.kernels(block), self.table.columns_held(block)
        size = np.abs(values)
        self._values[block.place][kernels] = values
        self._kernel[0][kernels] += size
        self._kernel[1][kernels] += 1
        for sums, where in ((self._row, block.rows), (self._column, columns)):
            add_each(sums[0], where, size)
            add_each(sums[1], where)
        amounts = int(size.sum()), len(values)
        for amount, total, places in zip(amounts, self._total, self._place, strict=True):
            total[0] += amount
            places[block.place] += amount


class Signs:
    """Holds what the contexts of a block's signs depend on. expected: (n,) 1 or -1, the neighbours' side."""

    def __init__(self, base: Ints, expected: Ints, ratio: Ints, size: Ints, sides: Ints, place: int) -> None:
        self.expected = expected
        self._base, self._place = base, place
        self._ratio = np.searchsorted(_SIGNED, ratio, "right")
        self._size = np.searchsorted(_ABSOLUTE, size, "right")
        self._sides = sides * expected + 4

    def contexts(self, which: Ints, magnitudes: Ints) -> Ints:
        """Return the contexts (inputs, n) of the signs at `which`, (n,); magnitudes: all of the block."""
        ratio, size, sides = self._ratio.take(which), self._size.take(which), self._sides.take(which)
        height = np.minimum(magnitudes.take(which), 3)
        found = np.stack(
            [
                ratio + 8 * height,
                size + 8 * height,
                sides + 9 * np.minimum(height, 2),
                ratio + 8 * self._place,
                ratio,
            ]
        )
        found += self._base[:, None]
        return found


def _neighbours(place: int, width: int) -> Sequence[tuple[int, tuple[int, int]]]:
    """Return the earlier places of a kernel that are near a place, with their weights."""
    found = []
    for other in range(place):
        down, right = place // width - other // width, place % width - other % width
        weights = {1: _NEAR, 2: _DIAGONAL, 4: _FAR}.get(down * down + right * right)
        if weights is not None:
            found.append((other, weights))
    return found


def _cell(numbers: Ints, cells: int) -> Ints:
    """Bring numbers into 0 to cells - 1."""
    return np.clip(numbers, 0, cells - 1)
