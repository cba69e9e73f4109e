"""The attacks that safetensors lists, and this format's own, each with checksums that are right."""

import struct
import tracemalloc
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from qacomp.formats import (
    FormatError,
    HeaderError,
    LimitExceededError,
    Limits,
    NotAContainerError,
    TruncatedFileError,
    UnsupportedVersionError,
    open_file,
    save_file,
)
from qacomp.formats.bytestream import ByteWriter
from qacomp.formats.codecs.zstd import compress
from qacomp.formats.group_cache import check_work
from qacomp.formats.header import write_header
from qacomp.formats.layout import Members
from qacomp.formats.prefix import PREFIX, PREFIX_BYTES
from qacomp.formats.records import INDEX_CHUNK, INDICES, SAME, SHARED, VALUES, Header, SectionRecord, TensorRecord
from qacomp.formats.sections import Sections

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"


@pytest.fixture
def tiny() -> bytes:
    return (GOLDEN / "tiny.qac").read_bytes()


def refuse(data: bytes, error: type[FormatError], match: str | None = None) -> None:
    """The file is refused with one line, and without allocating what it claims."""
    tracemalloc.start()
    try:
        with pytest.raises(error, match=match) as caught, open_file(data) as container:
            for name in container.names:
                container.tensor(name)
            _ = container.graph(), container.meta
        assert tracemalloc.get_traced_memory()[1] < 64 << 20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def test_empty_and_foreign_files(tmp_path: Path) -> None:
    refuse(b"", NotAContainerError)
    refuse(b"PK\3\4" + bytes(100), NotAContainerError)
    (tmp_path / "empty.qac").write_bytes(b"")
    with pytest.raises(NotAContainerError, match="empty"):
        open_file(tmp_path / "empty.qac")


def test_newer_versions(resign: ModuleType, tiny: bytes) -> None:
    refuse(resign.with_prefix(tiny, major=2), UnsupportedVersionError, "update qacomp")
    refuse(resign.with_prefix(tiny, flags=4), UnsupportedVersionError)
    with open_file(resign.with_prefix(tiny, minor=7)) as container:  # a newer minor version is read as far as known
        assert container.version == (1, 7) and container.tensor("b").size == 2


def test_header_length_beyond_the_file(resign: ModuleType, tiny: bytes) -> None:
    refuse(resign.with_prefix(tiny, stored=1000, size=2000), TruncatedFileError)
    refuse(resign.with_prefix(tiny, stored=1000), HeaderError)


def test_header_too_large(resign: ModuleType, tiny: bytes) -> None:
    refuse(resign.with_prefix(tiny, raw=(1 << 32) - 1), LimitExceededError)
    refuse(resign.with_prefix(tiny, stored=(1 << 32) - 1, size=1 << 40), LimitExceededError)


def test_header_that_decompresses_to_more_than_it_says(resign: ModuleType) -> None:
    bomb = compress(bytes(100 << 20))
    refuse(resign.container(bomb, codec=6, raw=100), FormatError)
    refuse(resign.container(bomb, codec=6, raw=200 << 20), FormatError)


def test_bytes_after_the_end(tiny: bytes) -> None:
    refuse(tiny + b"x", HeaderError, "after its end")


def test_hidden_bytes_between_header_and_end(resign: ModuleType, tiny: bytes) -> None:
    header, payloads = resign.parts(tiny)
    refuse(resign.container(write_header(header), payloads + b"hidden"), HeaderError, "sections end")


def resized(resign: ModuleType, data: bytes, changes: dict[int, int]) -> bytes:
    """The same file whose sections claim that many bytes more or fewer; offsets follow from sizes, nothing else."""
    header, payloads = resign.parts(data)
    sections = list(header.sections)
    for number, change in changes.items():
        sections[number] = replace(sections[number], stored_bytes=sections[number].stored_bytes + change)
    made: bytes = resign.container(write_header(replace(header, sections=tuple(sections))), payloads)
    return made


def test_sections_that_overlap(resign: ModuleType, tiny: bytes) -> None:
    """No file can say that they do: a section begins where the one before ends, so one reads the other's bytes."""
    refuse(resized(resign, tiny, {0: 1, 1: -1}), FormatError)
    refuse(resized(resign, tiny, {1: 2, 2: -2}), FormatError)
    refuse(resized(resign, tiny, {1: 1}), HeaderError, "sections end")


def test_holes_between_sections(resign: ModuleType, tiny: bytes) -> None:
    refuse(resized(resign, tiny, {1: -1}), HeaderError, "sections end")
    refuse(resized(resign, tiny, {0: -15}), HeaderError, "sections end")


@pytest.mark.parametrize("size", [1 << 40, (1 << 62) - 10, 1 << 62])
def test_offsets_beyond_the_file(resign: ModuleType, tiny: bytes, size: int) -> None:
    refuse(resized(resign, tiny, {1: size}), HeaderError)
    refuse(resized(resign, tiny, {0: size, 1: size}), HeaderError)


