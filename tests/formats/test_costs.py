"""What a small file with right checksums may cost to read: refused, or read in time and memory bounded by its size."""

import json
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import resign

from qacomp.formats import (
    CodecError,
    FormatError,
    HeaderError,
    LimitExceededError,
    SharedTensor,
    load_file,
    open_file,
    save_file,
)
from qacomp.formats.budget import affordable
from qacomp.formats.bytestream import ByteWriter
from qacomp.formats.checksums import crc32
from qacomp.formats.codec_choice import choose
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.zstd import compress
from qacomp.formats.header import write_header
from qacomp.formats.records import (
    DENSE,
    GRAPH,
    INDEX_CHUNK,
    INDICES,
    META,
    SAME,
    SHARED,
    VALUE_CHUNK,
    VALUES,
    Header,
    SectionRecord,
    TensorRecord,
)

SECONDS = 5.0 * float(os.environ["QACOMP_TIME_SCALE"])  # of CPU time; each file here is read in well below a second
Place = tuple[int, int, int, int]


def file(
    tensors: Sequence[TensorRecord],
    sections: Sequence[Place],
    payloads: Sequence[bytes],
    chunk_log2: int = 30,
) -> bytes:
    """A file of these records; sections: (kind, codec, level, owner); the header is compressed."""
    records = [
        SectionRecord(kind, codec, level, owner, len(data), crc32(data))
        for (kind, codec, level, owner), data in zip(sections, payloads, strict=True)
    ]
    header = Header(tuple(tensors), tuple(records), 0, chunk_log2)
    raw = write_header(header)
    made: bytes = resign.container(compress(raw), b"".join(payloads), codec=6, raw=len(raw), flags=header.flags)
    return made


def read(data: bytes) -> None:
    """Every tensor, in every way; raises what the file deserves, and fails where it takes too long."""
    start = time.process_time()
    try:
        with open_file(data) as container:
            for name in container.names:
                container.info(name)
                container.tensor(name, copy=False)
                if container.info(name).shape:
                    container.rows(name, 0, 1)
                if container.info(name).k is not None:
                    container.shared(name)
    finally:
        assert time.process_time() - start < SECONDS


def shared(name: str, shape: tuple[int, ...], k: int = 1, group: int = 0, **more: object) -> TensorRecord:
    return replace(TensorRecord(name, SHARED, 11, 9, shape, group, 1, (k,)), **more)  # type: ignore[arg-type]


def test_very_many_empty_tensors() -> None:
    tensors = [TensorRecord(f"{i:06x}", DENSE, 1, 1, (0,), 1, 0) for i in range(100_000)]
    data = file(tensors, [(VALUES, 0, 0, 0)], [b""])
    with pytest.raises(LimitExceededError, match="header would grow"):
        read(data)


def test_very_many_sections() -> None:
    tensors = [TensorRecord("x", DENSE, 1, 1, (20_000,), 0, 0)]
    read(file(tensors, [(VALUE_CHUNK, 0, 0, 0)] * 20_000, [b"\0"] * 20_000, 0))
    tensors = [TensorRecord("x", DENSE, 1, 1, (100_000,), 0, 0)]
    data = file(tensors, [(VALUE_CHUNK, 6, 0, 0)] * 100_000, [b""] * 100_000, 0)
    with pytest.raises(LimitExceededError, match="header would grow"):
        read(data)


def test_many_references_to_one_large_tensor() -> None:
    first = shared("x", (1 << 25,))
    others = [replace(first, name=f"{i}", kind=SAME, levels=(), book_group=0, same_as=0) for i in range(1000)]
    data = file([first, *others], [(VALUES, 0, 0, 0), (INDEX_CHUNK, 1, 0, 0)], [b"\0\0", b""])
    with pytest.raises(LimitExceededError, match="tensors would grow"):
        open_file(data)


def test_many_large_constants() -> None:
    tensors = [shared(f"{i}", (1 << 25,)) for i in range(1000)]
    data = file(
        tensors,
        [(VALUES, 6, 0, 0)] + [(INDEX_CHUNK, 1, 0, i) for i in range(1000)],
        [compress(bytes(2000))] + [b""] * 1000,
    )
    with pytest.raises(LimitExceededError, match="tensors would grow"):
        open_file(data)


def test_rows_of_what_is_not_there() -> None:
    count = 1 << 36
    places = [(VALUES, 0, 0, 0)] + [(INDEX_CHUNK, 1, 0, 0)] * (count >> 30)
    data = file([shared("x", (count,))], places, [bytes(2)] + [b""] * (count >> 30))
    with pytest.raises(LimitExceededError):
        open_file(data).rows("x", 0, count)


