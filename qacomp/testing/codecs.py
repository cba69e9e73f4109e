"""Conformance of a codec: data round-trips, and bytes that no encoder writes are refused or harmless."""

from collections.abc import Sequence

import numpy as np

from qacomp.formats.codecs import CODECS, Codec, Stream, load_codec
from qacomp.formats.codecs.base import Array, word_dtype
from qacomp.formats.errors import FormatError
from qacomp.testing.suite import Suite, expect

ALPHABETS = (1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 64, 100, 255, 256, 257, 4096, 4097, 65_536)
_SHAPES: tuple[tuple[tuple[int, ...], ...], ...] = (
    ((3, 5, 2, 2),),
    ((7,), (), (40, 9), (0, 3)),
    ((1,),),
    ((0,),),
    ((60, 50, 3),),
)
_ELEMENTS = (0, 1, 3, 8, 9, 10, 11, 12)  # ids of element types in SPEC.md, with every size of an element


def index_parts(seed: int, shapes: Sequence[tuple[int, ...]], alphabet: int) -> tuple[list[Array], list[Stream]]:
    """Return the indices of tensors of these shapes, normally distributed over the alphabet, and their streams."""
    rng = np.random.default_rng(seed)
    parts, streams = [], []
    for shape in shapes:
        stream = Stream("indices", int(np.prod(shape)), alphabet, 1, shape)
        draw = rng.standard_normal(stream.count) * alphabet / 6 + alphabet / 2
        parts.append(np.clip(draw, 0, alphabet - 1).astype(word_dtype(stream)))
        streams.append(stream)
    return parts, streams


def round_trip(codec: Codec, parts: list[Array], streams: list[Stream]) -> bytes | None:
    """Encode the parts, check that the bytes decode to them again, and return the bytes.

    Returns None if the codec can't encode them. Raises AssertionError if they don't round-trip.
    """
    coded = codec.encode(parts, streams)
    if coded is None:
        return None
    back = codec.decode(memoryview(coded), streams)
    for part, other, stream in zip(parts, back, streams, strict=True):
        expect(other.dtype == word_dtype(stream) and np.array_equal(part, other), "decoding must give what was encoded")
    expect(codec.encode(parts, streams) == coded, "the same input must give the same bytes")
    return coded


class CodecSuite(Suite):
    """The contract of `Codec`."""

    @property
    def codec(self) -> Codec:
        """Return the codec called `name`."""
        load_codec(self.name)
        return next(codec for codec in CODECS.values() if codec.name == self.name)

    def test_it_says_what_it_is_for(self) -> None:
        """Check that the codec takes indices, values or both."""
        expect(
            set(self.codec.kinds) and set(self.codec.kinds) <= {"indices", "values"}, "kinds: indices, values, or both"
        )

    def test_indices_round_trip(self) -> None:
        """Check alphabets of many sizes, empty streams, and several streams in one payload."""
        if "indices" in self.codec.kinds:
            for alphabet in ALPHABETS:
                for shapes in _SHAPES:
                    round_trip(self.codec, *index_parts(1, shapes, alphabet))

    def test_streams_of_different_alphabets_share_a_payload(self) -> None:
        """Check streams with different alphabets in one payload, one of them with a single symbol."""
        if "indices" in self.codec.kinds:
            drawn = [index_parts(k, [(30, k, 3)], k) for k in (16, 1, 2, 200, 5)]
            round_trip(self.codec, [p[0] for p, _ in drawn], [s[0] for _, s in drawn])

    def test_refinements_round_trip(self) -> None:
        """Check indices that refine a coarser level: each names one of the children of its coarse index."""
        if "indices" not in self.codec.kinds:
            return
        rng = np.random.default_rng(3)
        children = (1, 5, 2, 4)
        parents = rng.integers(0, 4, 900).astype(np.uint8)
        part = (rng.random(900) * np.array(children)[parents]).astype(np.uint8)
        round_trip(self.codec, [part], [Stream("indices", 900, 5, 1, (30, 10, 3), 0, parents, children)])

    def test_values_round_trip(self) -> None:
        """Check values of every size of element, one to eight bytes."""
        if "values" not in self.codec.kinds:
            return
        rng = np.random.default_rng(2)
        for dtype in _ELEMENTS:
            for counts in ([1000], [0], [1, 0, 5000]):
                streams = [Stream("values", n, 0, dtype, (n,)) for n in counts]
                drawn = [rng.standard_normal(n).astype(np.float32).view(np.uint32) >> 3 for n in counts]
                parts = [d.astype(word_dtype(s)) for d, s in zip(drawn, streams, strict=True)]
                round_trip(self.codec, parts, streams)

    def test_damaged_bytes_are_refused_or_harmless(self) -> None:
        """Check that changed, missing and added bytes raise FormatError, or decode to valid counts and symbols."""
        rng = np.random.default_rng(7)
        for parts, streams in self._samples():
            coded = self.codec.encode(parts, streams)
            if coded is not None:
                for _ in range(60):
                    self._hold(bytes(_damaged(coded, rng)), streams)

    def _samples(self) -> list[tuple[list[Array], list[Stream]]]:
        """Return small inputs of each kind that the codec takes."""
        samples = []
        if "indices" in self.codec.kinds:
            samples += [index_parts(5, [(12, 7)], alphabet) for alphabet in (1, 2, 16, 200, 300)]
        if "values" in self.codec.kinds:
            samples.append(([np.arange(84, dtype=np.uint32) << 20], [Stream("values", 84, 0, 11, (84,))]))
        return samples

    def _hold(self, data: bytes, streams: list[Stream]) -> None:
        try:
            self.codec.work(memoryview(data), streams)
            back = self.codec.decode(memoryview(data), streams)
        except FormatError:
            return
        expect(
            [len(part) for part in back] == [stream.count for stream in streams], "a part must have its stream's count"
        )
        for part, stream in zip(back, streams, strict=True):
            below = stream.kind != "indices" or not len(part) or int(part.max()) < stream.alphabet
            expect(below, "every index must lie below its alphabet's size")


def _damaged(coded: bytes, rng: np.random.Generator) -> bytearray:
    """Return the bytes with one to three of them changed, and sometimes truncated or with a byte appended."""
    data = bytearray(coded or b"\1\2\3")
    for _ in range(int(rng.integers(1, 4))):
        data[int(rng.integers(len(data)))] = int(rng.integers(256))
    chance = int(rng.integers(4))
    if chance == 0:
        return data[: int(rng.integers(len(data) + 1))]
    return data + b"\0" if chance == 1 else data
