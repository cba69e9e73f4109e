"""Checkpoints whose sizes, records or storages lie: nothing is allocated or read on their word."""

import resource
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from qacomp.checkpoints import read_checkpoint
from qacomp.errors import CheckpointError, NotACheckpointError

HUGE = 1 << 44


def rewrite_zip(path: Path, change: Callable[[dict[str, bytes]], object]) -> None:
    """Read a zip's records, change them, write them back stored."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    change(records)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def saved_legacy(path: Path) -> bytes:
    torch.save({"w": torch.arange(6.0)}, path, _use_new_zipfile_serialization=False)
    return path.read_bytes()


def test_a_legacy_storage_that_claims_more_than_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    whole = saved_legacy(path)
    declared = whole.replace(b"K\x06N", b"\x8a\x06" + HUGE.to_bytes(6, "little") + b"N")
    assert declared != whole
    path.write_bytes(declared)
    with pytest.raises(NotACheckpointError, match="needs 70368744177664 bytes"):
        read_checkpoint(path)
    path.write_bytes(whole[:-32] + struct.pack("<q", 5) + whole[-24:])
    with pytest.raises(NotACheckpointError, match="another size than declared"):
        read_checkpoint(path)


def test_a_zip_storage_that_claims_more_than_its_record(tmp_path: Path) -> None:
    """torch.load alone reads past the record's end here."""
    path = tmp_path / "x.pt"
    torch.save({"w": torch.arange(6.0)}, path)

    def enlarge(records: dict[str, bytes]) -> None:
        name = next(name for name in records if name.endswith("data.pkl"))
        changed = records[name].replace(b"K\x06t", b"M\x00\x10t")
        assert changed != records[name]
        records[name] = changed

    rewrite_zip(path, enlarge)
    with pytest.raises(NotACheckpointError, match="has 24 bytes, but 16384 are declared"):
        read_checkpoint(path)


def test_a_tensor_that_reaches_beyond_its_storage(tmp_path: Path) -> None:
    """torch.load alone resizes the storage and gives whatever was in memory."""
    path = tmp_path / "x.pt"
    torch.save({"w": torch.arange(6.0)}, path)

    def enlarge(records: dict[str, bytes]) -> None:
        name = next(name for name in records if name.endswith("data.pkl"))
        records[name] = records[name].replace(b"K\x06\x85", b"J\x00\x00\x00\x10\x85")

    rewrite_zip(path, enlarge)
    with pytest.raises(NotACheckpointError, match="reaches beyond its storage"):
        read_checkpoint(path)


def test_missing_doubled_and_compressed_records(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    torch.save({"w": torch.arange(6.0)}, path)
    whole = path.read_bytes()
    rewrite_zip(path, lambda records: records.pop(next(name for name in records if name.endswith("data/0"))))
    with pytest.raises(NotACheckpointError, match="record x/data/0 is missing"):
        read_checkpoint(path)
    path.write_bytes(whole)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(path, "a") as archive:
            archive.writestr(next(name for name in archive.namelist() if name.endswith("data/0")), b"other")
    with pytest.raises(NotACheckpointError, match="with the same name"):
        read_checkpoint(path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(1 << 20))
    with pytest.raises(NotACheckpointError, match="compressed"):
        read_checkpoint(path)


@pytest.mark.parametrize("wide", [False, True])
def test_a_zip_file_of_very_many_records_is_refused_unread(tmp_path: Path, wide: bool) -> None:
    record = b"PK\x01\x02" + bytes(24) + struct.pack("<H", 1) + bytes(16) + b"a"
    listed = record * (17 << 20 >> 5)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, 0xFFFFFFFF if wide else len(listed), 0, 0)
    if wide:
        large = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 1, 1, len(listed), 0)
        end = large + struct.pack("<4sLQL", b"PK\x06\x07", 0, len(listed), 1) + end
    (tmp_path / "x.pt").write_bytes(listed + end)
    with pytest.raises(NotACheckpointError, match="list of zip records"):
        read_checkpoint(tmp_path / "x.pt")


@pytest.mark.parametrize("zipped", [True, False])
def test_expanded_views_out_of_proportion(tmp_path: Path, zipped: bool) -> None:
    torch.save({"w": torch.ones(1).expand(1 << 40)}, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match="expanded or repeated"):
        read_checkpoint(tmp_path / "x.pt")


def test_one_tensor_under_very_many_names(tmp_path: Path) -> None:
    shared = torch.ones(1 << 20)
    torch.save({str(index): shared for index in range(2000)}, tmp_path / "x.pt")
    with pytest.raises(CheckpointError, match="expanded or repeated"):
        read_checkpoint(tmp_path / "x.pt")


def test_hostile_files_need_little_memory(tmp_path: Path) -> None:
    """All of the above under a limit on the address space's growth would be slow; one file of each form shows it."""
    saved_legacy(tmp_path / "a.pt")
    whole = (tmp_path / "a.pt").read_bytes()
    (tmp_path / "a.pt").write_bytes(whole.replace(b"K\x06N", b"\x8a\x06" + HUGE.to_bytes(6, "little") + b"N"))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(NotACheckpointError):
        read_checkpoint(tmp_path / "a.pt")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10  # KiB
