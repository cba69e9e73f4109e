"""Read what a signature file says that it signs, before or after the signature itself is checked."""

import base64
import json
from dataclasses import dataclass
from pathlib import Path

from qacomp.errors import SignatureError
from qacomp.formats.regular import read_small

LARGEST = 16 << 20  # bytes of a signature file: some 40,000 files of a folder


@dataclass(frozen=True)
class Statement:
    """Hold what is signed. name: of the file or folder at that time; digests: SHA-256 in hex, by path ("." if one)."""

    name: str
    digests: dict[str, str]

    @property
    def sha256(self) -> str | None:
        """Return the SHA-256 of the one file that is signed; None for a folder."""
        return self.digests.get(".")


def read_statement(path: Path) -> Statement:
    """Read a signature file, a Sigstore bundle. Raises SignatureError, IrregularFileError, OSError."""
    try:
        return parse_statement(read_small(path, LARGEST))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise SignatureError(f"{path}: isn't a signature of a model (a Sigstore bundle); check the path") from error


def parse_statement(data: bytes) -> Statement:
    """Read the bytes of a signature. Raises KeyError, TypeError, ValueError or RecursionError for anything else."""
    payload = json.loads(data)["dsseEnvelope"]["payload"]
    told = json.loads(base64.b64decode(payload, validate=True))
    (first,) = told["subject"]
    found = {entry["name"]: entry["digest"] for entry in told["predicate"]["resources"]}
    name = first["name"]
    if not all(isinstance(text, str) for text in (name, *found, *found.values())):
        raise TypeError("a name or a digest isn't text")
    return Statement(name, found)
