"""Conformance of all codecs: what goes in comes out, and bytes that no encoder gives are refused or harmless."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qacomp.formats.codecs import CODECS, Codec, Stream
from qacomp.formats.codecs.base import Kind, word_dtype
from qacomp.formats.errors import FormatError
from qacomp.testing import CodecSuite, suites_of
from qacomp.testing.codecs import index_parts, round_trip

INDEX_CODECS = [c for c in CODECS.values() if "indices" in c.kinds]
VALUE_CODECS = [c for c in CODECS.values() if "values" in c.kinds]
globals().update(suites_of(CodecSuite, [c.name for c in CODECS.values()]))


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
