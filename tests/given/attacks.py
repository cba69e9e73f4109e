"""Hostile files out of golden ones, and how each must be refused."""

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import resign

from qacomp.formats import (
    FormatError,
    open_file,
)
from qacomp.formats.header import write_header

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"


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


def resized(data: bytes, changes: dict[int, int]) -> bytes:
    """The same file whose sections claim that many bytes more or fewer; offsets follow from sizes, nothing else."""
    header, payloads = resign.parts(data)
    sections = list(header.sections)
    for number, change in changes.items():
        sections[number] = replace(sections[number], stored_bytes=sections[number].stored_bytes + change)
    made: bytes = resign.container(write_header(replace(header, sections=tuple(sections))), payloads)
    return made


def change(data: bytes, number: int, **fields: Any) -> bytes:
    header, payloads = resign.parts(data)
    tensors = list(header.tensors)
    tensors[number] = replace(tensors[number], **fields)
    changed: bytes = resign.container(write_header(replace(header, tensors=tuple(tensors))), payloads)
    return changed
