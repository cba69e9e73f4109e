"""Encode indices with static order-0 rANS: one frequency table for each stream, all streams on the same lanes.

Symbols of small alphabets are coded in groups of 2, 4 or 8 neighbours. The frequency of a group is the product of its
symbols' frequencies, so the model stays the same and the steps are fewer.
"""

from collections.abc import Sequence

import numpy as np

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs import lanes as coder
from qacomp.formats.codecs.base import Array, Codec, Stream, register, split, word_dtype
from qacomp.formats.codecs.frequencies import (
    TableModel,
    by_length,
    cost_bits,
    from_codes,
    normalised,
    product_rows,
    to_codes,
)
from qacomp.formats.codecs.rangecoder import RangeEncoder
from qacomp.formats.codecs.ranspayload import MAX_ALPHABET, group_tables, read_payload
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import MAX_LANES, MAX_TABLE_SLOTS

_GROUPED_ALPHABET = 256
_LANE_BITS = 10  # what a lane costs, see lanes.py
_LANE_SHARE, _LONG_LANE_SHARE, _LONG = 0.0015, 0.002, 1 << 20
_MOST_LANES = 1 << 14
_MOST_STEPS = 1 << 15
_GROUP_LOSS = 1.0005  # a group may cost this much more than single symbols
_SURE = 1.01  # the estimate by code lengths is within a hundredth of the real size
_BLOCK = 1 << 15  # symbols handled at once, so few that they stay in the cache between array operations
_SINGLE_BITS, _GROUPED_BITS = 12, 14
_SYMBOL_WORK, _STREAM_WORK, _SLOT_WORK, _STEP_WORK, _ONE_WORK = 2_000, 60_000, 40, 6_000, 800
"""Nanoseconds of decoding: a symbol's frequency, a stream's table, a slot of it, a step of all lanes, one symbol."""


