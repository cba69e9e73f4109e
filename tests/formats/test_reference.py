"""A second decoder for rans, written from SPEC.md alone, one symbol at a time: both must agree."""

import numpy as np
import pytest

from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.base import word_dtype


class Bits:
    """SPEC 6.1."""

    def __init__(self, data: bytes) -> None:
        self.data, self.place = data + bytes(8), 4
        self.range, self.code = 2**32 - 1, int.from_bytes(self.data[:4], "big")

    def narrow(self) -> None:
        while self.range < 2**24:
            self.range <<= 8
            byte = self.data[self.place] if self.place < len(self.data) else 0
            self.code = (self.code << 8 | byte) & (2**32 - 1)
            self.place += 1

    def decide(self, p: list[int]) -> int:
        bound = (self.range >> 16) * p[0]
        one = self.code >= bound
        if one:
            self.code, self.range = self.code - bound, self.range - bound
        else:
            self.range = bound
        p[1] = min(p[1] + 1, 30)
        p[0] += -((p[0] - 32) // (p[1] + 1)) if one else (65536 - 32 - p[0]) // (p[1] + 1)
        self.narrow()
        return int(one)

    def even(self) -> int:
        self.range >>= 1
        one = self.code >= self.range
        if one:
            self.code -= self.range
        self.narrow()
        return int(one)

    def integer(self, model: list[list[list[int]]]) -> int:
        length = 0
        while self.decide(model[0][length]):
            length += 1
        if length == 0:
            return 0
        value = 2 | self.decide(model[1][length])
        for _ in range(length - 1):
            value = value << 1 | self.even()
        return value - 1


def normalise(weights: list[int], bits: int) -> list[int]:
    """SPEC 6.2."""
    extra = max(max(weights).bit_length() - 26, 0)
    weights = [max(w >> extra, 1) if w else 0 for w in weights]
    total = sum(weights)
    f = [max((w * 2**bits + total // 2) // total, 1) if w else 0 for w in weights]
    while missing := 2**bits - sum(f):
        top = f.index(max(f))
        f[top] += missing if missing > 0 else max(missing, -max(f[top] // 2, 1))
    return f


def uint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        value |= (data[place] & 127) << shift
        place, shift = place + 1, shift + 7
        if data[place - 1] < 128:
            return value, place


def decode(data: bytes, streams: list[Stream]) -> list[list[int]]:
    """SPEC 6.3 and 6.4."""
    fields, place = [], 0
    for _ in range(5):
        field, place = uint(data, place)
        fields.append(field)
    group, bits, mantissa, lanes, size = 1 << fields[0], *fields[1:]
    coder = Bits(data[place : place + size])
    place += size
    zero = [[32768, 0], [32768, 0]]
    first, step = ([[[32768, 0] for _ in range(40)] for _ in range(2)] for _ in range(2))
    tables, counts = [], []
    used = [s for s in streams if s.count]
    for stream in used:
        weights, last, before = [], 0, 1
        for _ in range(stream.alphabet):
            before = 1 - coder.decide(zero[before])
            if before and not last:
                last = coder.integer(first)
            elif before:
                signed = coder.integer(step)
                last += -(signed + 1) // 2 if signed % 2 else signed // 2
            weights.append((2**mantissa + (last - 1) % 2**mantissa << (last - 1 >> mantissa)) if before else 0)
        table, doubled = normalise(weights, bits), 1
        while doubled < group:
            doubled *= 2
            table = normalise([a * b for a in table for b in table], bits if doubled == group else 20)
        tables.append(table)
        counts.append(-(-stream.count // group))
    states = [int.from_bytes(data[place + 4 * j : place + 4 * j + 4], "little") for j in range(lanes)]
    words = iter(np.frombuffer(data[place + 4 * lanes :], "<u2").tolist())
    alphabet = max(s.alphabet for s in used) ** group
    total = sum(counts)
    tail = min(max(t for t in range(17) if alphabet**t <= 65536), total // lanes)
    owner = [number for number, count in enumerate(counts) for _ in range(count)]
    out = []
    for start in range(0, total - tail * lanes, lanes):
        step_lanes = min(lanes, total - tail * lanes - start)
        for lane in range(step_lanes):
            table, x = tables[owner[start + lane]], states[lane]
            slot, symbol, low = x % 2**bits, 0, 0
            while slot >= low + table[symbol]:
                low, symbol = low + table[symbol], symbol + 1
            out.append(symbol)
            states[lane] = table[symbol] * (x >> bits) + slot - low
        for lane in range(step_lanes):
            if states[lane] < 2**16:
                states[lane] = states[lane] << 16 | next(words)
    assert next(words, None) is None
    for row in range(tail):
        out += [(state - 2**16) // alphabet**row % alphabet for state in states]
    assert all(state - 2**16 < alphabet**tail for state in states)
    result, place = [], 0
    for stream, count in zip(used, counts, strict=True):
        groups = out[place : place + count]
        symbols = [g // stream.alphabet**i % stream.alphabet for g in groups for i in range(group)]
        result.append(symbols[: stream.count])
        place += count
    return result


@pytest.mark.parametrize("alphabets", [(2,), (3,), (4,), (16,), (17,), (100,), (300,), (8, 8, 3), (5, 200)])
def test_the_scalar_decoder_agrees(alphabets: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    streams = [Stream("indices", 700 + 9 * i, k, 1, (700 + 9 * i,)) for i, k in enumerate(alphabets)]
    parts = [np.minimum(rng.geometric(0.3, s.count) - 1, s.alphabet - 1).astype(word_dtype(s)) for s in streams]
    coded = CODECS[3].encode(parts, streams)
    assert coded is not None
    assert decode(coded, streams) == [part.tolist() for part in parts]
