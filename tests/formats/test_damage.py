"""Damaged files: every flipped byte and every cut gives a FormatError, or the same values; never silent garbage."""

from pathlib import Path

import numpy as np
import pytest
import resign
from hypothesis import given, settings
from hypothesis import strategies as st

from qacomp.formats import FormatError, TruncatedFileError, open_file, save_file
from qacomp.formats.header import write_header
from qacomp.formats.limits import Limits
from qacomp.formats.prefix import MAGIC

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "v1"
ALL = sorted(path.stem for path in GOLDEN.glob("*.qac"))


def everything(data: bytes, *, verify: bool = True) -> list[object]:
    """All that a reader can get out of a file."""
    with open_file(data, verify=verify, limits=Limits(tensor_bytes=1 << 28, blob_bytes=1 << 24)) as opened:
        if verify:
            opened.check()
        tensors = [(name, opened.tensor(name)) for name in opened.names]
        return [(n, t.dtype.str, t.shape, t.tobytes()) for n, t in tensors] + [opened.graph(), opened.meta]


@pytest.mark.parametrize("name", ALL)
def test_every_flipped_byte(name: str) -> None:
    data = (GOLDEN / f"{name}.qac").read_bytes()
    expected = everything(data)
    for place in range(len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        try:
            found = everything(bytes(damaged))
        except FormatError:
            continue
        assert found == expected, f"byte {place}"


@pytest.mark.parametrize("name", ALL)
def test_every_cut(name: str) -> None:
    data = (GOLDEN / f"{name}.qac").read_bytes()
    for size in range(len(data)):
        with pytest.raises(FormatError):
            everything(data[:size])
    with pytest.raises(FormatError, match="after its end"):
        everything(data + b"\0")


def test_a_cut_file_decodes_at_each_whole_level() -> None:
    data = (GOLDEN / "levels.qac").read_bytes()
    with open_file(data) as whole:
        last = {s.level: s.offset + s.bytes for s in whole.sections}
        expected = {level: [whole.tensor(n, level=level).tobytes() for n in whole.names] for level in range(3)}
    for size in sorted({*range(0, len(data), 13), *last.values(), *(end - 1 for end in last.values())} - {len(data)}):
        with pytest.raises(FormatError):
            open_file(data[:size])
        complete = [level for level in last if last[level] <= size]
        if not complete:
            with pytest.raises(FormatError):
                open_file(data[:size], allow_truncated=True)
            continue
        with open_file(data[:size], allow_truncated=True) as cut:
            assert cut.level == max(complete)
            assert [cut.tensor(n).tobytes() for n in cut.names] == expected[cut.level]
            if cut.level < 2:
                with pytest.raises(TruncatedFileError):
                    cut.tensor("a", level=2)


@given(data=st.data())
@settings(max_examples=150)
def test_changed_payloads_with_right_checksums(data: st.DataObject) -> None:
    """Whatever stands in a section, the reader gives arrays of the promised shapes or a FormatError."""
    name = data.draw(st.sampled_from(ALL))
    header, payloads = resign.parts((GOLDEN / f"{name}.qac").read_bytes())
    damaged = bytearray(payloads)
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = everything(resign.container(write_header(header), bytes(damaged), flags=header.flags), verify=False)
    except FormatError:
        return
    shapes = {t.name: t.shape for t in header.tensors}
    assert all(shapes[item[0]] == item[2] for item in found if isinstance(item, tuple))


@given(data=st.data())
@settings(max_examples=250)
def test_changed_headers_with_right_checksums(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(ALL))
    header, payloads = resign.parts((GOLDEN / f"{name}.qac").read_bytes())
    raw = bytearray(write_header(header))
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        everything(resign.container(bytes(raw), payloads, flags=header.flags), verify=False)
    except FormatError:
        return


@given(st.binary(max_size=300))
def test_any_bytes(data: bytes) -> None:
    for start in (b"", MAGIC, MAGIC + b"\1\0"):
        with pytest.raises(FormatError):
            everything(start + data)


def test_a_section_behind_a_damaged_one_can_still_be_read(tmp_path: Path) -> None:
    save_file(tmp_path / "a.qac", {"x": np.arange(100), "y": np.linspace(0, 1, 50)})
    data = bytearray((tmp_path / "a.qac").read_bytes())
    with open_file(bytes(data)) as opened:
        place = opened.sections[0].offset
        assert opened.sections[0].tensors != opened.sections[1].tensors
        good = opened.sections[1].tensors[0]
    data[place] ^= 255
    with open_file(bytes(data)) as opened:
        assert opened.tensor(good).size
        with pytest.raises(FormatError, match="section 0"):
            opened.tensor("x" if good == "y" else "y")