@pytest.mark.parametrize("alphabet", [2, 16, 256])
@pytest.mark.parametrize("streams", [1, 200, 1024])
def test_context_streams_of_few_symbols(streams: int, alphabet: int) -> None:
    tensors = [shared(f"{i:x}", (4,), alphabet, 1) for i in range(streams)]
    out = ByteWriter()
    for number in (14, 0, 1, *[0, 2] * streams):
        out.uint(number)
    out.raw(b"\0\0\1\0" + b"\xff\xff" * 8 * streams)
    books = compress(bytes(2 * alphabet * streams))
    with pytest.raises(FormatError):
        read(file(tensors, [(VALUES, 6, 0, 0), (INDICES, 4, 0, 0)], [books, bytes(out.buffer)]))


def one_lane(codec: str, count: int) -> bytes:
    """`count` equal symbols of an alphabet of 2 on a single lane: as many steps as there can be, in a few bytes."""
    out, model = ByteWriter(), [np.zeros(count, np.uint8)]
    if codec == "context":
        for number in (9, 0, 1, 0, 0):
            out.uint(number)
        out.raw(b"\0\0\1\0" + b"\0\0" * 64)
        return bytes(out.buffer)
    coded = CODECS[3].encode(model, [Stream("indices", count, 2)])
    assert coded is not None
    return coded


@pytest.mark.parametrize(("codec", "number"), [("rans", 3), ("context", 4)])
def test_many_sections_of_long_lanes(codec: str, number: int) -> None:
    count = 1 << 16
    tensors = [shared(f"{i}", (count,), 2) for i in range(200)]
    payload = one_lane(codec, count)
    places = [(VALUES, 6, 0, 0)] + [(INDEX_CHUNK, number, 0, i) for i in range(200)]
    data = file(tensors, places, [compress(bytes(800)), *[payload] * 200])
    with open_file(data) as container, pytest.raises(FormatError):
        start = time.process_time()
        try:
            for name in container.names:
                container.tensor(name)
        except CodecError:  # context: no such payload is right; what counts is what it takes to find out
            read(data)
        else:
            assert time.process_time() - start < SECONDS
            raise LimitExceededError("read in time")


@pytest.mark.parametrize("blocks", [None, (1, 1, 1)])
@pytest.mark.parametrize("shape", [(0, 1 << 48, 1 << 48), (1 << 48, 0, 1 << 48)])
def test_sizes_beside_a_zero(shape: tuple[int, ...], blocks: tuple[int, ...] | None) -> None:
    dense = file([TensorRecord("x", DENSE, 11, 11, shape, 0, 0)], [], [])
    with pytest.raises(LimitExceededError, match="is empty, but has"):
        open_file(dense)
    if blocks:
        record = shared("x", shape, 2, blocks=blocks, book_group=0)
        with pytest.raises(LimitExceededError):
            open_file(file([record], [], []))


def test_empty_arrays_of_large_sizes_are_read(tmp_path: Path) -> None:
    empty = np.zeros((0, 1 << 40), np.float32)
    save_file(tmp_path / "a.qac", {"x": empty, "s": SharedTensor(np.ones(2, np.float32), np.zeros((3, 0), np.uint8))})
    with open_file(tmp_path / "a.qac") as container:
        assert container.tensor("x").shape == empty.shape == container.rows("x", 0, 5).shape
        assert container.tensor("s").shape == (3, 0) and container.rows("s", 1, 3).shape == (2, 0)
    record = shared("x", (0, 1 << 48), 2, blocks=(1, 1), book_group=0)
    with open_file(file([record], [], [])) as container:
        assert container.tensor("x").shape == (0, 1 << 48) == container.shared("x").indices.shape


def test_raw_chunks_that_are_too_short_or_too_long() -> None:
    for size in (12, 20):
        tensors = [TensorRecord("x", DENSE, 11, 11, (4,), 0, 0)]
        data = file(tensors, [(VALUE_CHUNK, 0, 0, 0)], [bytes(size)])
        with pytest.raises(CodecError):
            open_file(data).tensor("x", copy=False)


def test_truth_values_that_are_mapped_or_converted() -> None:
    mapped = file([TensorRecord("x", DENSE, 0, 0, (5,), 0, 0)], [(VALUE_CHUNK, 0, 0, 0)], [b"\2" * 5])
    with pytest.raises(CodecError, match="truth"):
        open_file(mapped).tensor("x", copy=False)


