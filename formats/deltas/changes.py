"""Code indices by what the base predicts: whether each differs, which way and how far, by an adaptive range coder.

Changes are rare where the base's index is the commonest one, cluster where others have changed, and are likelier
where the base's own indices differ from their neighbours. A setting says which of these three the contexts use.
"""

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qacomp.formats.codecs.rangecoder import AdaptiveBit, AdaptiveInt, RangeDecoder, RangeEncoder, adaptive_bit
from qacomp.formats.errors import CodecError

RATE_LIMIT = 255
"""Decisions after which a probability learns no slower: statistics of a whole network change little."""
SETTINGS = 8
"""The number of settings: the sum of 1 (distance from the middle), 2 (changes nearby) and 4 (the base's neighbours)."""
_FAR, _ROUGH, _NEAR = 4, 3, 3
_CONTEXTS = _FAR * _ROUGH * _NEAR
_ROUGH_FROM = (1, 3)
SYMBOL_WORK = 6_000
"""Nanoseconds of decoding a symbol, about, in plain Python."""

Symbols: TypeAlias = NDArray[np.int32]


@dataclass(frozen=True)
class Predicted:
    """Hold what is known of a stream before its symbols. symbols: predicted ones (n,); most: the largest possible (n,).

    above: how many places back the symbol at the same place of the filter before lies; 0 where there are no filters.
    """

    symbols: Symbols
    most: Symbols
    above: int

    def classes(self, setting: int) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        """Return the part of each context that is known beforehand (n,), and the side of the middle, 0 to 2 (n,)."""
        middle = int(np.bincount(self.symbols).argmax()) if self.symbols.size else 0
        known = np.zeros(self.symbols.size, np.int32)
        if setting & 1:
            known += np.minimum(np.abs(self.symbols - middle), _FAR - 1) * _ROUGH
        if setting & 4 and self.symbols.size:
            steps = np.abs(np.diff(self.symbols))
            around = np.append(steps, 0) + np.insert(steps, 0, 0)
            known += np.searchsorted(_ROUGH_FROM, around, side="right").astype(np.int32)
        return (known * _NEAR).astype(np.uint8), (np.sign(self.symbols - middle) + 1).astype(np.uint8)


class _Model:
    """The adaptive statistics of a section. changed: by context; up: by side; far: how much more than one."""

    def __init__(self) -> None:
        self.changed = [adaptive_bit() for _ in range(_CONTEXTS)]
        self.up = [adaptive_bit() for _ in range(3)]
        self.far = AdaptiveInt()
        self.trees: dict[tuple[int, int], AdaptiveBit] = {}

    def node(self, bits: int, node: int) -> AdaptiveBit:
        """Return the model of a node of the binary tree of symbols of so many bits."""
        return self.trees.setdefault((bits, node), adaptive_bit())


class ChangeEncoder:
    """Encodes the streams of a section, one after the other."""

    def __init__(self, setting: int) -> None:
        self.setting = setting
        self._coder, self._model = RangeEncoder(RATE_LIMIT), _Model()

    def add(self, symbols: Symbols, given: Predicted) -> None:
        """Encode symbols (n,), each at most what `given` says."""
        known, sides = (part.tobytes() for part in given.classes(self.setting))
        nearby, above = self.setting >> 1 & 1, given.above
        expected, most = _words(given.symbols), _words(given.most)
        model, coder, changed = self._model, self._coder, bytearray(len(expected))
        for place, symbol in enumerate(_words(symbols)):
            if not most[place]:
                continue
            context = known[place]
            if nearby and place:
                context += changed[place - 1] + (changed[place - above] if 0 < above <= place else 0)
            move = symbol - expected[place]
            if not move:
                coder.bit(model.changed[context], 0)
                continue
            coder.bit(model.changed[context], 1)
            changed[place] = 1
            if 0 < expected[place] < most[place]:
                coder.bit(model.up[sides[place]], int(move > 0))
            coder.uint(model.far, abs(move) - 1)

    def add_alone(self, symbols: Symbols, alphabet: int) -> None:
        """Encode symbols (n,) that nothing predicts."""
        bits, model, coder = (alphabet - 1).bit_length(), self._model, self._coder
        for symbol in _words(symbols):
            node = 1
            for position in range(bits - 1, -1, -1):
                bit = symbol >> position & 1
                coder.bit(model.node(bits, node), bit)
                node = 2 * node + bit

    def finish(self) -> bytes:
        """Return the coded bytes."""
        return self._coder.finish()


