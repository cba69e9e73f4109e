"""Encode indices with canonical Huffman codes of at most 15 bits (Huffman 1952), in lanes that are decoded together."""

import heapq
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.bytestream import ByteReader, ByteWriter
from qacomp.formats.codecs.base import Array, Codec, Stream, register, word_dtype
from qacomp.formats.errors import CodecError
from qacomp.formats.limits import MAX_LANES, MAX_STEPS

MAX_ALPHABET = 4096
MAX_LENGTH = 15
_LANE_SYMBOLS = 8192  # symbols of a lane
_JOINED = 1 << 15  # symbols that are joined at once, so few that the arrays stay in the cache
_STREAM_WORK, _STEP_WORK = 500_000, 5_000
"""Nanoseconds of decoding: the table of windows of a stream, and a step of its lanes."""


def code_lengths(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the bits of each symbol's code (alphabet,): 0 for a symbol that never occurs, 1 if only one occurs."""
    while True:
        heap = [(count, symbol, symbol) for symbol, count in enumerate(counts.tolist()) if count]
        lengths = [0] * len(counts)
        if len(heap) == 1:
            lengths[heap[0][1]] = 1
            return np.array(lengths, np.int64)
        heapq.heapify(heap)
        pairs: list[tuple[int, int]] = []  # inner nodes; their numbers follow those of the symbols
        while len(heap) > 1:
            a, b = heapq.heappop(heap), heapq.heappop(heap)
            heapq.heappush(heap, (a[0] + b[0], min(a[1], b[1]), len(counts) + len(pairs)))
            pairs.append((a[2], b[2]))
        lengths += [0] * len(pairs)
        for place in range(len(pairs) - 1, -1, -1):
            below = lengths[len(counts) + place] + 1
            for node in pairs[place]:
                lengths[node] = below
        if max(lengths, default=0) <= MAX_LENGTH:
            return np.array(lengths[: len(counts)], np.int64)
        counts = np.where(counts > 0, (counts + 1) >> 1, 0)  # flatten the counts until the longest code fits


def canonical(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the canonical codes (alphabet,): in ascending order of length, then of symbol.

    Raises CodecError unless the lengths fill the code space exactly, or only one symbol has a code.
    """
    used = lengths > 0
    space = int((1 << (MAX_LENGTH - lengths[used])).sum())
    if space != 1 << MAX_LENGTH and not (used.sum() == 1 and lengths.max() == 1):
        raise CodecError("the Huffman code lengths don't fit together; the file is damaged")
    codes = np.zeros(len(lengths), np.int64)
    order = np.argsort(lengths, kind="stable")
    order = order[lengths[order] > 0]
    starts = np.cumsum(1 << (MAX_LENGTH - lengths[order])) - (1 << (MAX_LENGTH - lengths[order]))
    codes[order] = starts >> (MAX_LENGTH - lengths[order])
    return codes


def _joined(part: Array, lengths: NDArray[np.int64], codes: NDArray[np.int64], total: int) -> bytes:
    """Return the codes of all symbols one after the other, `total` bits, the first in the highest bit of a byte.

    A code has at most 15 bits, so each word of 64 bits has the start of one; a code may reach into the next word.
    """
    words = np.zeros((total >> 6) + 2, np.uint64)
    wide, before = codes.astype(np.uint64), 0
    for start in range(0, part.size, _JOINED):
        symbols = part[start : start + _JOINED]
        bits = lengths.take(symbols)
        ends = before + np.cumsum(bits)
        place = ends - bits
        room = 64 - (place & 63) - bits  # below zero: so many bits are in the next word
        word, code = place >> 6, wide.take(symbols)
        here = np.where(
            room < 0, code >> np.maximum(-room, 0).astype(np.uint64), code << np.maximum(room, 0).astype(np.uint64)
        )
        firsts = np.flatnonzero(np.diff(word, prepend=-1))
        words[word[firsts]] |= np.bitwise_or.reduceat(here, firsts)
        over = np.flatnonzero(room < 0)
        words[word[over] + 1] |= code[over] << (64 + room[over]).astype(np.uint64)
        before = int(ends[-1])
    return words.astype(">u8").tobytes()[: total + 7 >> 3]


@register
class Huffman(Codec):
    """Encodes each stream with a code of its own; for alphabets up to 4096."""

    id = 2
    name = "huffman"
    kinds = ("indices",)
    order0 = True
    footprint = 16

    def encode(self, parts: Sequence[Array], streams: Sequence[Stream]) -> bytes | None:
        """Return for each stream the number of lanes, the code lengths, the bits of each lane, and the coded bits."""
        if max((s.alphabet for s in streams), default=1) > MAX_ALPHABET:
            return None
        out = ByteWriter()
        for part, stream in zip(parts, streams, strict=True):
            if stream.count:
                self._write(out, part, stream)
        return bytes(out.buffer)

    def encode_below(self, parts: Sequence[Array], streams: Sequence[Stream], most: int) -> bytes | None:
        """Encode, or return None early if the codes alone take more than `most` bytes, which the counts tell."""
        if max((s.alphabet for s in streams), default=1) > MAX_ALPHABET:
            return None
        bits = 0
        for part, stream in zip(parts, streams, strict=True):
            if stream.count:
                counts = np.bincount(part, minlength=stream.alphabet)
                bits += int((code_lengths(counts) * counts).sum())
        return None if bits > 8 * most else self.encode(parts, streams)

    def _write(self, out: ByteWriter, part: Array, stream: Stream) -> None:
        lengths = code_lengths(np.bincount(part, minlength=stream.alphabet))
        codes = canonical(lengths)
        lanes = -(-stream.count // _LANE_SYMBOLS)
        out.uint(lanes)
        nibbles = np.concatenate([lengths, np.zeros(stream.alphabet % 2, np.int64)]).astype(np.uint8)
        out.raw((nibbles[::2] | nibbles[1::2] << 4).tobytes())
        run = -(-stream.count // lanes)
        sizes = np.add.reduceat(lengths.astype(np.uint8).take(part), np.arange(0, stream.count, run), dtype=np.int64)
        for size in (*sizes.tolist(), *[0] * (lanes - sizes.size)):
            out.uint(size)
        out.raw(_joined(part, lengths, codes, int(sizes.sum())))

    def work(self, payload: memoryview, streams: Sequence[Stream]) -> int:
        """Estimate the nanoseconds of decoding: for each stream a table of all windows, and the steps of the lanes."""
        reader, total = ByteReader(payload, CodecError), super().work(payload, streams)
        for stream in streams:
            if stream.count:
                lanes = reader.uint(min(MAX_LANES, stream.count))
                reader.raw((stream.alphabet + 1) // 2)
                reader.raw((sum(reader.uint(stream.count * MAX_LENGTH) for _ in range(lanes)) + 7) // 8)
                steps = -(-stream.count // max(lanes, 1))
                total += _STREAM_WORK + steps * _STEP_WORK + stream.count * 15 + stream.alphabet * 1000
        return total

    def decode(self, payload: memoryview, streams: Sequence[Stream]) -> list[Array]:
        """Decode the indices. Raises CodecError, also if a lane doesn't use exactly the bits that it announces."""
        reader = ByteReader(payload, CodecError)
        parts = [self._read(reader, s) if s.count else np.zeros(0, word_dtype(s)) for s in streams]
        reader.end()
        return parts

    def _read(self, reader: ByteReader, stream: Stream) -> Array:
        if stream.alphabet > MAX_ALPHABET:
            raise CodecError("an alphabet is too large for the codec huffman; the file is damaged")
        lanes = reader.uint(min(MAX_LANES, stream.count))
        packed = np.frombuffer(reader.raw((stream.alphabet + 1) // 2), np.uint8)
        lengths = np.stack([packed & 15, packed >> 4], axis=1).ravel()[: stream.alphabet].astype(np.int64)
        run = -(-stream.count // max(lanes, 1))
        if lanes == 0 or run > MAX_STEPS or run * (lanes - 1) >= stream.count or not lengths.any():
            raise CodecError("the number of Huffman lanes doesn't fit the symbols; the file is damaged")
        sizes = np.array([reader.uint(stream.count * MAX_LENGTH) for _ in range(lanes)])
        total = int(sizes.sum())
        data = np.frombuffer(reader.raw((total + 7) // 8), np.uint8)
        if total % 8 and data[-1] & ((1 << (8 - total % 8)) - 1):
            raise CodecError("the padding bits aren't zero; the file is damaged")
        if np.count_nonzero(lengths) == 1 and data.any():
            raise CodecError("a one follows where a Huffman code has nothing but a zero; the file is damaged")
        longest = int(lengths.max())
        symbols, widths = _slots(lengths, longest)
        padded = np.concatenate([data, np.zeros(4, np.uint8)]).astype(np.int64)
        windows = padded[:-2] << 16 | padded[1:-1] << 8 | padded[2:]
        ends = np.cumsum(sizes)
        pointer = ends - sizes
        out = np.empty((run, lanes), word_dtype(stream))
        short = run * lanes - stream.count  # symbols that the last lane has fewer than the others
        for step in range(run):
            n = lanes - 1 if step >= run - short else lanes
            here = pointer[:n]
            window = windows.take(here >> 3, mode="clip") >> (24 - longest - (here & 7)) & ((1 << longest) - 1)
            out[step, :n] = symbols.take(window)
            here += widths.take(window)
        if not np.array_equal(pointer, ends):
            raise CodecError("the Huffman bits don't end where the symbols end; the file is damaged")
        flat: Array = np.ascontiguousarray(out.T).ravel()[: stream.count]
        return flat


def _slots(lengths: NDArray[np.int64], longest: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each window of `longest` bits the symbol whose code it begins with, and the bits of that code."""
    codes = canonical(lengths)
    symbols, widths = np.zeros(1 << longest, np.int64), np.ones(1 << longest, np.int64)
    for symbol in lengths.nonzero()[0]:
        rest = longest - int(lengths[symbol])
        span = slice(int(codes[symbol]) << rest, (int(codes[symbol]) + 1) << rest)
        symbols[span], widths[span] = symbol, lengths[symbol]
    return symbols, widths
