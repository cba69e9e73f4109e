"""The attacks that safetensors lists, and this format's own, each with checksums that are right."""

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import resign
from attacks import GOLDEN, refuse, resized

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
from qacomp.formats.header import write_header
from qacomp.formats.prefix import PREFIX, PREFIX_BYTES
from qacomp.formats.records import VALUES


def test_empty_and_foreign_files(tmp_path: Path) -> None:
    refuse(b"", NotAContainerError)
    refuse(b"PK\3\4" + bytes(100), NotAContainerError)
    (tmp_path / "empty.qac").write_bytes(b"")
    with pytest.raises(NotAContainerError, match="empty"):
        open_file(tmp_path / "empty.qac")


def test_newer_versions(tiny: bytes) -> None:
    refuse(resign.with_prefix(tiny, major=2), UnsupportedVersionError, "update qacomp")
    refuse(resign.with_prefix(tiny, flags=8), UnsupportedVersionError)
    with open_file(resign.with_prefix(tiny, minor=7)) as container:  # a newer minor version is read as far as known
        assert container.version == (1, 7) and container.tensor("b").size == 2


def test_header_length_beyond_the_file(tiny: bytes) -> None:
    refuse(resign.with_prefix(tiny, stored=1000, size=2000), TruncatedFileError)
    refuse(resign.with_prefix(tiny, stored=1000), HeaderError)


def test_header_too_large(tiny: bytes) -> None:
    refuse(resign.with_prefix(tiny, raw=(1 << 32) - 1), LimitExceededError)
    refuse(resign.with_prefix(tiny, stored=(1 << 32) - 1, size=1 << 40), LimitExceededError)


def test_header_that_decompresses_to_more_than_it_says() -> None:
    bomb = compress(bytes(100 << 20))
    refuse(resign.container(bomb, codec=6, raw=100), FormatError)
    refuse(resign.container(bomb, codec=6, raw=200 << 20), FormatError)


def test_bytes_after_the_end(tiny: bytes) -> None:
    refuse(tiny + b"x", HeaderError, "after its end")


def test_hidden_bytes_between_header_and_end(tiny: bytes) -> None:
    header, payloads = resign.parts(tiny)
    refuse(resign.container(write_header(header), payloads + b"hidden"), HeaderError, "sections end")


def test_sections_that_overlap(tiny: bytes) -> None:
    """No file can say that they do: a section begins where the one before ends, so one reads the other's bytes."""
    refuse(resized(tiny, {0: 1, 1: -1}), FormatError)
    refuse(resized(tiny, {1: 2, 2: -2}), FormatError)
    refuse(resized(tiny, {1: 1}), HeaderError, "sections end")


def test_holes_between_sections(tiny: bytes) -> None:
    refuse(resized(tiny, {1: -1}), HeaderError, "sections end")
    refuse(resized(tiny, {0: -15}), HeaderError, "sections end")


@pytest.mark.parametrize("size", [1 << 40, (1 << 62) - 10, 1 << 62])
def test_offsets_beyond_the_file(tiny: bytes, size: int) -> None:
    refuse(resized(tiny, {1: size}), HeaderError)
    refuse(resized(tiny, {0: size, 1: size}), HeaderError)


def test_header_bytes_after_the_records(tiny: bytes) -> None:
    header, payloads = resign.parts(tiny)
    refuse(resign.container(write_header(header) + b"\0", payloads), HeaderError)


def test_sections_missing_repeated_or_unknown(tiny: bytes) -> None:
    header, payloads = resign.parts(tiny)
    sections = header.sections
    for changed in (sections[:-1], (*sections, sections[-1]), (*sections[:-1], replace(sections[-1], owner=1))):
        refuse(resign.container(write_header(replace(header, sections=changed)), payloads), HeaderError)
    for codec in (3, 4, 77, 255):  # index codecs for values, and unknown ones
        changed = tuple(replace(s, codec=codec) if s.kind == VALUES else s for s in sections)
        refuse(resign.container(write_header(replace(header, sections=changed)), payloads), FormatError)


def test_counts_larger_than_the_header() -> None:
    for first in (1 << 20, 1 << 40):
        out = ByteWriter()
        for number in (first, first, 4, 22):
            out.uint(number)
        refuse(resign.container(bytes(out.buffer)), HeaderError)


def test_names_that_unfold_to_gigabytes() -> None:
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


def test_overlong_integers() -> None:
    refuse(resign.container(b"\x80" * 30), HeaderError)
    refuse(resign.container(b"\x80\x00" * 30), HeaderError)


def test_metadata_nested_too_deep_or_no_object(tmp_path: Path) -> None:
    save_file(tmp_path / "a.qac", {}, meta={"a": 1})
    header, _ = resign.parts((tmp_path / "a.qac").read_bytes())
    for text in (b"[" * 100_000, b"[1]", b"{", b"\xff", b'{"a":' * 50_000):
        section = replace(header.sections[0], codec=0, stored_bytes=len(text), count=len(text), crc=zlib.crc32(text))
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


def test_padding_that_is_not_zero() -> None:
    data = bytearray((GOLDEN / "chunks.qac").read_bytes())
    with open_file(bytes(data)) as container:
        ends = [s.offset + s.bytes for s in container.sections]
        starts = [s.offset for s in container.sections[1:]]
    gaps = [end for end, start in zip(ends, starts, strict=False) if start > end]
    assert gaps, "the golden file has an aligned section"
    data[gaps[0]] = 1
    with open_file(bytes(data)) as container, pytest.raises(HeaderError, match="padding"):
        container.check()


def test_prefix_layout_is_what_the_specification_draws() -> None:
    assert PREFIX.size == 28 and PREFIX_BYTES == 32 and struct.calcsize("<I") == 4
