"""The codec mixing: exact for every kind of tensor, smaller where kernels are smooth, refused when damaged."""

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
from qacomp.formats.codecs.bitlanes import BITS, BitDecoder, Recorder
from qacomp.formats.codecs.mixing import Mixing
from qacomp.formats.codecs.mixingbits import probabilities
from qacomp.formats.codecs.mixingblocks import table_of
from qacomp.formats.codecs.trellispaths import NEXT
from qacomp.formats.errors import CodecError
from qacomp.formats.native_sections import decode_native

CODEC = CODECS[Mixing.id]


def smooth(shape: tuple[int, ...], seed: int, most: int = 4) -> Array:
    """Indices of kernels in which neighbours are alike, as trained ones are; filters and channels differ in size."""
    rng = np.random.default_rng(seed)
    rows, columns, *kernel = shape
    slope = rng.normal(size=(rows, columns, 3))
    down, right = np.meshgrid(*(np.linspace(-1, 1, n) for n in kernel), indexing="ij")
    values = slope[..., 0, None, None] + slope[..., 1, None, None] * down + slope[..., 2, None, None] * right
    values = values + 0.4 * rng.normal(size=shape)
    values *= np.exp(rng.normal(size=(rows, 1, 1, 1)) * 0.5) * np.exp(rng.normal(size=(1, columns, 1, 1)) * 0.5)
    return (np.clip(np.round(values), -most, most) + most).astype(np.uint8)


def on_trellis(rows: int, length: int, spread: int, seed: int) -> Array:
    """Indices (rows, length) on the trellis, within 0 and 4 · spread."""
    drawn = np.random.default_rng(seed).integers(-spread, spread + 1, (length, rows))
    state, found = np.zeros(rows, np.int64), np.zeros((length, rows), np.int64)
    for place, symbols in enumerate(drawn):
        found[place] = 2 * symbols - np.sign(symbols) * (state & 1)
        state = NEXT[2 * state + (symbols & 1)].astype(np.int64)
    return (found.T + 2 * spread).astype(np.uint8)


def stream_of(tensor: Array, alphabet: int, start: int = 0, count: int | None = None) -> Stream:
    return Stream("indices", tensor.size if count is None else count, alphabet, shape=tensor.shape, start=start)


def back(coded: bytes, streams: list[Stream]) -> list[Array]:
    return CODEC.decode(memoryview(coded), streams)


SHAPES = (
    (7,),
    (),
    (3, 5),
    (40, 30),
    (6, 4, 3, 3),
    (20, 1, 3, 3),
    (2, 2, 5, 5),
    (3, 2, 70),
    (1, 300),
    (300, 1),
    (5, 3, 2),
)


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_every_shape_and_part_comes_back(data: st.DataObject) -> None:
    parts, streams = [], []
    for seed in range(data.draw(st.integers(1, 4))):
        shape = data.draw(st.sampled_from(SHAPES))
        alphabet = data.draw(st.sampled_from([1, 2, 3, 9, 60, 256]))
        rng = np.random.default_rng(seed)
        tensor = np.clip(rng.normal(alphabet / 2, data.draw(st.sampled_from([0.2, 2, 5])), shape), 0, alphabet - 1)
        tensor = np.asarray(tensor).astype(np.uint8)
        start = data.draw(st.integers(0, tensor.size))
        stop = data.draw(st.integers(start, tensor.size))
        parts.append(tensor.reshape(-1)[start:stop])
        streams.append(stream_of(tensor, alphabet, start, stop - start))
    coded = CODEC.encode(parts, streams)
    if coded is None:
        return
    for part, found in zip(parts, back(coded, streams), strict=True):
        assert found.dtype == part.dtype and np.array_equal(found, part)
    assert CODEC.work(memoryview(coded), streams) > 0


