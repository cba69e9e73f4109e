"""Files of newer minor versions: what this reader doesn't know refuses the tensors that have it, and no others."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import resign

from qacomp.formats import HeaderError, SharedTensor, UnsupportedVersionError, open_file, save_file
from qacomp.formats.header import write_header
from qacomp.formats.prefix import VERSION
from qacomp.formats.records import BLOCKS_FLAG, VALUES

NEWER = VERSION[1] + 1


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("versions") / "a.qac"
    tensors: dict[str, Any] = {
        "plain": np.arange(7, dtype=np.float32),
        "new": np.arange(5, dtype=np.int16),
        "w": SharedTensor(np.array([1, 2], np.float32), np.array([[0, 1, 1]], np.uint8)),
        "alias": np.arange(5, dtype=np.int16),
    }
    save_file(path, tensors)
    return path.read_bytes()


def changed(data: bytes, minor: int, **fields: Any) -> bytes:
    """The same file, of another minor version, with other fields in the records of `new` and its alias."""
    header, payloads = resign.parts(data)
    tensors = tuple(replace(t, **fields) if t.name in ("new", "alias") else t for t in header.tensors)
    made = resign.container(write_header(replace(header, tensors=tensors)), payloads)
    newer: bytes = resign.with_prefix(made, minor=minor)
    return newer


@pytest.mark.parametrize("fields", [{"dtype": 13}, {"stored": 14}, {"dtype": 15, "stored": 15}])
def test_an_unknown_element_type_refuses_only_its_tensors(data: bytes, fields: dict[str, int]) -> None:
    with open_file(changed(data, NEWER, **fields)) as container:
        assert container.names == ("plain", "new", "w", "alias")
        assert container.tensor("plain").tolist() == list(range(7))
        assert container.tensor("w").tolist() == [[1, 2, 2]]
        info = container.info("new")
        assert "unknown-1" in info.dtype + info.stored_dtype and info.shape == (5,)
        for name in ("new", "alias"):
            with pytest.raises(UnsupportedVersionError, match=f"{name}.*update qacomp"):
                container.tensor(name)
            with pytest.raises(UnsupportedVersionError):
                container.tensor(name, copy=False)
            with pytest.raises(UnsupportedVersionError):
                container.rows(name, 0, 2)
        with pytest.raises(UnsupportedVersionError, match="new"):  # what can't be decoded can't be proved
            container.check()


@pytest.mark.parametrize("fields", [{"dtype": 13}, {"stored": 14}])
def test_an_unknown_element_type_in_a_version_that_has_none_is_damage(data: bytes, fields: dict[str, int]) -> None:
    for minor in range(VERSION[1] + 1):
        with pytest.raises(HeaderError, match="element type 1"):
            open_file(changed(data, minor, **fields))


def test_a_group_of_two_element_types_is_refused(data: bytes) -> None:
    header, payloads = resign.parts(data)
    group = header.tensors[0].group
    tensors = tuple(replace(t, group=group) if t.name == "new" else t for t in header.tensors)
    for minor in (1, NEWER):
        made = resign.container(write_header(replace(header, tensors=tensors)), payloads)
        with pytest.raises(HeaderError, match="group's element type"):
            open_file(resign.with_prefix(made, minor=minor))


def test_an_unknown_codec_refuses_only_the_tensors_in_its_section(data: bytes) -> None:
    header, payloads = resign.parts(data)
    group = header.tensors[1].group - 1
    sections = tuple(replace(s, codec=77) if s.kind == VALUES and s.owner == group else s for s in header.sections)
    made = resign.container(write_header(replace(header, sections=sections)), payloads)
    with open_file(resign.with_prefix(made, minor=NEWER)) as container:
        assert container.tensor("plain").size == 7 and container.tensor("w").size == 3
        assert container.info("new").codec == "unknown-77"
        assert "unknown-77" in [section.codec for section in container.sections]
        with pytest.raises(UnsupportedVersionError, match=r"codec 77.*update qacomp"):
            container.tensor("new")


def test_an_unknown_codec_of_the_header_refuses_the_file(data: bytes) -> None:
    with pytest.raises(UnsupportedVersionError, match="codec 200"):
        open_file(resign.with_prefix(data, minor=NEWER, codec=200))


def test_the_lowest_version_that_a_file_can_be_read_with(tmp_path: Path, data: bytes) -> None:
    assert data[4:8] == bytes([1, 0, data[6], 0])
    book = np.array([[0, 1], [2, 3]], np.float32)
    save_file(tmp_path / "b.qac", {"w": SharedTensor(book, np.zeros(4, np.uint8), (), (2,))})
    blocks = (tmp_path / "b.qac").read_bytes()
    assert blocks[4:6] == bytes([1, 1]) and blocks[7] == BLOCKS_FLAG
