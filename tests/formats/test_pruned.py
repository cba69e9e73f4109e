"""The codec pruned: exact for any marks, smaller where filters and channels are empty, refused when damaged."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qacomp.formats import Coding, SharedTensor, open_file, save_file
from qacomp.formats.bytestream import ByteWriter
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.pruned import INNER, PrunedRows
from qacomp.formats.errors import CodecError, FormatError

CODEC = CODECS[PrunedRows.id]


def table(shape: tuple[int, ...], rows: list[bool], columns: list[bool], seed: int = 0) -> NDArray[np.uint8]:
    """Indices that are 2 but in the rows and columns that are left, where they are below 7."""
    left = np.full(shape, 2, np.uint8)
    random = np.random.default_rng(seed).integers(0, 7, shape, np.uint8)
    where = np.ix_(rows, columns)
    left[where] = random[where]
    return left


def stream(shape: tuple[int, ...], start: int = 0, count: int | None = None) -> Stream:
    return Stream("indices", int(np.prod(shape)) if count is None else count, 7, shape=shape, start=start)


@given(data=st.data())
@settings(max_examples=60)
def test_what_is_left_out_comes_back(data: st.DataObject) -> None:
    parts, streams = [], []
    for seed in range(data.draw(st.integers(1, 3))):
        shape = (
            *data.draw(st.tuples(st.integers(1, 12), st.integers(1, 12))),
            *data.draw(st.sampled_from([(), (2, 3)])),
        )
        marks = [data.draw(st.lists(st.booleans(), min_size=side, max_size=side)) for side in shape[:2]]
        parts.append(table(shape, marks[0], marks[1], seed).reshape(-1))
        streams.append(stream(shape))
    coded = CODEC.encode(parts, streams)
    if coded is not None:
        back = CODEC.decode(memoryview(coded), streams)
        for part, found in zip(parts, back, strict=True):
            assert found.dtype == part.dtype and (found == part).all()
        assert CODEC.work(memoryview(coded), streams) > 0


def test_whole_rows_of_a_tensor_are_taken_and_parts_of_rows_are_not() -> None:
    whole = table((10, 6, 3), [True, False] * 5, [True, False, False] * 2)
    part = whole[4:7].reshape(-1)
    coded = CODEC.encode([part], [stream((10, 6, 3), 72, 54)])
    assert coded is not None and (CODEC.decode(memoryview(coded), [stream((10, 6, 3), 72, 54)])[0] == part).all()
    for wrong in (stream((10, 6, 3), 71, 54), stream((10, 6, 3), 72, 53), stream((54,)), stream((6, 9), 0, 0)):
        assert CODEC.encode([part[: wrong.count]], [wrong]) is None
        with pytest.raises(CodecError):
            CODEC.decode(memoryview(coded), [wrong])
    refined = replace(stream((10, 6, 3), 72, 54), parents=part)
    assert CODEC.encode([part], [refined]) is None


def test_a_writer_takes_it_where_filters_and_channels_are_empty(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows, columns = rng.random(200) < 0.1, rng.random(150) < 0.2
    sparse = SharedTensor(np.linspace(-1, 1, 7, dtype=np.float32), table((200, 150), rows.tolist(), columns.tolist()))
    dense = SharedTensor(sparse.codebook, rng.integers(0, 7, (200, 150), np.uint8))
    older = Coding(codecs=tuple(codec.name for codec in CODECS.values() if codec is not CODEC))
    now = save_file(tmp_path / "now.qac", {"w": sparse})
    before = save_file(tmp_path / "before.qac", {"w": sparse}, coding=older)
    assert now.tensors[0].codec == "pruned" and now.tensors[0].bytes < 0.8 * before.tensors[0].bytes
    with open_file(tmp_path / "now.qac") as container:
        assert (container.shared("w").indices == sparse.indices).all()
    assert (tmp_path / "now.qac").read_bytes()[5] == 3
    save_file(tmp_path / "dense.qac", {"w": dense})
    assert (tmp_path / "dense.qac").read_bytes()[5] == 0  # a file without it stays one of version 1.0


def payload(*numbers: int, marks: bytes = b"", left: bytes = b"", inner: tuple[int, int] = (0, 0)) -> memoryview:
    """A payload of one stream, with raw marks and raw indices."""
    out = ByteWriter()
    for number in numbers:
        out.uint(number)
    for codec, data in zip(inner, (marks, left), strict=True):
        out.uint(codec)
        out.uint(len(data))
        out.raw(data)
    return memoryview(bytes(out.buffer))


def test_a_payload_by_hand() -> None:
    found = CODEC.decode(payload(2, 1, 2, marks=bytes([0, 1, 0, 1, 0, 1]), left=bytes([5, 6])), [stream((3, 3))])[0]
    assert found.reshape(3, 3).tolist() == [[2, 2, 2], [5, 2, 6], [2, 2, 2]]


@pytest.mark.parametrize(
    "wrong",
    [
        payload(7, 1, 2, marks=bytes([0, 1, 0, 1, 0, 1]), left=bytes([5, 6])),  # no index of the alphabet
        payload(2, 4, 2, marks=bytes([0, 1, 0, 1, 0, 1]), left=bytes(8)),  # more rows than there are
        payload(2, 2, 2, marks=bytes([0, 1, 0, 1, 0, 1]), left=bytes(4)),  # fewer marks than rows
        payload(2, 1, 2, marks=bytes([0, 1, 0, 1, 0, 2]), left=bytes([5, 6])),  # a mark of 2
        payload(2, 1, 2, marks=bytes([0, 1, 0, 1, 0]), left=bytes([5, 6])),  # a mark is missing
        payload(2, 1, 2, marks=bytes([0, 1, 0, 1, 0, 1]), left=bytes([5, 7])),  # an index outside the alphabet
        payload(2, 1, 2, marks=bytes([0, 1, 0, 1, 0, 1]), left=bytes([5, 6]), inner=(0, 12)),  # within itself
        payload(2, 1, 2, marks=bytes([0, 1, 0, 1, 0, 1]), left=bytes([5, 6]), inner=(77, 0)),  # an unknown codec
        payload(2, 1, 2, marks=bytes([0, 1, 0, 1, 0, 1]), left=bytes([5, 6]))[:-1],
        memoryview(bytes(payload(2, 1, 2, marks=bytes([0, 1, 0, 1, 0, 1]), left=bytes([5, 6]))) + b"\0"),
    ],
)
def test_what_is_damaged_is_refused(wrong: memoryview) -> None:
    with pytest.raises(FormatError):
        CODEC.decode(wrong, [stream((3, 3))])


def test_inner_codecs_are_those_of_indices() -> None:
    inner = {codec.name: codec for codec in CODECS.values() if codec.name in INNER}
    assert set(inner) == set(INNER) and all("indices" in codec.kinds for codec in inner.values())