def test_sizes_of_zero(resign: ModuleType, tiny: bytes) -> None:
    """A tensor without values has no bytes: sections that hold some are refused, and so is one of none for values."""
    refuse(change(resign, tiny, 1, shape=(0,)), FormatError)
    refuse(change(resign, tiny, 0, shape=(0, 1 << 48)), FormatError)
    refuse(resized(resign, tiny, {1: -10, 0: 10}), FormatError)


def test_header_bytes_after_the_records(resign: ModuleType, tiny: bytes) -> None:
    header, payloads = resign.parts(tiny)
    refuse(resign.container(write_header(header) + b"\0", payloads), HeaderError)


def change(resign: ModuleType, data: bytes, number: int, **fields: object) -> bytes:
    header, payloads = resign.parts(data)
    tensors = list(header.tensors)
    tensors[number] = replace(tensors[number], **fields)
    changed: bytes = resign.container(write_header(replace(header, tensors=tuple(tensors))), payloads)
    return changed


def test_two_tensors_of_one_name(resign: ModuleType, tiny: bytes) -> None:
    refuse(change(resign, tiny, 0, name="b"), HeaderError, "same name")


def test_a_name_that_is_no_utf8(resign: ModuleType, tiny: bytes) -> None:
    header, payloads = resign.parts(tiny)
    raw = write_header(header).replace(b"wb", b"w\xff")
    refuse(resign.container(raw, payloads), HeaderError, "UTF-8")


def test_shapes_whose_product_overflows(resign: ModuleType, tiny: bytes) -> None:
    refuse(change(resign, tiny, 1, shape=(1 << 32, 1 << 32)), LimitExceededError)
    refuse(change(resign, tiny, 0, shape=(1 << 33, 1 << 31)), LimitExceededError)
    refuse(change(resign, tiny, 1, shape=(1 << 48,) * 32), LimitExceededError)


def test_shapes_larger_than_the_data(resign: ModuleType, tiny: bytes) -> None:
    refuse(change(resign, tiny, 1, shape=(3,)), FormatError)
    refuse(change(resign, tiny, 1, shape=(1 << 34,)), LimitExceededError)
    refuse(change(resign, tiny, 0, shape=(1 << 33,)), LimitExceededError)
    refuse(change(resign, tiny, 0, shape=(9, 9)), FormatError)


def test_shapes_smaller_than_the_data(resign: ModuleType, tiny: bytes) -> None:
    refuse(change(resign, tiny, 1, shape=(1,)), FormatError)
    refuse(change(resign, tiny, 0, shape=(2,)), FormatError)


def test_unknown_dtype_and_kind(resign: ModuleType, tiny: bytes) -> None:
    refuse(change(resign, tiny, 1, dtype=15), HeaderError, "element type")
    refuse(change(resign, tiny, 1, stored=14), HeaderError, "element type")
    refuse(change(resign, tiny, 1, kind=3), HeaderError)


def test_references_to_itself_and_forward(resign: ModuleType, tiny: bytes) -> None:
    refuse(change(resign, tiny, 0, kind=SAME, same_as=0), FormatError)
    refuse(change(resign, tiny, 0, kind=SAME, same_as=1), FormatError)


def test_codebooks_that_do_not_nest(resign: ModuleType) -> None:
    data = (GOLDEN / "levels.qac").read_bytes()
    refuse(change(resign, data, 0, levels=(2, 4, 13)), HeaderError)
    refuse(change(resign, data, 0, children=((2, 2), (3, 3, 4, 3))), HeaderError)
    refuse(change(resign, data, 0, children=((2, 2), (3, 3, 6, 0))), HeaderError)
    refuse(change(resign, data, 0, levels=()), FormatError)


def test_sections_missing_repeated_or_unknown(resign: ModuleType, tiny: bytes) -> None:
    header, payloads = resign.parts(tiny)
    sections = header.sections
    for changed in (sections[:-1], (*sections, sections[-1]), (*sections[:-1], replace(sections[-1], owner=1))):
        refuse(resign.container(write_header(replace(header, sections=changed)), payloads), HeaderError)
    for codec in (3, 4, 77, 255):  # index codecs for values, and unknown ones
        changed = tuple(replace(s, codec=codec) if s.kind == VALUES else s for s in sections)
        refuse(resign.container(write_header(replace(header, sections=changed)), payloads), FormatError)


def test_counts_larger_than_the_header(resign: ModuleType) -> None:
    for first in (1 << 20, 1 << 40):
        out = ByteWriter()
        for number in (first, first, 4, 22):
            out.uint(number)
        refuse(resign.container(bytes(out.buffer)), HeaderError)


def test_names_that_unfold_to_gigabytes(resign: ModuleType) -> None:
    """Each of 200,000 names shares 60,000 bytes with the one before: 12 GB out of a megabyte."""
    count = 200_000
    out = ByteWriter()
    for number in (count, 1, 0, 22, 0, *[60_000] * (count - 1), 60_000, *[1] * (count - 1)):
        out.uint(number)
    out.raw(bytes(60_000) + b"a" * (count - 1))
    header = bytes(out.buffer)
    limits = Limits(header_bytes=8 << 20)
    with pytest.raises(LimitExceededError):
        open_file(resign.container(header), limits=limits)


