"""Codebooks in blocks: the values of the definition, in whatever way they are read; version 1.1 only where they are."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resign
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from qacomp.formats import (
    Coding,
    FormatError,
    HeaderError,
    LimitExceededError,
    SharedTensor,
    UnsupportedTensorError,
    open_file,
    save_file,
    stored_values,
    verify_file,
)
from qacomp.formats.blocks import Division, grid, lookup, span
from qacomp.formats.codecs import CODECS, Stream
from qacomp.formats.codecs.codebooks import BOTH, LINE, ascending, descending, differences, restore
from qacomp.formats.header import write_header

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"


def drawn(shape: tuple[int, ...], blocks: tuple[int, ...], k: int, seed: int = 0) -> SharedTensor:
    rng = np.random.default_rng(seed)
    books = np.sort(rng.standard_normal((*grid(shape, blocks), k)).astype(np.float32))
    return SharedTensor(books, rng.integers(0, k, shape).astype(np.uint8 if k <= 256 else np.uint16), (), blocks)


def defined(tensor: SharedTensor) -> NDArray[Any]:
    """The definition, one value at a time."""
    out = np.empty(tensor.indices.shape, tensor.codebook.dtype)
    assert tensor.blocks is not None
    for place in np.ndindex(*out.shape):
        block = tuple(i // b for i, b in zip(place, tensor.blocks, strict=True))
        out[place] = tensor.codebook[(*block, int(tensor.indices[place]))]
    return out


CASES: list[tuple[tuple[int, ...], tuple[int, ...]]] = [
    ((6, 3, 3, 3), (1, 3, 3, 3)),
    ((6, 5, 2, 2), (6, 1, 2, 2)),
    ((40, 30), (40, 1)),
    ((9, 128), (1, 64)),
    ((9, 130), (1, 64)),
    ((10, 20), (3, 7)),
    ((4, 6, 5), (2, 1, 3)),
    ((70,), (8,)),
    ((1, 1), (1, 1)),
    ((5, 0), (1, 1)),
]


@pytest.mark.parametrize(("shape", "blocks"), CASES)
@pytest.mark.parametrize("chunk_log2", [4, 22])
def test_every_way_of_reading(tmp_path: Path, shape: tuple[int, ...], blocks: tuple[int, ...], chunk_log2: int) -> None:
    tensor = drawn(shape, blocks, 5)
    expected = defined(tensor)
    assert np.array_equal(tensor.dense(), expected)
    save_file(tmp_path / "a.qac", {"w": tensor, "v": drawn((3, 4), (1, 4), 2, 1)}, coding=Coding(chunk_log2=chunk_log2))
    with open_file(tmp_path / "a.qac") as container:
        assert container.version == (1, 1) and container.info("w").blocks == blocks
        assert np.array_equal(container.tensor("w"), expected)
        back = container.shared("w")
        assert back.blocks == blocks and np.array_equal(back.codebook, tensor.codebook)
        assert np.array_equal(back.indices, tensor.indices)
        for start in range(0, shape[0], 3):
            assert np.array_equal(container.rows("w", start, start + 2), expected[start : start + 2])
    verify_file(tmp_path / "a.qac", threads=2)


@given(data=st.data())
@settings(max_examples=60)
def test_lookups_of_any_run(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=4)))
    blocks = tuple(data.draw(st.integers(1, size)) for size in shape)
    tensor = drawn(shape, blocks, 3, 7)
    flat = defined(tensor).reshape(-1)
    start = data.draw(st.integers(0, flat.size - 1))
    stop = data.draw(st.integers(start + 1, flat.size))
    first, last = span(shape, blocks, start, stop)
    part = tensor.codebook.reshape(-1, 3)[first:last]
    found = lookup(part, tensor.indices.reshape(-1)[start:stop], Division(shape, blocks), start, first)
    assert np.array_equal(found, flat[start:stop])


@pytest.mark.parametrize("dtype", [3, 4, 6, 8, 9, 10, 11, 12])
@pytest.mark.parametrize("method", range(LINE + 1))
def test_differences_are_undone(dtype: int, method: int) -> None:
    from qacomp.formats.codecs.base import word_dtype

    rng = np.random.default_rng(dtype)
    for count in (1, 5, 77, 80):
        stream = Stream("values", count, 0, dtype, (16, 5), codebooks=True)
        words = rng.integers(0, 1 << 62, count, dtype=np.uint64).astype(word_dtype(stream))  # NaN and infinities too
        assert np.array_equal(restore(differences(words, stream, method), stream, method), words)
        assert np.array_equal(descending(ascending(words, dtype), dtype), words)


def test_float_words_ascend_with_the_value() -> None:
    values = np.array([-np.inf, -2, -1e-7, -0.0, 0.0, 1e-7, 1, 3, np.inf], np.float16)
    assert (np.diff(ascending(values.view(np.uint16), 9).astype(np.int64)) > 0).all()


def test_codebooks_take_less_than_their_planes() -> None:
    """Affine groups of 64 (a scale and a zero point each) and sorted channels, in fp16, against the other codecs."""
    rng = np.random.default_rng(0)
    scale, zero = np.exp(rng.standard_normal((400, 1)) / 2), rng.standard_normal((400, 1)) / 4
    cases = {"affine": (scale * (np.arange(16) - 8 + zero) / 64, 0.62)}
    middles = np.array([-2.4, -1.8, -1.4, -1.1, -0.8, -0.5, -0.3, -0.1, 0.1, 0.3, 0.5, 0.8, 1.1, 1.4, 1.8, 2.4])
    cases["sorted"] = (scale * middles / 30 * (1 + rng.standard_normal((400, 16)) / 40), 0.85)
    for values, share in cases.values():
        words = values.astype(np.float16).view(np.uint16).reshape(-1)
        stream = Stream("values", words.size, 0, 9, values.shape, codebooks=True)
        coded = {c.name: c.encode([words], [stream]) for c in CODECS.values() if "values" in c.kinds}
        sizes = {name: len(payload) for name, payload in coded.items() if payload is not None}
        own = sizes.pop("codebooks")
        assert own < share * min(sizes.values()), (own, sizes)


def test_files_without_blocks_stay_version_1_0(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    plain = SharedTensor(np.arange(4, dtype=np.float32), rng.integers(0, 4, (9, 9)).astype(np.uint8))
    save_file(tmp_path / "a.qac", {"w": plain})
    save_file(tmp_path / "b.qac", {"w": plain, "v": drawn((9, 9), (1, 9), 4)})
    heads = [(tmp_path / name).read_bytes()[4:8] for name in ("a.qac", "b.qac")]
    assert [(head[0], head[1], head[3]) for head in heads] == [(1, 0, 0), (1, 1, 1)]


def test_side_precision_and_one_content_under_two_names(tmp_path: Path) -> None:
    tensor = drawn((20, 30), (1, 30), 8)
    report = save_file(tmp_path / "a.qac", {"w": tensor, "same": tensor}, precision="fp12")
    rounded = replace(tensor, codebook=stored_values(tensor.codebook, "fp12"))
    with open_file(tmp_path / "a.qac") as container:
        assert np.array_equal(container.tensor("w"), rounded.dense())
        assert container.info("same").same_as == "w" and container.info("same").blocks == (1, 30)
        assert container.shared("same").blocks == (1, 30)
    assert report.tensors[0].blocks == (1, 30) and report.tensors[0].k == 8
    assert sum(t.bytes for t in report.tensors) <= report.container_bytes


def test_bad_blocks_are_named(tmp_path: Path) -> None:
    good = drawn((6, 8), (1, 4), 3)
    from qacomp.formats import Level

    level = Level(np.zeros(1, np.float32), np.zeros(3, np.uint8))
    for changes, match in (
        ({"blocks": (1,)}, "one entry for each axis"),
        ({"blocks": ()}, "one entry for each axis"),
        ({"blocks": (0, 4)}, "must be from 1 to"),
        ({"blocks": (1, 9)}, "must be from 1 to"),
        ({"blocks": (2, 4)}, r"need a codebook of shape \(3, 2, K\)"),
        ({"blocks": None}, "give `blocks`"),
        ({"levels": (level,)}, "has blocks and levels"),
    ):
        with pytest.raises(UnsupportedTensorError, match=match):
            save_file(tmp_path / "a.qac", {"w": replace(good, **changes)})
    assert not list(tmp_path.iterdir())


def test_hostile_blocks(tmp_path: Path) -> None:
    save_file(tmp_path / "a.qac", {"w": drawn((6, 8), (1, 4), 3)})
    header, payloads = resign.parts((tmp_path / "a.qac").read_bytes())

    def changed(**fields: Any) -> bytes:
        tensor = replace(header.tensors[0], **fields)
        data = write_header(replace(header, tensors=(tensor,)))
        made: bytes = resign.container(data, payloads, flags=1)
        return made

    cases: list[tuple[dict[str, object], type[FormatError]]] = [
        ({"blocks": (0, 4)}, HeaderError),
        ({"blocks": (7, 4)}, HeaderError),
        ({"blocks": (1, 1 << 47)}, HeaderError),
        ({"blocks": (1, 1)}, FormatError),
        ({"blocks": (6, 8)}, FormatError),
        ({"book_group": 0}, FormatError),
        ({"levels": (2, 3), "children": ((1, 2),)}, HeaderError),
        ({"shape": (1 << 20, 1 << 17), "blocks": (1, 1), "levels": (65_536,)}, LimitExceededError),
        ({"shape": (1 << 16, 1 << 16), "blocks": (1, 1)}, FormatError),
        ({"shape": (), "blocks": ()}, HeaderError),
    ]
    for fields, error in cases:
        with pytest.raises(error), open_file(changed(**fields)) as container:
            container.tensor("w")
    with open_file(changed()) as container:
        assert container.tensor("w").shape == (6, 8)
    unflagged = resign.container(write_header(header), payloads)
    with pytest.raises(FormatError):
        open_file(unflagged)


def test_rows_read_only_their_codebooks(tmp_path: Path) -> None:
    save_file(tmp_path / "a.qac", {"w": drawn((64, 32), (1, 1), 2)}, coding=Coding(chunk_log2=8))
    data = bytearray((tmp_path / "a.qac").read_bytes())
    with open_file(bytes(data)) as container:
        values = [s for s in container.sections if s.kind == "values"]
        assert len(values) == math.ceil(64 * 32 * 2 / 256)
        expected = container.tensor("w")[:8]
    data[values[-1].offset] ^= 1
    with open_file(bytes(data)) as container:
        assert np.array_equal(container.rows("w", 0, 8), expected)
        with pytest.raises(FormatError):
            container.tensor("w")


def test_both_is_a_sum_of_two_differences() -> None:
    stream = Stream("values", 6, 0, 3, (2, 3), codebooks=True)
    table = np.array([10, 20, 30, 11, 22, 31], np.uint16)
    rest = differences(table, stream, BOTH)  # 10 10 10, 1 1 -1; then folded
    assert rest.tolist() == [20, 20, 20, 2, 2, 1]
