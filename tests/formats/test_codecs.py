"""Conformance of all codecs: what goes in comes out, and bytes that no encoder gives are refused or harmless."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qacomp.formats.codecs import CODECS, Codec, Stream
from qacomp.formats.codecs.base import Array, Kind, word_dtype
from qacomp.formats.errors import FormatError

INDEX_CODECS = [c for c in CODECS.values() if "indices" in c.kinds]
VALUE_CODECS = [c for c in CODECS.values() if "values" in c.kinds]


def index_parts(seed: int, shapes: list[tuple[int, ...]], alphabet: int) -> tuple[list[Array], list[Stream]]:
    rng = np.random.default_rng(seed)
    parts, streams = [], []
    for shape in shapes:
        stream = Stream("indices", int(np.prod(shape)), alphabet, 1, shape)
        draw = rng.standard_normal(stream.count) * alphabet / 6 + alphabet / 2
        parts.append(np.clip(draw, 0, alphabet - 1).astype(word_dtype(stream)))
        streams.append(stream)
    return parts, streams


def round_trip(codec: Codec, parts: list[Array], streams: list[Stream]) -> bytes | None:
    coded = codec.encode(parts, streams)
    if coded is None:
        return None
    back = codec.decode(memoryview(coded), streams)
    for part, other, stream in zip(parts, back, streams, strict=True):
        assert other.dtype == word_dtype(stream) and np.array_equal(part, other)
    assert codec.encode(parts, streams) == coded
    return coded


@pytest.mark.parametrize("codec", INDEX_CODECS, ids=lambda c: c.name)
@pytest.mark.parametrize("alphabet", [1, 2, 3, 4, 5, 7, 8, 13, 16, 17, 64, 100, 255, 256, 257, 4096, 4097, 65_536])
def test_indices_round_trip(codec: Codec, alphabet: int) -> None:
    cases: list[list[tuple[int, ...]]] = [
        [(3, 5, 2, 2)],
        [(7,), (), (40, 9), (0, 3)],
        [(1,)],
        [(0,)],
        [(60, 50, 3)],
    ]
    for shapes in cases:
        parts, streams = index_parts(1, shapes, alphabet)
        round_trip(codec, parts, streams)


@pytest.mark.parametrize("codec", INDEX_CODECS, ids=lambda c: c.name)
def test_streams_of_different_alphabets_share_a_payload(codec: Codec) -> None:
    alphabets = (16, 1, 2, 200, 5)
    drawn = [index_parts(k, [(30, k, 3)], k) for k in alphabets]
    assert round_trip(codec, [p[0] for p, _ in drawn], [s[0] for _, s in drawn]) or codec.name == "twobyte"


@pytest.mark.parametrize("codec", INDEX_CODECS, ids=lambda c: c.name)
def test_refinements_round_trip(codec: Codec) -> None:
    rng = np.random.default_rng(3)
    children = (1, 5, 2, 4)
    parents = rng.integers(0, 4, 900).astype(np.uint8)
    part = (rng.random(900) * np.array(children)[parents]).astype(np.uint8)
    stream = Stream("indices", 900, 5, 1, (30, 10, 3), 0, parents, children)
    round_trip(codec, [part], [stream])


@pytest.mark.parametrize("codec", VALUE_CODECS, ids=lambda c: c.name)
@pytest.mark.parametrize("dtype", [0, 1, 3, 8, 9, 10, 11, 12])
def test_values_round_trip(codec: Codec, dtype: int) -> None:
    rng = np.random.default_rng(2)
    for counts in ([1000], [0], [1, 0, 5000]):
        streams = [Stream("values", n, 0, dtype, (n,)) for n in counts]
        parts = [
            (rng.standard_normal(n).astype(np.float32).view(np.uint32) >> 3).astype(word_dtype(s))
            for n, s in zip(counts, streams, strict=True)
        ]
        round_trip(codec, parts, streams)


@pytest.mark.parametrize("codec", INDEX_CODECS, ids=lambda c: c.name)
@given(data=st.data())
@settings(max_examples=25)
def test_any_indices(codec: Codec, data: st.DataObject) -> None:
    alphabet = data.draw(st.integers(1, 300))
    count = data.draw(st.integers(0, 400))
    peak = data.draw(st.integers(1, alphabet))
    seed = data.draw(st.integers(0, 1 << 30))
    stream = Stream("indices", count, alphabet, 1, (count,))
    part = np.random.default_rng(seed).integers(0, peak, count).astype(word_dtype(stream))
    round_trip(codec, [part], [stream])


@pytest.mark.parametrize("kind", ["indices", "values"])
@given(data=st.data())
@settings(max_examples=60)
def test_any_bytes_are_refused_or_decode_to_what_the_streams_say(kind: Kind, data: st.DataObject) -> None:
    codec = data.draw(st.sampled_from(INDEX_CODECS if kind == "indices" else VALUE_CODECS))
    alphabet = data.draw(st.sampled_from([1, 2, 16, 200, 300]))
    parts, streams = index_parts(5, [(12, 7)], alphabet)
    if kind == "values":
        streams = [Stream("values", 84, 0, 11, (84,))]
        parts = [np.arange(84, dtype=np.uint32) << 20]
    coded = bytearray(codec.encode(parts, streams) or b"\1\2\3")
    for _ in range(data.draw(st.integers(1, 3))):
        coded[data.draw(st.integers(0, len(coded) - 1))] = data.draw(st.integers(0, 255))
    coded = coded[: data.draw(st.integers(0, len(coded)))] if data.draw(st.booleans()) else coded
    try:
        back = codec.decode(memoryview(bytes(coded)), streams)
    except FormatError:
        return
    assert [len(p) for p in back] == [s.count for s in streams]
    if kind == "indices":
        assert all(int(p.max()) < alphabet for p in back)
