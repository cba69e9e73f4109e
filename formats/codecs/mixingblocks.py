"""Order the values of a tensor in blocks, whose values are coded together, so that each block knows those before it.

A tensor is a table of filters (rows) and input channels (columns) of kernels. A block has one place of the kernel, in
a range of rows and columns: first come the rows, then the columns, then the places.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from qacomp.formats.codecs.base import Stream
from qacomp.formats.codecs.contextcounts import Ints

PLACES = 64  # of a kernel; a longer one counts as columns
_FEW_KERNELS = 32  # with fewer kernels all their places count as columns, since blocks would be small
_BLOCK, _LEAST_BLOCK, _BLOCKS = 4096, 64, 64
"""Blocks are divided while one has more values than _BLOCK, or there are fewer than _BLOCKS of twice _LEAST_BLOCK."""


@dataclass(frozen=True)
class Block:
    """Name values that are coded together. rows, columns: (n,) of the tensor's table; place: in the kernel."""

    rows: Ints
    columns: Ints
    place: int


@dataclass(frozen=True)
class Table:
    """Describe how a stream's values lie: rows, columns, places of a kernel, its width, the number of values.

    skipped says how many places of the first row lie before the first value.
    """

    rows: int
    columns: int
    places: int
    width: int
    skipped: int
    count: int

    def parts(self) -> tuple[int, int]:
        """Return into how many parts rows and columns are divided."""
        high, wide, size = 1, 1, self.rows * self.columns
        while True:
            block = size // (high * wide)
            if block <= _BLOCK and (high * wide * self.places >= _BLOCKS or block < 2 * _LEAST_BLOCK):
                return high, wide
            tall, broad = self.rows // high, self.columns // wide
            if tall > 1 and (self.places > 1 or tall >= broad):
                high *= 2
            else:
                wide *= 2

    def blocks(self) -> Iterator[Block]:
        """Give all blocks in their order; those without values are left out."""
        high, wide = self.parts()
        for top, bottom in _cuts(self.rows, high):
            for left, right in self._column_parts(wide):
                rows = np.repeat(np.arange(top, bottom), right - left)
                columns = np.tile(np.arange(left, right), bottom - top)
                for place in range(self.places):
                    at = (rows * self.columns + columns) * self.places + place - self.skipped
                    there = (at >= 0) & (at < self.count)
                    if there.all():
                        yield Block(rows, columns, place)
                    elif there.any():
                        yield Block(rows[there], columns[there], place)

    @property
    def held(self) -> int:
        """Return how many columns the stream has values in, at most; a part of a wide table has few."""
        return min(self.columns, (self.count - 1) // self.places + 2)

    def kernels(self, block: Block) -> Ints:
        """Return the numbers of a block's kernels, below rows * held."""
        return block.rows * self.held + self.columns_held(block)

    def columns_held(self, block: Block) -> Ints:
        """Return the numbers of a block's columns, below `held`: they are counted from the first value's column on."""
        if self.held == self.columns:
            return block.columns
        return (block.columns - self.skipped // self.places) % self.columns

    def number_of_blocks(self) -> int:
        """Return the number of blocks, those without values included unless none of their columns has any."""
        high, wide = self.parts()
        return high * self.places * len(self._column_parts(wide))

    def _column_parts(self, parts: int) -> list[tuple[int, int]]:
        """Return the parts of the columns, as (start, stop), that may hold values of the stream."""
        step = max(-(-self.columns // parts), 1)
        first = self.skipped // self.places
        behind = first + self.held - self.columns  # columns at the front that hold the end of the stream
        numbers: Sequence[int] = range(-(-self.columns // step))
        if self.held < self.columns:
            tail = range(first // step, (min(first + self.held, self.columns) - 1) // step + 1)
            numbers = sorted({*tail, *range(-(-max(behind, 0) // step))})
        return [(number * step, min((number + 1) * step, self.columns)) for number in numbers]

    def positions(self, block: Block) -> Ints:
        """Return the positions in the stream of a block's values."""
        return (block.rows * self.columns + block.columns) * self.places + block.place - self.skipped


def _cuts(length: int, parts: int) -> Iterator[tuple[int, int]]:
    """Give the parts of a range as (start, stop), all but the last of the same length."""
    step = max(-(-length // parts), 1)
    for start in range(0, length, step):
        yield start, min(start + step, length)


def table_of(stream: Stream) -> Table:
    """Return how the values of a stream lie."""
    shape = stream.shape if len(stream.shape) > 1 else (max(math.prod(stream.shape), 1), 1)
    columns, places = shape[1], math.prod(shape[2:])
    width = shape[-1] if len(shape) > 2 else 1
    if places > PLACES or (places > 1 and shape[0] * columns < _FEW_KERNELS):
        columns, places, width = columns * places, 1, 1
    inner = max(columns * places, 1)
    first = stream.start // inner
    last = -(-(stream.start + stream.count) // inner)
    return Table(last - first, columns, places, width, stream.start - first * inner, stream.count)
