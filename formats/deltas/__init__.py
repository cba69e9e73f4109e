"""Make and apply deltas: what makes one container of another, in far fewer bytes (SPEC.md, section 12)."""

from qacomp.formats.deltas.applying import UpdatedFile, check_base, updated
from qacomp.formats.deltas.file import Delta, FileIdentity, delta_chunks, read_delta
from qacomp.formats.deltas.making import file_identity, make_delta

__all__ = [
    "Delta",
    "FileIdentity",
    "UpdatedFile",
    "check_base",
    "delta_chunks",
    "file_identity",
    "make_delta",
    "read_delta",
    "updated",
]
