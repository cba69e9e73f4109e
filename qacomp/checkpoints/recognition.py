"""Recognise the kind of a file by its content; the error for an unsupported kind says what to do."""

import struct
import tarfile
import zipfile
from pathlib import Path
from typing import BinaryIO

from qacomp.errors import NotACheckpointError

# The first pickle of torch's legacy format: protocol 2, then the LONG1 of torch.serialization.MAGIC_NUMBER.
LEGACY_START = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

_KNOWN_STARTS = (
    (b"\x89HDF", "an HDF5 file (Keras?)"),
    (b"\x93NUMPY", "a numpy array"),
    (b"\x1f\x8b", "gzip-compressed"),
    (b"BZh", "bzip2-compressed"),
    (b"\xfd7zXZ\x00", "xz-compressed"),
    (b"(\xb5/\xfd", "zstandard-compressed"),
    (b"GGUF", "a GGUF file"),
    (b"%PDF", "a PDF document"),
    (b"\x7fELF", "a program"),
    (b"\x89PNG", "a PNG image"),
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself (run `git lfs pull`)"),
)


def recognize(path: Path, file: BinaryIO, size: int) -> str:
    """Return "zip", "legacy" or "safetensors". Raises NotACheckpointError, which says what the file is instead."""
    start = file.read(512)
    if zipfile.is_zipfile(file) and start.startswith(b"PK"):
        return "zip"
    if start.startswith(b"PK\x03\x04"):
        raise NotACheckpointError(f"{path}: a zip file without its end (truncated?); copy or download it again")
    if _is_safetensors(start, size):
        return "safetensors"
    if start.startswith(LEGACY_START):
        return "legacy"
    raise NotACheckpointError(f"{path}: {_description(path, file, start)}")


def is_onnx(path: Path) -> bool:
    """Return whether a file is an ONNX model, by its suffix or its first bytes; False if it can't be read."""
    try:
        if not path.is_file():  # opening a pipe would hang
            return False
        with path.open("rb") as file:
            start = file.read(16)
    except (OSError, ValueError):
        return False
    return bool(start) and (path.suffix.lower() == ".onnx" or _starts_as_onnx(start))


def _starts_as_onnx(start: bytes) -> bool:
    """Return whether bytes begin as a ModelProto: a small number (ir_version), then another field of it."""
    return len(start) > 2 and start[:1] == b"\x08" and start[1] < 64 and start[2:3] in b"\x12\x1a\x22\x28\x32\x3a\x42"


def _is_safetensors(start: bytes, size: int) -> bool:
    if len(start) < 9 or start[8:9] != b"{":
        return False
    (header,) = struct.unpack("<Q", start[:8])
    return 2 <= header < 1 << 40 and (header <= size - 8 or start[8:10] == b'{"')


def _description(path: Path, file: BinaryIO, start: bytes) -> str:
    if start[1:4] == b"QAC" or path.suffix.lower() == ".qac":
        return "a .qac container, already compressed; give it to `qacomp decode`, `eval` or `inspect`"
    for magic, what in _KNOWN_STARTS:
        if start.startswith(magic):
            return f"not a checkpoint but {what}"
    if path.suffix.lower() == ".onnx" or _starts_as_onnx(start):
        return "an ONNX model; a PyTorch checkpoint or .safetensors file is needed here"
    if start.lstrip()[:1] == b"<":
        return "not a checkpoint but HTML or XML; probably a web page was saved instead of the file"
    if start[:1] == b"\x80" and len(start) > 1 and start[1] <= 5:
        return "a plain pickle, not written by torch.save; load it where it was made, and torch.save its state dict"
    if not start.strip(b"\0"):
        return "not a checkpoint: the file begins with zeros, as if it was never written; copy or download it again"
    file.seek(0)
    if _is_tar(file):
        return "a tar archive (torch before 0.1.10, or packed files); unpack it, or re-save the state dict"
    if _is_text(start):
        return "not a checkpoint but a text file"
    return "not a checkpoint: neither the format of torch.save nor safetensors; damaged?"


def _is_tar(file: BinaryIO) -> bool:
    try:
        with tarfile.open(fileobj=file, mode="r:"):
            return True
    except (tarfile.TarError, OSError, EOFError):
        return False


def _is_text(start: bytes) -> bool:
    try:
        text = start[:-4].decode() if len(start) == 512 else start.decode()
    except UnicodeDecodeError:
        return False
    return all(character.isprintable() or character.isspace() for character in text)
