"""The root of a container: it binds every byte, and parts of a file that is held against it are verified alone."""

import hashlib
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resign

from qacomp.formats import ChecksumMismatchError, Coding, FormatError, Level, SharedTensor, open_file, save_file
from qacomp.formats.header import write_header
from qacomp.formats.merkle import leaf_hash, root_of
from qacomp.formats.native import Mode, open_native
from qacomp.formats.records import LEAVES_FLAG

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"
SAME_CRC = ((0xEDB88320 << 1) | 1).to_bytes(5, "little")
"""The polynomial of CRC-32: bytes changed by it (XOR) keep their checksum."""
WITH, WITHOUT = Coding(("raw", "bitpack"), 13, leaves=True), Coding(("raw", "bitpack"), 13, leaves=False)


def tree_hash(entries: list[bytes]) -> bytes:
    """The Merkle Tree Hash as RFC 9162 writes it, a recursion."""
    if len(entries) == 1:
        return hashlib.sha256(b"\0" + entries[0]).digest()
    split = 1 << (len(entries) - 1).bit_length() - 1
    return hashlib.sha256(b"\1" + tree_hash(entries[:split]) + tree_hash(entries[split:])).digest()


def entries_of(data: bytes) -> list[bytes]:
    """Prefix with header, then each section."""
    with open_file(data) as container:
        parts = [data[s.offset : s.offset + s.bytes] for s in container.sections]
        return [data[: container.start], *parts]


def tensors() -> dict[str, Any]:
    rng = np.random.default_rng(1)
    book = np.arange(6, dtype=np.float32)
    nested = SharedTensor(book, rng.integers(0, 6, 5000).astype(np.uint8), (Level(book[:2], np.repeat([0, 1], 3)),))
    return {"a": rng.integers(0, 99, (90, 50)).astype(np.int32), "b": np.arange(7000, dtype=np.int64), "w": nested}


def written(path: Path, coding: Coding) -> tuple[bytes, str]:
    report = save_file(path / "a.qac", tensors(), coding=coding)
    return (path / "a.qac").read_bytes(), report.root


class Served:
    """A file elsewhere, which the server may change. asked: the places that were fetched."""

    name = "https://host/a.qac"

    def __init__(self, data: bytes) -> None:
        self.data, self.size = data, len(data)
        self.asked: list[tuple[int, int]] = []

    def fetch(self, start: int, stop: int) -> bytes:
        self.asked.append((start, stop))
        return self.data[start:stop]


def test_the_tree_is_that_of_the_rfc() -> None:
    entries = [bytes([number]) * number for number in range(41)]
    for count in range(1, len(entries)):
        assert root_of([leaf_hash(entry) for entry in entries[:count]]) == tree_hash(entries[:count])
    known = [b"", b"\0", b"\x10", b" !", b"01", b"@ABC", bytes(range(0x50, 0x58)), bytes(range(0x60, 0x70))]
    found = root_of([leaf_hash(entry) for entry in known]).hex()
    assert found == "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"  # of certificate-transparency


@pytest.mark.parametrize("path", sorted(GOLDEN.glob("*.qac")), ids=lambda path: path.stem)
def test_every_version_has_a_root(path: Path) -> None:
    data = path.read_bytes()
    root = tree_hash(entries_of(data)).hex()
    with open_file(path) as container:
        assert container.root == root
    with open_file(data, root=root.upper()) as container:
        assert container.check().root == root


def test_a_writer_tells_the_root_and_chooses_leaf_hashes_by_their_share(tmp_path: Path) -> None:
    for coding in (WITH, WITHOUT):
        data, root = written(tmp_path, coding)
        assert root == tree_hash(entries_of(data)).hex()
        assert data[7] & LEAVES_FLAG == LEAVES_FLAG * bool(coding.leaves)
    for count, flag in ((31_999, 0), (32_000, LEAVES_FLAG)):
        save_file(tmp_path / "b.qac", {"b": np.zeros(count, np.uint8)}, coding=Coding(("raw",)))
        assert (tmp_path / "b.qac").read_bytes()[7] == flag