@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_indices_on_a_trellis_come_back_in_parts(data: st.DataObject) -> None:
    spread = data.draw(st.sampled_from([1, 2, 3]))
    whole = on_trellis(18, 40, spread, data.draw(st.integers(0, 3)))
    tensor = np.ascontiguousarray(whole.T) if data.draw(st.booleans()) else whole.reshape(18, 10, 4)
    start = data.draw(st.integers(0, tensor.size // 2))
    stop = data.draw(st.integers(start + 100, tensor.size))
    part, stream = tensor.reshape(-1)[start:stop], stream_of(tensor, 4 * spread + 1, start, stop - start)
    coded = CODEC.encode([part], [stream])
    assert coded is not None and np.array_equal(back(coded, [stream])[0], part)


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
@settings(max_examples=30, deadline=None)
def test_bits_come_back_on_any_number_of_lanes(seed: int, lanes: int) -> None:
    rng = np.random.default_rng(seed)
    coder, batches = Recorder(), []
    for _ in range(4):
        ones = rng.integers(8, (1 << BITS) - 8, rng.integers(0, 90))
        batches.append((ones, rng.integers(0, 1 << BITS, len(ones)) < ones))
        coder.batch(*batches[-1])
    states, words = coder.coded(lanes)
    decoder = BitDecoder(states, words)
    assert all(np.array_equal(decoder.batch(ones), bits) for ones, bits in batches)
    decoder.finish()
    assert abs(16 * len(words) - coder.cost()) <= 32 * lanes + 0.05 * coder.cost() + 16


def test_probabilities_are_those_of_the_odds() -> None:
    odds = np.arange(-900, 901)
    exact = 1 / (1 + 2.0 ** (-odds / 64))
    assert np.abs(probabilities(odds) / 32768 - np.clip(exact, 8 / 32768, 1 - 8 / 32768)).max() < 2 / 32768
    assert (np.diff(probabilities(odds)) >= 0).all()


@given(st.sampled_from(SHAPES[:-1]), st.data())
@settings(max_examples=60, deadline=None)
def test_blocks_hold_each_value_once(shape: tuple[int, ...], data: st.DataObject) -> None:
    size = int(np.prod(shape))
    start = data.draw(st.integers(0, size - 1))
    stream = Stream("indices", data.draw(st.integers(1, size - start)), 3, shape=shape, start=start)
    table = table_of(stream)
    seen = np.concatenate([table.positions(block) for block in table.blocks()])
    assert np.array_equal(np.sort(seen), np.arange(stream.count))


def test_large_tables_have_blocks_of_bounded_size() -> None:
    for shape in ((3000, 900), (1, 200_000), (200_000, 1), (1, 70_000, 3), (70_000, 1, 3), (128, 128, 3, 3)):
        sizes = [len(block.rows) for block in table_of(Stream("indices", int(np.prod(shape)), 3, shape=shape)).blocks()]
        assert max(sizes) <= 8192 and len(sizes) >= 64


@pytest.mark.parametrize("start", [0, 7, 4000, 3 * 10**8 - 500, 3 * 10**8 - 1, 6 * 10**8 - 1000])
def test_a_part_of_a_wide_table_takes_little_memory_and_time(start: int) -> None:
    shape = (2, 10**8, 3)
    stream = Stream("indices", min(1000, 6 * 10**8 - start), 5, shape=shape, start=start)
    part = np.random.default_rng(start).integers(0, 5, stream.count).astype(np.uint8)
    seen = np.concatenate([table_of(stream).positions(block) for block in table_of(stream).blocks()])
    assert np.array_equal(np.sort(seen), np.arange(stream.count))
    coded = CODEC.encode([part], [stream])
    assert coded is not None and np.array_equal(back(coded, [stream])[0], part)


def test_smooth_kernels_take_fewer_bytes_than_under_the_codec_context() -> None:
    tensors = [smooth((48, 32, 3, 3), seed) for seed in range(3)]
    parts, streams = [t.reshape(-1) for t in tensors], [stream_of(t, 9) for t in tensors]
    ours, other = CODEC.encode(parts, streams), CODECS[4].encode(parts, streams)
    assert ours is not None and other is not None
    assert len(ours) < 0.93 * len(other)  # 0.88 when written
    rng = np.random.default_rng(0)
    for part in parts:
        rng.shuffle(part.reshape(-1, 9), axis=1)  # the same magnitudes in each kernel, without neighbours
    shuffled = CODEC.encode(parts, streams)
    assert shuffled is not None and len(shuffled) > 1.05 * len(ours)


def test_the_c_decoder_finds_the_same(c_decoder: None) -> None:
    tensors = [smooth((20, 12, 3, 3), 1), smooth((9, 2, 5, 5), 2, 20), on_trellis(24, 90, 4, 3).reshape(24, 30, 3)]
    tensors += [np.ascontiguousarray(on_trellis(24, 90, 4, 3).T), smooth((4, 2, 1, 1), 5), smooth((1, 40, 70, 1), 6)]
    streams = [stream_of(t, int(t.max()) + 1) for t in tensors]
    coded = CODEC.encode([t.reshape(-1) for t in tensors], streams)
    assert coded is not None
    ours, theirs = back(coded, streams), decode_native(CODEC.id, memoryview(coded), streams)
    assert theirs is not None
    for tensor, one, two in zip(tensors, ours, theirs, strict=True):
        assert np.array_equal(tensor.reshape(-1), one) and np.array_equal(one, two)


def outcome(coded: bytes, streams: list[Stream]) -> list[Array] | None:
    try:
        return back(coded, streams)
    except CodecError:
        return None


def test_damaged_payloads_are_refused_or_decode_to_indices_of_the_codebook() -> None:
    tensor = smooth((8, 6, 3, 3), 1)
    streams = [stream_of(tensor, 9), stream_of(on_trellis(8, 20, 2, 1), 9)]
    coded = CODEC.encode([tensor.reshape(-1), on_trellis(8, 20, 2, 1).reshape(-1)], streams)
    assert coded is not None
    for length in range(len(coded)):
        assert outcome(coded[:length], streams) is None
    assert outcome(coded + b"\0\0", streams) is None
    refused = 0
    for place in range(len(coded)):
        for change in (1, 128):
            wrong = bytearray(coded)
            wrong[place] ^= change
            found = outcome(bytes(wrong), streams)
            refused += found is None
            assert found is None or all(int(part.max()) < 9 for part in found)
    assert refused > 1.5 * len(coded)  # nearly always the lanes don't end where they should


def test_streams_that_it_cannot_hold_are_refused(tmp_path: Path) -> None:
    tensor = smooth((8, 6, 3, 3), 1)
    stream = stream_of(tensor, 9)
    coded = CODEC.encode([tensor.reshape(-1)], [stream])
    assert coded is not None
    refined = replace(stream, parents=tensor.reshape(-1), children=(9,))
    assert CODEC.encode([tensor.reshape(-1)], [refined]) is None
    for other in (refined, replace(stream, alphabet=257)):
        with pytest.raises(CodecError, match=r"can't hold|too large"):
            CODEC.decode(memoryview(coded), [other])
    vector = replace(stream, shape=(stream.count,))
    with pytest.raises(CodecError, match="can't hold"):  # a vector has no path
        CODEC.decode(memoryview(bytes([coded[0], coded[1] | 2]) + coded[2:]), [vector])


def test_a_writer_takes_it_where_it_gains(tmp_path: Path) -> None:
    book = np.arange(-4, 5, dtype=np.float32) / 8
    tensors = {"w": SharedTensor(book, smooth((64, 64, 3, 3), 1))}
    told = save_file(tmp_path / "now.qac", tensors, coding=Coding(("with-mixing",)))
    before = save_file(tmp_path / "before.qac", tensors)
    assert told.tensors[0].codec == "mixing" and before.tensors[0].codec == "context"
    assert told.tensors[0].bytes < 0.95 * before.tensors[0].bytes
    assert (tmp_path / "now.qac").read_bytes()[5] == 6 and (tmp_path / "before.qac").read_bytes()[5] == 0
    with open_file(tmp_path / "now.qac") as container:
        assert np.array_equal(container.shared("w").indices, tensors["w"].indices)


def test_a_long_section_is_tried_on_a_sample() -> None:
    noise: NDArray[np.uint8] = np.random.default_rng(0).integers(0, 9, (1000, 600)).astype(np.uint8)
    assert CODEC.encode([noise.reshape(-1)], [stream_of(noise, 9)]) is None
    tensor = smooth((256, 240, 3, 3), 1)
    coded = CODEC.encode([tensor.reshape(-1)], [stream_of(tensor, 9)])
    assert coded is not None and np.array_equal(back(coded, [stream_of(tensor, 9)])[0], tensor.reshape(-1))
