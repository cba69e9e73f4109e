"""Read the fields of a payload of the codec rans, and make its tables; the lanes are decoded elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.bytestream import ByteReader
from qacomp.formats.codecs.base import Array, Stream
from qacomp.formats.codecs.frequencies import TableModel, by_length, from_codes, normalised, product_rows
from qacomp.formats.codecs.lanes import MAX_BITS, Tables
from qacomp.formats.codecs.rangecoder import RangeDecoder
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import MAX_LANES, MAX_STEPS, MAX_TABLE_SLOTS

MAX_ALPHABET = 4096


@dataclass(frozen=True)
class RansPayload:
    """The fields of a payload, checked. used: its streams that have symbols; group: symbols of a group.

    sizes: number of groups of each of these streams; states: (lanes,) uint32; words: uint16, in the order of decoding;
    tables: over groups of symbols, one row for each of these streams.
    """

    used: Sequence[Stream]
    group: int
    sizes: Sequence[int]
    states: NDArray[np.uint32]
    words: NDArray[np.uint16]
    tables: Tables


def read_payload(payload: memoryview, streams: Sequence[Stream]) -> RansPayload | None:
    """Read a payload; every field is checked before it is used. None if it has no symbols. Raises CodecError."""
    used = [stream for stream in streams if stream.count]
    if not used:
        if len(payload):
            raise CodecError("a payload without symbols isn't empty; the file is damaged")
        return None
    largest = max(stream.alphabet for stream in used)
    if largest > MAX_ALPHABET:
        raise CodecError("an alphabet is too large for the codec rans; the file is damaged")
    reader = ByteReader(payload, CodecError)
    group, bits = 1 << reader.uint(3), reader.uint(MAX_BITS)
    mantissa, lanes = reader.uint(12), reader.uint(MAX_LANES)
    table_bytes = reader.raw(reader.uint(len(payload)))
    sizes = [-(-stream.count // group) for stream in used]
    steps = -(-sum(sizes) // max(lanes, 1))
    if largest**group > MAX_ALPHABET or lanes == 0 or steps > MAX_STEPS or len(used) << bits > MAX_TABLE_SLOTS:
        raise CodecError("the size of the groups or the number of lanes is out of range; the file is damaged")
    states = np.frombuffer(reader.raw(4 * lanes), "<u4")
    rest = reader.rest()
    if rest % 2:
        raise CodecError("the coded words have an odd length; the file is damaged")
    words = np.frombuffer(reader.raw(rest), "<u2")
    model, side = TableModel(), RangeDecoder(table_bytes)
    singles = normalised([from_codes(model.read(side, s.alphabet, mantissa), mantissa) for s in used], bits)
    return RansPayload(used, group, sizes, states, words, group_tables(singles, group, bits))


def group_tables(singles: Sequence[Array], group: int, bits: int) -> Tables:
    """Return the tables over groups of symbols: one row for each stream, filled up with zeros to the widest."""
    width = max(len(single) for single in singles) ** group
    rows = np.zeros((len(singles), width), np.uint32)
    for row, table in zip(rows, by_length(singles, lambda tables: product_rows(tables, group, bits)), strict=True):
        row[: len(table)] = table
    return Tables(bits, rows)