def choose_lanes(count: int, payload_bits: float, most_steps: int = _MOST_STEPS, share: float | None = None) -> int:
    """Return the number of lanes for `count` symbols.

    Lanes take about `share` of the payload: by default 0.15 %, for more than 2**20 symbols 0.2 %. There are enough of
    them for at most `most_steps` steps, if _MOST_LANES allows it.
    """
    if share is None:
        share = _LONG_LANE_SHARE if count > _LONG else _LANE_SHARE
    lanes = max(int(payload_bits * share / _LANE_BITS), -(-count // most_steps), 1)
    lanes = min(lanes, _MOST_LANES)
    return lanes - lanes % 16 if lanes > 64 else lanes


@register
class Rans(Codec):
    """Encodes as the module describes; for alphabets up to 4096. lane_share: see `choose_lanes`."""

    id = 3
    name = "rans"
    kinds = ("indices",)
    order0 = True
    footprint = 10

    def __init__(self, lane_share: float | None = None) -> None:
        self.lane_share = lane_share

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return tables, lane states and words; None if the alphabet is too large or there are too many streams."""
        return self.encode_below(parts, streams, 1 << 62)

    def encode_below(self, parts: Sequence[Array], streams: Sequence[Stream], most: int) -> bytes | None:
        """Encode, or return None early if the tables and the estimated payload are more than `most` bytes."""
        largest = max((stream.alphabet for stream in streams), default=1)
        if largest > MAX_ALPHABET:
            return None
        used = [(p, s) for p, s in zip(parts, streams, strict=True) if s.count]
        if not used:
            return b""
        if len(used) << _GROUPED_BITS > MAX_TABLE_SLOTS:
            return None
        group = widest_group(largest)
        grouped = [group_symbols(p, s.alphabet, group) for p, s in used]
        counts = [count_symbols(g, p, s.alphabet, group) for g, (p, s) in zip(grouped, used, strict=True)]
        fitting = choose_group(counts, group)
        if fitting != group:
            group = fitting
            grouped = [group_symbols(p, s.alphabet, group) for p, s in used]
        bits = _GROUPED_BITS if group > 1 or largest > 64 else _SINGLE_BITS
        mantissa, singles, table_bytes = best_tables(counts, bits)
        payload = cost_bits(np.concatenate(counts), np.concatenate(singles), bits)
        if len(table_bytes) + payload / 8 > most * _SURE:
            return None
        tables = group_tables(singles, group, bits)
        symbols = np.concatenate(grouped) if len(grouped) > 1 else grouped[0]
        contexts = None
        if len(grouped) > 1:
            contexts = np.repeat(np.arange(len(grouped), dtype=np.uint16), [len(g) for g in grouped])
        states, words = coder.encode(
            symbols, tables, choose_lanes(len(symbols), payload, share=self.lane_share), contexts
        )
        out = ByteWriter()
        for number in (group.bit_length() - 1, bits, mantissa, len(states), len(table_bytes)):
            out.uint(number)
        out.raw(table_bytes)
        out.raw(states.astype("<u4").tobytes())
        out.raw(words.astype("<u2").tobytes())
        return bytes(out.buffer)

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: the tables, and the steps of the lanes."""
        used = [stream for stream in streams if stream.count]
        total = super().work(payload, streams)
        if not used:
            return total
        reader = ByteReader(payload, CodecError)
        group, bits, _, lanes = (
            1 << reader.uint(3),
            reader.uint(coder.MAX_BITS),
            reader.uint(12),
            reader.uint(MAX_LANES),
        )
        groups = sum(-(-stream.count // group) for stream in used)
        width = min(max(stream.alphabet for stream in used) ** group, MAX_ALPHABET)
        total += sum(stream.alphabet for stream in used) * _SYMBOL_WORK + len(used) * (_STREAM_WORK + width * 100)
        total += min(len(used) << bits, 4 * groups + 32768) * _SLOT_WORK
        step = min(_STEP_WORK, lanes * _ONE_WORK)
        return int(total + -(-groups // max(lanes, 1)) * step + groups * 10)

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode the indices; every field is checked before it is used. Raises CodecError."""
        coded = read_payload(payload, streams)
        if coded is None:
            return [np.zeros(0, word_dtype(stream)) for stream in streams]
        used, group, sizes, tables = coded.used, coded.group, coded.sizes, coded.tables
        states, words, largest = coded.states, coded.words, max(stream.alphabet for stream in used)
        dtype = word_dtype(Stream("indices", 0, largest))
        if len(used) == 1:
            values = group_values(largest, group, dtype)
            flat = coder.decode(states, words, sizes[0], tables, values).view(dtype)
            result = iter([flat[: used[0].count]])
        else:
            contexts = np.repeat(np.arange(len(used), dtype=np.uint16), sizes)
            numbers = np.arange(largest**group, dtype=np.uint16)
            flat = coder.decode(states, words, sum(sizes), tables, numbers, contexts)
            parts = split(flat, [Stream("indices", size) for size in sizes])
            if any(int(part.max()) >= s.alphabet**group for part, s in zip(parts, used, strict=True)):
                raise CodecError("an index lies outside its codebook; the file is damaged")
            result = iter(
                group_values(s.alphabet, group, dtype).take(part).view(dtype)[: s.count]
                for part, s in zip(parts, used, strict=True)
            )
        decoded = [next(result) if s.count else np.zeros(0, np.uint8) for s in streams]
        return [part.astype(word_dtype(s), copy=False) for part, s in zip(decoded, streams, strict=True)]


def widest_group(alphabet: int) -> int:
    """Return the largest group size (1, 2, 4 or 8) for which alphabet**size is at most 256."""
    group = 1
    while group < 8 and alphabet ** (2 * group) <= _GROUPED_ALPHABET:
        group *= 2
    return group


def choose_group(counts: list[Array], widest: int) -> int:
    """Return the largest group size, up to `widest`, whose rounded frequencies cost hardly more than single symbols."""

    def cost(group: int) -> float:
        bits = _GROUPED_BITS if group > 1 else _SINGLE_BITS
        shares = normalised(counts, bits)
        if group == 1:
            return cost_bits(np.concatenate(counts), np.concatenate(shares), bits)
        rounded = by_length(shares, lambda rows: product_rows(rows, group, bits))
        expected = by_length(counts, lambda rows: _joint(rows, group))
        share, joint = np.concatenate(rounded), np.concatenate(expected)
        seen = joint > 0
        return float((joint[seen] * (bits - np.log2(share[seen]))).sum()) / group

    single = cost(1) if widest > 1 else 0.0
    while widest > 1 and cost(widest) > single * _GROUP_LOSS + 8:
        widest //= 2
    return widest


def _joint(counts: Array, group: int) -> Array:
    """Return the expected counts (rows, alphabet**group) of groups, if symbols with these counts are independent."""
    total = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    share = counts / total
    joint = np.ones((len(counts), 1))
    for _ in range(group):
        joint = (share[:, :, None] * joint[:, None, :]).reshape(len(counts), -1)
    result: Array = joint * total
    return result


def best_tables(counts: list[Array], bits: int) -> tuple[int, list[Array], bytes]:
    """Return (mantissa, tables, coded tables) of the precision at which tables and payload together are smallest.

    Finer tables aren't smaller than coarser ones, so a precision that saves too little in the payload is skipped.
    """
    best: tuple[float, int, list[Array], bytes] | None = None
    least = 0  # bytes of the finest tables that were coded
    every, ends = np.concatenate(counts), np.cumsum([len(c) for c in counts])[:-1]
    for mantissa in (1, 2, 3, 4, 6, 9, 12):
        flat = to_codes(every, mantissa)
        codes = np.split(flat, ends)
        tables = normalised(np.split(from_codes(flat, mantissa), ends), bits)
        cost = cost_bits(every, np.concatenate(tables), bits)
        if best is not None and cost + 8 * least >= best[0]:
            continue
        side, model = RangeEncoder(), TableModel()
        for code in codes:
            model.write(side, code)
        table_bytes = side.finish()
        least = max(least, len(table_bytes))
        if best is None or cost + 8 * len(table_bytes) < best[0]:
            best = (cost + 8 * len(table_bytes), mantissa, tables, table_bytes)
    assert best is not None
    return best[1:]


def count_symbols(groups: Array, part: Array, alphabet: int, group: int) -> Array:
    """Count the part's symbols (alphabet,) from its groups, which are fewer than the symbols."""
    total = np.zeros(alphabet**group, np.int64)
    for start in range(0, len(groups), _BLOCK):
        total += np.bincount(groups[start : start + _BLOCK], minlength=len(total))
    joint = total.reshape((alphabet,) * group)
    axes = range(group)
    counts = sum(joint.sum(axis=tuple(a for a in axes if a != axis)) for axis in axes)
    filled = len(groups) * group - len(part)
    counts[part[-1]] -= filled
    result: Array = counts.astype(np.int64)
    return result


def group_symbols(part: Array, alphabet: int, group: int) -> Array:
    """Return the numbers (ceil(n / group),) of groups of symbols (n,); the first symbol is the lowest digit.

    The last group is filled up with the last symbol.
    """
    if group == 1:
        return part
    if len(part) % group:
        part = np.concatenate([part, np.full(-len(part) % group, part[-1])])  # a symbol whose frequency isn't zero
    joint: Array = np.empty(len(part) // group, np.uint8 if alphabet**group <= 256 else np.uint16)
    base = joint.dtype.type(alphabet)
    for start in range(0, len(joint), _BLOCK):
        block = joint[start : start + _BLOCK]
        symbols = part[start * group : (start + len(block)) * group]
        block[:] = symbols[group - 1 :: group]
        for position in range(group - 2, -1, -1):
            block *= base
            block += symbols[position::group]
    return joint


def group_values(alphabet: int, group: int, dtype: "np.dtype[np.unsignedinteger]") -> Array:
    """Return the symbols of each group number, packed as one little-endian word of group * itemsize bytes."""
    numbers = np.arange(alphabet**group)
    digits = np.stack([numbers // alphabet**i % alphabet for i in range(group)], axis=1).astype(dtype)
    return np.ascontiguousarray(digits).view(f"<u{group * dtype.itemsize}").ravel()
