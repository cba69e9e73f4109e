"""Make frequency tables: encode counts in few bits, and turn them into the slots of the coder.

A table is stored as one small code for each symbol: 0 for a symbol that never occurs, else a number on a logarithmic
scale with 2**mantissa steps in an octave. A code is predicted by the one before, since sorted codebooks have smooth
histograms. All arithmetic is in integers, so every machine computes the same table.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.rangecoder import AdaptiveInt, RangeDecoder, RangeEncoder, adaptive_bit
from qacomp.formats.errors import CodecError

MAX_MANTISSA = 12
MAX_CODE_EXPONENT = 30
_PRODUCT_BITS = 20

Counts = NDArray[Any]


def normalise_rows(weights: Counts, bits: int) -> NDArray[Any]:
    """Scale each row of weights (rows, alphabet) to uint32 frequencies with the sum 2**bits.

    Every weight above zero gets at least one slot. If a row's largest weight has more than 26 bits, all weights of the
    row are shifted right until it has 26. Raises CodecError if all weights of a row are zero, or if more weights are
    above zero than there are slots.
    """
    present = weights > 0
    excess = np.maximum(np.frexp(weights.max(axis=1).astype(np.float64))[1] - 26, 0)[:, None]
    weights = np.where(present, np.maximum(weights >> excess, 1), 0)
    total, slots = weights.sum(axis=1), 1 << bits
    if (total == 0).any() or int(present.sum(axis=1).max()) > slots:
        raise CodecError("a frequency table is empty or too long for its precision; the file is damaged")
    frequencies = (weights * slots + (total >> 1)[:, None]) // total[:, None]
    np.maximum(frequencies, present, out=frequencies)
    missing = slots - frequencies.sum(axis=1)
    while len(rows := missing.nonzero()[0]):
        # The rounding error is added to (or taken from) the most frequent symbol, the first of equals.
        largest = frequencies[rows].argmax(axis=1)
        give = np.maximum(frequencies[rows, largest] >> 1, 1)
        change = np.maximum(missing[rows], -give)
        frequencies[rows, largest] += change
        missing[rows] -= change
    result: Counts = frequencies.astype(np.uint32)
    return result


def normalised(tables: Sequence[Counts], bits: int) -> list[NDArray[Any]]:
    """Return `normalise_rows` of each table, calculated at once for tables of equal length."""
    return by_length(tables, lambda rows: normalise_rows(rows, bits))


def by_length(tables: Sequence[Counts], make: Callable[[Counts], NDArray[Any]]) -> list[NDArray[Any]]:
    """Return the result of `make` for each table; `make` gets all tables of one length as rows and returns rows."""
    done: list[NDArray[Any]] = [np.zeros(0, np.uint32)] * len(tables)
    for length in {len(table) for table in tables}:
        places = [place for place, table in enumerate(tables) if len(table) == length]
        rows = make(np.stack([tables[place] for place in places]))
        for place, row in zip(places, rows, strict=True):
            done[place] = row
    return done


def product_rows(frequencies: NDArray[Any], group: int, bits: int) -> NDArray[Any]:
    """Return the frequencies (rows, alphabet**group) of groups of symbols from those of single ones (rows, alphabet).

    A group has 1, 2, 4 or 8 independent symbols; the first one is the lowest digit of its number.
    """
    tables = frequencies.astype(np.int64)
    while group > 1:
        group //= 2
        joint = (tables[:, :, None] * tables[:, None, :]).reshape(len(tables), -1)
        tables = normalise_rows(joint, bits if group == 1 else _PRODUCT_BITS).astype(np.int64)
    return tables.astype(np.uint32)


def to_codes(counts: Counts, mantissa: int) -> NDArray[Any]:
    """Return the nearest code of each count (below 2**31): 0 for 0, else 1 + exponent * 2**mantissa + fraction."""
    steps = 1 << mantissa
    codes = np.zeros(len(counts), np.int64)
    present = counts > 0
    values = counts[present]
    exponent = np.frexp(values.astype(np.float64))[1] - 1  # floor(log2), exact below 2**53
    fraction = ((values << mantissa) + (1 << exponent >> 1) >> exponent) - steps  # may round up to a whole octave
    codes[present] = 1 + exponent * steps + fraction
    return codes


def from_codes(codes: NDArray[Any], mantissa: int) -> Counts:
    """Return the weights of codes, scaled by 2**mantissa so that they are integers."""
    steps = 1 << mantissa
    exponent, fraction = (codes - 1) >> mantissa, (codes - 1) & (steps - 1)
    return np.where(codes > 0, (steps + fraction) << np.maximum(exponent, 0), 0)


class TableModel:
    """The adaptive statistics of the codes; one model serves all tables of a payload, in order."""

    def __init__(self) -> None:
        self.zero = [adaptive_bit(), adaptive_bit()]
        self.first = AdaptiveInt()
        self.step = AdaptiveInt()

    def write(self, coder: RangeEncoder, codes: NDArray[Any]) -> None:
        """Encode the codes (alphabet,) of a table."""
        last, occurs, bit, zero = -1, 1, coder.bit, self.zero
        for code in codes.tolist():
            bit(zero[occurs], 0 if code else 1)
            occurs = 1 if code else 0
            if code:
                if last < 0:
                    coder.uint(self.first, code)
                else:
                    coder.sint(self.step, code - last)
                last = code

    def read(self, coder: RangeDecoder, alphabet: int, mantissa: int) -> NDArray[Any]:
        """Read the codes (alphabet,) of a table; raises CodecError for a code that is out of range."""
        codes, last, occurs = np.zeros(alphabet, np.int64), -1, 1
        highest = (MAX_CODE_EXPONENT + 1) << mantissa
        for symbol in range(alphabet):
            occurs = 1 - coder.bit(self.zero[occurs])
            if occurs:
                last = coder.uint(self.first) if last < 0 else last + coder.sint(self.step)
                if not 0 < last <= highest:
                    raise CodecError("a code of a frequency table is out of range; the file is damaged")
                codes[symbol] = last
        return codes


def cost_bits(counts: Counts, frequencies: NDArray[Any], bits: int) -> float:
    """Estimate the bits that symbols with these counts take under these frequencies, whose sum is 2**bits."""
    present = counts > 0
    return float((counts[present] * (bits - np.log2(frequencies[present]))).sum())
