"""The codec trellis: exact along every axis, smaller than the codec context, refused when damaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qacomp.formats import Coding, SharedTensor, open_file, save_file
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.base import Array
from qacomp.formats.codecs.trellis import Trellis
from qacomp.formats.codecs.trellispaths import NEXT
from qacomp.formats.deltas import delta_chunks, make_delta, read_delta, updated
from qacomp.formats.errors import CodecError
from qacomp.formats.native_sections import decode_native

CODEC = CODECS[Trellis.id]


def rows(count: int, length: int, spread: int, seed: int = 0) -> NDArray[np.int64]:
    """Multiples (count, length) of rows on the trellis, within ±2 · spread."""
    drawn = np.random.default_rng(seed).integers(-spread, spread + 1, (length, count))
    state, found = np.zeros(count, np.int64), np.zeros((length, count), np.int64)
    for place, symbols in enumerate(drawn):
        found[place] = 2 * symbols - np.sign(symbols) * (state & 1)
        state = NEXT[2 * state + (symbols & 1)].astype(np.int64)
    return found.T


def indices(multiples: NDArray[np.int64], spread: int) -> Array:
    return (multiples + 2 * spread).astype(np.uint8 if spread < 64 else np.uint16)


def on_axis(way: int, sides: tuple[int, int, int], spread: int, seed: int) -> Array:
    """Indices of a tensor whose rows lie along the first axis (1), from the second on (2), or along the third (3)."""
    a, b, c = sides
    if way == 1:
        return np.ascontiguousarray(indices(rows(b * c, a, spread, seed), spread).T).reshape(sides)
    return indices(rows(a, b * c, spread, seed) if way == 2 else rows(a * b, c, spread, seed), spread).reshape(sides)


def stream_of(tensor: Array, spread: int, start: int = 0, count: int | None = None) -> Stream:
    return Stream("indices", tensor.size if count is None else count, 4 * spread + 1, shape=tensor.shape, start=start)


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_rows_along_any_axis_come_back_beside_others(data: st.DataObject) -> None:
    parts, streams = [], []
    for seed in range(data.draw(st.integers(1, 4))):
        way, spread = data.draw(st.integers(0, 3)), data.draw(st.sampled_from([1, 3, 63, 64, 100, 127]))
        sides = data.draw(st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(1, 9)))
        tensor = on_axis(way or 2, sides, spread, seed)
        if way == 0:
            tensor = np.random.default_rng(seed).integers(0, 4 * spread + 1, sides).astype(tensor.dtype)
        start = data.draw(st.integers(0, tensor.size // 2))
        stop = data.draw(st.integers(start, tensor.size))
        parts.append(tensor.reshape(-1)[start:stop])
        streams.append(stream_of(tensor, spread, start, stop - start))
    coded = CODEC.encode(parts, streams)
    if coded is not None:
        back = CODEC.decode(memoryview(coded), streams)
        for part, found in zip(parts, back, strict=True):
            assert found.dtype == part.dtype and np.array_equal(found, part)
        assert CODEC.work(memoryview(coded), streams) > 0


@pytest.mark.parametrize("way", [1, 2, 3])
def test_many_lanes_decode_as_the_c_decoder_does(way: int, c_decoder: None) -> None:
    tensor, other = on_axis(way, (40, 30, 33), 6, 1), np.random.default_rng(2).integers(0, 5, (50, 40)).astype(np.uint8)
    parts, streams = [tensor.reshape(-1), other.reshape(-1)], [stream_of(tensor, 6), stream_of(other, 1)]
    coded = CODEC.encode(parts, streams)
    assert coded is not None
    ours, theirs = CODEC.decode(memoryview(coded), streams), decode_native(CODEC.id, memoryview(coded), streams)
    assert theirs is not None
    for part, one, two in zip(parts, ours, theirs, strict=True):
        assert np.array_equal(part, one) and np.array_equal(part, two)
    whole = CODECS[4].encode(parts[:1], streams[:1])
    alone = CODEC.encode(parts[:1], streams[:1])
    assert whole is not None and alone is not None and len(alone) < 0.82 * len(whole)  # a bit of 4.6 less


def test_other_indices_have_no_path() -> None:
    tensor = on_axis(2, (20, 5, 6), 3, 1)
    assert CODEC.encode([tensor.reshape(-1)], [stream_of(tensor, 3)]) is not None
    spoiled = tensor.copy()
    spoiled[3, 1, 1] += 1
    for other in (spoiled, np.full_like(tensor, 6), tensor.reshape(-1)):
        assert CODEC.encode([other.reshape(-1)], [stream_of(other, 3)]) is None
    refined = replace(stream_of(tensor, 3), parents=tensor.reshape(-1))
    assert CODEC.encode([tensor.reshape(-1)], [refined]) is None


def test_wrong_states_and_ways_are_refused() -> None:
    tensor = on_axis(2, (60, 20, 11), 5, 1)
    stream = stream_of(tensor, 5)
    coded = CODEC.encode([tensor.reshape(-1)], [stream])
    assert coded is not None
    first = 6  # bits, taps, lanes, centre, setting, way: a byte each
    assert coded[5] == 2 and coded[2] > 4
    for place, value, why in (
        (first, 1, "doesn't follow"),  # a row starts in state 0
        (first + 1, coded[first + 1] ^ 2, "damaged"),
        (first + 2, 8, "out of range"),
        (5, 1, "damaged"),
        (5, 4, "damaged"),
    ):
        wrong = bytearray(coded)
        wrong[place] = value
        with pytest.raises(CodecError, match=why):
            CODEC.decode(memoryview(bytes(wrong)), [stream])
    for other in (replace(stream, shape=(tensor.size,)), replace(stream, children=(2, 3), parents=tensor.reshape(-1))):
        with pytest.raises(CodecError, match="can't hold"):
            CODEC.decode(memoryview(coded), [other])


def test_a_writer_takes_it_where_indices_follow_a_trellis(tmp_path: Path) -> None:
    tensor = on_axis(2, (40, 5, 9), 6, 1)
    book = np.arange(-12, 13, dtype=np.float32) / 8
    shared = SharedTensor(book.reshape(1, 1, 1, -1), tensor, (), tensor.shape)
    told = save_file(tmp_path / "now.qac", {"w": shared})
    before = save_file(tmp_path / "before.qac", {"w": shared}, coding=Coding(("no-trellis",)))
    assert told.tensors[0].codec == "trellis" and told.tensors[0].bytes < 0.9 * before.tensors[0].bytes
    assert (tmp_path / "now.qac").read_bytes()[5] == 5 and (tmp_path / "before.qac").read_bytes()[5] == 2
    with open_file(tmp_path / "now.qac") as container:
        assert np.array_equal(container.shared("w").indices, tensor)
    save_file(
        tmp_path / "other.qac", {"w": SharedTensor(book, np.random.default_rng(0).integers(0, 25, (40, 45), "u1"))}
    )
    assert (tmp_path / "other.qac").read_bytes()[5] == 0  # a file without it stays one of version 1.0


def test_a_delta_holds_such_sections_whole(tmp_path: Path) -> None:
    tensor = on_axis(2, (40, 5, 9), 6, 1)
    book = np.arange(-12, 13, dtype=np.float32) / 8
    files = []
    for seed in (1, 2):
        changed = on_axis(2, (40, 5, 9), 6, seed)
        save_file(tmp_path / "a.qac", {"w": SharedTensor(book, changed), "v": SharedTensor(book, tensor)})
        files.append((tmp_path / "a.qac").read_bytes())
    with open_file(files[0]) as base, open_file(files[1]) as new:
        delta = b"".join(delta_chunks(make_delta(base, new)))
        assert b"".join(updated(read_delta(memoryview(delta), "update"), base).chunks()) == files[1]