def test_overlong_integers(resign: ModuleType) -> None:
    refuse(resign.container(b"\x80" * 30), HeaderError)
    refuse(resign.container(b"\x80\x00" * 30), HeaderError)


def test_metadata_nested_too_deep_or_no_object(tmp_path: Path, resign: ModuleType) -> None:
    save_file(tmp_path / "a.qac", {}, meta={"a": 1})
    header, _ = resign.parts((tmp_path / "a.qac").read_bytes())
    for text in (b"[" * 100_000, b"[1]", b"{", b"\xff", b'{"a":' * 50_000):
        section = replace(header.sections[0], codec=0, stored_bytes=len(text), count=len(text), crc=_crc(text))
        data = resign.container(write_header(replace(header, sections=(section,))), text)
        with open_file(data) as container, pytest.raises(HeaderError, match="JSON"):
            _ = container.meta


def test_a_section_that_grows_beyond_its_limit(tmp_path: Path) -> None:
    from qacomp.formats import SharedTensor

    constant = SharedTensor(np.zeros(1, np.float32), np.zeros(3_000_000, np.uint8))
    save_file(tmp_path / "a.qac", {"w": constant})
    with open_file(tmp_path / "a.qac") as container:
        assert container.tensor("w").size == 3_000_000
    with pytest.raises(LimitExceededError):
        open_file(tmp_path / "a.qac", limits=Limits(tensor_bytes=1 << 20))


def test_padding_that_is_not_zero(resign: ModuleType) -> None:
    data = bytearray((GOLDEN / "chunks.qac").read_bytes())
    with open_file(bytes(data)) as container:
        ends = [s.offset + s.bytes for s in container.sections]
        starts = [s.offset for s in container.sections[1:]]
    gaps = [end for end, start in zip(ends, starts, strict=False) if start > end]
    assert gaps, "the golden file has an aligned section"
    data[gaps[0]] = 1
    with open_file(bytes(data)) as container, pytest.raises(HeaderError, match="padding"):
        container.check()


def _crc(data: bytes) -> int:
    import zlib

    return zlib.crc32(data)


def test_prefix_layout_is_what_the_specification_draws() -> None:
    assert PREFIX.size == 28 and PREFIX_BYTES == 32 and struct.calcsize("<I") == 4


def test_constant_chunks_that_claim_terabytes(resign: ModuleType) -> None:
    """Two chunks of 2**30 equal indices in a few bytes each: refused before an array of them is made."""
    tensor = TensorRecord("w", SHARED, 11, 11, (1 << 31,), 0, 1, (1,), (), 0, b"")
    sections = (SectionRecord(VALUES, 0, 0, 0, 4, _crc(bytes(4))),) + (SectionRecord(INDEX_CHUNK, 1, 0, 0, 0, 0),) * 2
    data = resign.container(write_header(Header((tensor,), sections, 0, 30)), bytes(4))
    refuse(data, LimitExceededError, "would grow")


def test_a_group_of_too_many_tensors(resign: ModuleType) -> None:
    tensors = tuple(TensorRecord(f"{i}", SHARED, 11, 11, (), 1, 1, (1,), (), 0, b"") for i in range(5000))
    sections = (
        SectionRecord(VALUES, 0, 0, 0, 20_000, _crc(bytes(20_000))),
        SectionRecord(INDICES, 1, 0, 0, 0, 0),
    )
    data = resign.container(write_header(Header(tensors, sections, 0, 22)), bytes(20_000))
    refuse(data, LimitExceededError, "more than 4096 tensors")


def test_large_groups_that_take_turns(resign: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three groups of 40 MB each, from a few bytes, read anew for tensor after tensor: refused unread."""
    count = 60
    tensors = tuple(
        TensorRecord(f"{i}", SHARED, 11, 11, (1 << 21,), 1 + i % 3, 1, (1,), (), 0, b"") for i in range(count)
    )
    book = SectionRecord(VALUES, 0, 0, 0, 4 * count, _crc(bytes(4 * count)))
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


def test_truth_values_of_two(resign: ModuleType, tmp_path: Path) -> None:
    save_file(tmp_path / "a.qac", {"x": np.array([True, False])})
    header, _ = resign.parts((tmp_path / "a.qac").read_bytes())
    section = replace(header.sections[0], codec=0, stored_bytes=2, crc=_crc(b"\2\0"))
    refuse(resign.container(write_header(replace(header, sections=(section,))), b"\2\0"), FormatError, "truth")


def test_levels_at_once_that_are_not(resign: ModuleType) -> None:
    """The flag's column says that the finest indices stand at level 0, but the sections are those of three levels."""
    header, payloads = resign.parts((GOLDEN / "levels.qac").read_bytes())
    tensors = tuple(replace(tensor, at_once=len(tensor.levels) > 1) for tensor in header.tensors)
    data = write_header(replace(header, tensors=tensors))
    refuse(resign.container(data, payloads, flags=2), HeaderError, "don't match what its tensors need")
    refuse(resign.container(data, payloads), FormatError)