def test_any_other_root_is_refused(tmp_path: Path) -> None:
    data, root = written(tmp_path, WITH)
    other, _ = written(tmp_path, WITHOUT)
    for wrong in (other, resign.with_prefix(data, minor=9)):
        with pytest.raises(ChecksumMismatchError, match=f"its root is .*, not {root}"):
            open_file(wrong, root=root)
    for text in ("12", root + "00", "x" * 64, ""):
        with pytest.raises(ValueError, match="64 hex digits"):
            open_file(data, root=text)


@pytest.mark.parametrize("coding", [WITH, WITHOUT], ids=["with", "without"])
def test_a_section_whose_crc_is_right_isnt_enough(tmp_path: Path, coding: Coding) -> None:
    data, root = written(tmp_path, coding)
    with open_file(data) as container:
        place = next(s.offset for s in container.sections if s.tensors == ("a",))
    forged = bytearray(data)
    for i, byte in enumerate(SAME_CRC):
        forged[place + 40 + i] ^= byte
    assert zlib.crc32(forged[place : place + 18_000]) == zlib.crc32(data[place : place + 18_000])
    with pytest.raises(ChecksumMismatchError, match=r"root|leaf hash"):
        open_file(bytes(forged), root=root).tensor("a")
    with pytest.raises(ChecksumMismatchError, match=r"root|leaf hash"):
        open_file(bytes(forged), root=root, verify=False).tensor("a")
    if coding.leaves:  # each change of the header changes the root
        header, payloads = resign.parts(data)
        sections = tuple(type(s)(**vars(s) | {"leaf": bytes(32)}) for s in header.sections)
        told = write_header(type(header)(header.tensors, sections, header.digest_bytes, 13, True))
        with pytest.raises(ChecksumMismatchError, match="its root is"):
            open_file(resign.container(told, payloads, flags=LEAVES_FLAG), root=root)
        with pytest.raises(ChecksumMismatchError, match="leaf hash"):
            open_file(bytes(forged)).tensor("a")
    server = Served(data)
    with open_file(server, root=root) as container:
        assert container.tensor("a").shape == (90, 50) and container.tensor("b").shape == (7000,)
        server.data = bytes(forged)  # what was verified isn't what comes the next time
        with pytest.raises(ChecksumMismatchError, match="leaf hash"):
            container.tensor("a")


def test_one_tensor_is_verified_without_the_rest(tmp_path: Path) -> None:
    data, root = written(tmp_path, WITH)
    server = Served(data)
    with open_file(server, root=root) as container:
        assert (container.tensor("a") == tensors()["a"]).all()
        own = [(s.offset, s.offset + s.bytes) for s in container.sections if s.tensors == ("a",)]
    assert server.asked[0][0] == 0 and {stop for _, stop in server.asked[1:]} <= {stop for _, stop in own}
    assert sum(stop - start for start, stop in server.asked) < len(data) / 2


def test_a_level_of_a_file_that_is_cut_off(tmp_path: Path) -> None:
    data, root = written(tmp_path, WITH)
    with open_file(data) as container:
        coarse, end = container.tensor("w", level=0), max(s.offset + s.bytes for s in container.sections if not s.level)
    with open_file(data[:end], root=root, allow_truncated=True) as container:
        assert container.level == 0 and (container.tensor("w") == coarse).all()
    data, root = written(tmp_path, WITHOUT)
    with pytest.raises(FormatError, match="cut off"):
        open_file(data[:-9], root=root, allow_truncated=True)


@pytest.mark.usefixtures("c_decoder")
def test_c_finds_the_root_of_any_number_of_sections(tmp_path: Path) -> None:
    for count in (0, 1, 4, 29):
        values = {f"t{number}": np.arange(40 + number, dtype=np.int16) for number in range(count)}
        save_file(tmp_path / "a.qac", values, coding=Coding(("raw",), 5))
        data = (tmp_path / "a.qac").read_bytes()
        with open_native(data) as container, open_file(data) as ours:
            assert container.root == ours.root
    data, root = written(tmp_path, WITH)
    with open_native(data) as container, open_file(data) as ours:
        assert container.root == root
        end = max(section.offset + section.bytes for section in ours.sections if not section.level)
    with open_native(data[:end], Mode(allow_truncated=True)) as cut, pytest.raises(FormatError, match="cut off"):
        _ = cut.root