@pytest.mark.parametrize(("stored", "given"), [(1, 0), (0, 11), (11, 9), (10, 11), (8, 12), (11, 6), (6, 5)])
def test_types_that_are_not_exact_in_others(stored: int, given: int) -> None:
    data = file([TensorRecord("x", DENSE, given, stored, (1,), 1, 0)], [(VALUES, 0, 0, 0)], [bytes(8)])
    with pytest.raises(HeaderError, match="exact"):
        open_file(data)


def test_codebooks_of_few_bytes() -> None:
    """65,536 entries for each of a thousand tensors of one value, from next to nothing."""
    tensors = [shared(f"{i}", (1,), 65_536, 1) for i in range(4000)]
    payloads = [compress(bytes(2 * 65_536 * 4000)), bytes(8000)]
    with pytest.raises(LimitExceededError):
        read(file(tensors, [(VALUES, 6, 0, 0), (INDICES, 1, 0, 0)], payloads))


REFUSED_METADATA = [
    '{"a":1,"a":2}',
    '{"a":NaN}',
    '{"a":Infinity}',
    '{"a":1e999}',
    '{"a":"\\ud800"}',
    '{"a":' + "9" * 5000 + "}",
    '{"a":' + "[" * 200 + "]" * 200 + "}",
    "\ufeff{}",
]


@pytest.mark.parametrize("text", REFUSED_METADATA)
def test_metadata_that_no_writer_gives(text: str) -> None:
    data = text.encode()
    section = SectionRecord(META, 0, 0, 0, len(data), crc32(data), len(data))
    made = resign.container(write_header(Header((), (section,), 4, 22)), data)
    with open_file(made) as container, pytest.raises(HeaderError, match="JSON"):
        _ = container.meta


def test_metadata_and_graphs_of_few_bytes() -> None:
    text = b'{"a":[' + b"{}," * (1 << 22) + b"0]}"
    for kind in (GRAPH, META):
        data = compress(text * (8 if kind == GRAPH else 1))
        size = len(text) * (8 if kind == GRAPH else 1)
        section = SectionRecord(kind, 6, 0, 0, len(data), crc32(data), size)
        made = resign.container(write_header(Header((), (section,), 4, 22)), data)
        with open_file(made) as container, pytest.raises(LimitExceededError, match="would grow"):
            _ = container.meta, container.graph()


def test_what_a_writer_compresses_too_well_is_stored_so_that_it_is_read(tmp_path: Path) -> None:
    """Names, a graph and metadata that codecs make next to nothing of."""
    tensors = {f"layer{i:07d}": np.zeros(0, np.float32) for i in range(40_000)}
    meta, graph = {"a": [0] * 1_500_000}, bytes(20 << 20)
    save_file(tmp_path / "a.qac", tensors, meta=meta, graph=graph)
    with open_file(tmp_path / "a.qac") as container:
        assert container.names == tuple(tensors) and container.meta == meta and container.graph() == graph


def test_a_hundred_million_equal_values_are_read(tmp_path: Path) -> None:
    count = 100_000_000
    save_file(tmp_path / "a.qac", {"w": SharedTensor(np.ones(1, np.float32), np.zeros(count, np.uint8))})
    assert (tmp_path / "a.qac").stat().st_size < 1000
    start = time.process_time()
    assert load_file(tmp_path / "a.qac")["w"].size == count
    assert time.process_time() - start < SECONDS


def test_writers_leave_codecs_that_take_readers_too_long() -> None:
    streams = [Stream("indices", 1 << 16, 2)]
    coded = CODECS[4].encode([np.zeros(1 << 16, np.uint8)], streams)
    assert coded is not None and not affordable(CODECS[4], coded[:9], streams)
    assert affordable(CODECS[1], bytes(8192), streams)


def test_json_written_is_json_read() -> None:
    from qacomp.formats.metadata import read_metadata, write_metadata

    meta = {"é": [1.5, None, True, {"b": "\U0001f600"}], "n": 10**30}
    assert read_metadata(write_metadata(meta)) == meta == json.loads(write_metadata(meta))


def test_where_nothing_is_affordable_a_long_section_is_raw(monkeypatch: pytest.MonkeyPatch) -> None:
    """The codecs that a sample promises most of may all be left out: the others are tried then."""
    values = np.zeros(1 << 19, np.uint8)
    monkeypatch.setattr("qacomp.formats.codec_choice.affordable", lambda codec, payload, streams: False)
    assert choose("values", [values], [Stream("values", values.size, shape=(values.size,))]).codec.name == "raw"
