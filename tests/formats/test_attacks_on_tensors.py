"""Attacks by the records of tensors and sections, each with checksums that are right."""

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import resign
from attacks import GOLDEN, change, refuse, resized

from qacomp.formats import (
    FormatError,
    HeaderError,
    LimitExceededError,
    Limits,
    save_file,
)
from qacomp.formats.group_cache import check_work
from qacomp.formats.header import write_header
from qacomp.formats.layout import Members
from qacomp.formats.records import INDEX_CHUNK, INDICES, SAME, SHARED, VALUES, Header, SectionRecord, TensorRecord
from qacomp.formats.sections import Sections


def test_sizes_of_zero(tiny: bytes) -> None:
    """A tensor without values has no bytes: sections that hold some are refused, and so is one of none for values."""
    refuse(change(tiny, 1, shape=(0,)), FormatError)
    refuse(change(tiny, 0, shape=(0, 1 << 48)), FormatError)
    refuse(resized(tiny, {1: -10, 0: 10}), FormatError)


def test_two_tensors_of_one_name(tiny: bytes) -> None:
    refuse(change(tiny, 0, name="b"), HeaderError, "same name")


def test_a_name_that_is_no_utf8(tiny: bytes) -> None:
    header, payloads = resign.parts(tiny)
    raw = write_header(header).replace(b"wb", b"w\xff")
    refuse(resign.container(raw, payloads), HeaderError, "UTF-8")


def test_shapes_whose_product_overflows(tiny: bytes) -> None:
    refuse(change(tiny, 1, shape=(1 << 32, 1 << 32)), LimitExceededError)
    refuse(change(tiny, 0, shape=(1 << 33, 1 << 31)), LimitExceededError)
    refuse(change(tiny, 1, shape=(1 << 48,) * 32), LimitExceededError)


def test_shapes_larger_than_the_data(tiny: bytes) -> None:
    refuse(change(tiny, 1, shape=(3,)), FormatError)
    refuse(change(tiny, 1, shape=(1 << 34,)), LimitExceededError)
    refuse(change(tiny, 0, shape=(1 << 33,)), LimitExceededError)
    refuse(change(tiny, 0, shape=(9, 9)), FormatError)


def test_shapes_smaller_than_the_data(tiny: bytes) -> None:
    refuse(change(tiny, 1, shape=(1,)), FormatError)
    refuse(change(tiny, 0, shape=(2,)), FormatError)


def test_unknown_dtype_and_kind(tiny: bytes) -> None:
    refuse(change(tiny, 1, dtype=15), HeaderError, "element type")
    refuse(change(tiny, 1, stored=14), HeaderError, "element type")
    refuse(change(tiny, 1, kind=3), HeaderError)


def test_references_to_itself_and_forward(tiny: bytes) -> None:
    refuse(change(tiny, 0, kind=SAME, same_as=0), FormatError)
    refuse(change(tiny, 0, kind=SAME, same_as=1), FormatError)


def test_codebooks_that_do_not_nest() -> None:
    data = (GOLDEN / "levels.qac").read_bytes()
    refuse(change(data, 0, levels=(2, 4, 13)), HeaderError)
    refuse(change(data, 0, children=((2, 2), (3, 3, 4, 3))), HeaderError)
    refuse(change(data, 0, children=((2, 2), (3, 3, 6, 0))), HeaderError)
    refuse(change(data, 0, levels=()), FormatError)


def test_constant_chunks_that_claim_terabytes() -> None:
    """Two chunks of 2**30 equal indices in a few bytes each: refused before an array of them is made."""
    tensor = TensorRecord("w", SHARED, 11, 11, (1 << 31,), 0, 1, (1,), (), 0, b"")
    sections = (SectionRecord(VALUES, 0, 0, 0, 4, zlib.crc32(bytes(4))),) + (
        SectionRecord(INDEX_CHUNK, 1, 0, 0, 0, 0),
    ) * 2
    data = resign.container(write_header(Header((tensor,), sections, 0, 30)), bytes(4))
    refuse(data, LimitExceededError, "would grow")


def test_a_group_of_too_many_tensors() -> None:
    tensors = tuple(TensorRecord(f"{i}", SHARED, 11, 11, (), 1, 1, (1,), (), 0, b"") for i in range(5000))
    sections = (
        SectionRecord(VALUES, 0, 0, 0, 20_000, zlib.crc32(bytes(20_000))),
        SectionRecord(INDICES, 1, 0, 0, 0, 0),
    )
    data = resign.container(write_header(Header(tensors, sections, 0, 22)), bytes(20_000))
    refuse(data, LimitExceededError, "more than 4096 tensors")


def test_large_groups_that_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three groups of 40 MB each, from a few bytes, read anew for tensor after tensor: refused unread."""
    count = 60
    tensors = tuple(
        TensorRecord(f"{i}", SHARED, 11, 11, (1 << 21,), 1 + i % 3, 1, (1,), (), 0, b"") for i in range(count)
    )
    book = SectionRecord(VALUES, 0, 0, 0, 4 * count, zlib.crc32(bytes(4 * count)))
    groups = tuple(SectionRecord(INDICES, 1, 0, group, 0, 0) for group in range(3))
    header = Header(tensors, (book, *groups), 0, 30)
    monkeypatch.setattr(Sections, "decode", None)  # nothing may be decoded
    data = resign.container(write_header(header), bytes(4 * count))
    refuse(data, LimitExceededError, "groups of small tensors alternate")
    in_order = sorted(tensors, key=lambda tensor: tensor.group)
    large = Limits(expansion=1 << 20)
    size = len(data)
    times = check_work(replace(header, tensors=tuple(in_order)), Members(in_order), size, large)
    assert set(times.values()) == {1}
    times = check_work(header, Members(tensors), size, replace(large, repeats=1000))
    assert times[INDICES, 0, 0, 0] == count // 3
    huge = replace(header, tensors=tuple(replace(t, shape=(1 << 23,)) for t in in_order))
    with pytest.raises(LimitExceededError, match="would grow"):
        check_work(huge, Members(huge.tensors), size, Limits())


def test_truth_values_of_two(tmp_path: Path) -> None:
    save_file(tmp_path / "a.qac", {"x": np.array([True, False])})
    header, _ = resign.parts((tmp_path / "a.qac").read_bytes())
    section = replace(header.sections[0], codec=0, stored_bytes=2, crc=zlib.crc32(b"\2\0"))
    refuse(resign.container(write_header(replace(header, sections=(section,))), b"\2\0"), FormatError, "truth")


def test_levels_at_once_that_are_not() -> None:
    """The flag's column says that the finest indices stand at level 0, but the sections are those of three levels."""
    header, payloads = resign.parts((GOLDEN / "levels.qac").read_bytes())
    tensors = tuple(replace(tensor, at_once=len(tensor.levels) > 1) for tensor in header.tensors)
    data = write_header(replace(header, tensors=tensors))
    refuse(resign.container(data, payloads, flags=2), HeaderError, "don't match what its tensors need")
    refuse(resign.container(data, payloads), FormatError)