class ChangeDecoder:
    """Decodes what ChangeEncoder encoded."""

    def __init__(self, data: memoryview, setting: int) -> None:
        self.setting = setting
        self._coder, self._model = RangeDecoder(data, RATE_LIMIT), _Model()

    def next(self, given: Predicted) -> Symbols:
        """Decode the next stream: (n,). Raises CodecError for a symbol above the largest possible one."""
        known, sides = (part.tobytes() for part in given.classes(self.setting))
        nearby, above = self.setting >> 1 & 1, given.above
        symbols, most = _words(given.symbols), _words(given.most)
        model, coder, changed = self._model, self._coder, bytearray(len(symbols))
        for place, expected in enumerate(symbols):
            if not most[place]:
                continue
            context = known[place]
            if nearby and place:
                context += changed[place - 1] + (changed[place - above] if 0 < above <= place else 0)
            if not coder.bit(model.changed[context]):
                continue
            changed[place] = 1
            up = coder.bit(model.up[sides[place]]) if 0 < expected < most[place] else expected == 0
            far = coder.uint(model.far) + 1
            symbol = expected + far if up else expected - far
            if not 0 <= symbol <= most[place]:
                raise CodecError("an index lies outside its codebook; the delta is damaged")
            symbols[place] = symbol
        return np.frombuffer(symbols, np.uint16).astype(np.int32)

    def next_alone(self, count: int, alphabet: int) -> Symbols:
        """Decode the next stream, which nothing predicts: (count,). Raises CodecError."""
        bits, model, coder = (alphabet - 1).bit_length(), self._model, self._coder
        symbols = array("H", bytes(2 * count))
        for place in range(count):
            node = 1
            for _ in range(bits):
                node = 2 * node + coder.bit(model.node(bits, node))
            symbols[place] = node - (1 << bits)
        found = np.frombuffer(symbols, np.uint16).astype(np.int32)
        if count and int(found.max()) >= alphabet:
            raise CodecError("an index lies outside its codebook; the delta is damaged")
        return found


def best_setting(symbols: Sequence[Symbols], given: Sequence[Predicted]) -> int:
    """Return the setting whose contexts tell most of which symbols change, counted over all streams."""
    return min(range(SETTINGS), key=lambda setting: _bits(symbols, given, setting))


def _bits(symbols: Sequence[Symbols], given: Sequence[Predicted], setting: int) -> float:
    """Estimate the bits that tell which symbols change, with half a logarithm for each probability that is learnt."""
    counts = np.zeros((2, _CONTEXTS))
    for found, expected in zip(symbols, given, strict=True):
        changed = found != expected.symbols
        known = expected.classes(setting)[0].astype(np.int64)
        if setting & 2:
            known[1:] += changed[:-1]
            if expected.above:
                known[expected.above :] += changed[: -expected.above]
        for value in (0, 1):
            counts[value] += np.bincount(known[(changed == value) & (expected.most > 0)], minlength=_CONTEXTS)
    total = counts.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        bits = np.where(counts > 0, counts * np.log2(total / counts), 0.0).sum()
    return float(bits + 0.5 * np.log2(total[total > 0]).sum())


def _words(symbols: Symbols) -> "array[int]":
    """Return symbols as an array of two bytes each, whose items are read quickly."""
    return array("H", symbols.astype(np.uint16).tobytes())
