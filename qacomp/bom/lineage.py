"""The lineage of a container: the files that it was made from, as the ancestor of a CycloneDX component."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from qacomp.bom.properties import properties
from qacomp.errors import FormatError

_OF_SEVERAL = ("folder", "sharded")
"""Kinds of sources of several files: their digest is made of those of the files, so it is no file's SHA-256."""


def hashes(digest: str) -> list[dict[str, str]]:
    """Return the `hashes` of a component from a SHA-256 in hex."""
    return [{"alg": "SHA-256", "content": digest}]


def pedigree(meta: Mapping[str, Any], source: str) -> dict[str, Any] | None:
    """Return the `pedigree` of a container's component from its metadata; None if they don't tell the source.

    source: the container's name for messages. Raises FormatError if a digest in the metadata is no SHA-256.
    """
    told = meta.get("source")
    if not isinstance(told, dict) or told.get("sha256") is None:
        return None
    kind, digest = told.get("kind"), _sha256(told["sha256"], source)
    several = kind in _OF_SEVERAL
    facts = [("kind", kind), ("bytes", told.get("bytes")), ("digest-of-digests", digest if several else None)]
    ancestor: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"source:{digest}",
        "name": "source" if kind is None else f"source ({kind})",
        **({} if several else {"hashes": hashes(digest)}),
    }
    files = [
        {"type": "file", "bom-ref": f"source:{number}:{own}", "name": name, "hashes": hashes(own)}
        for number, (name, own) in enumerate(_files(meta, told, source))
    ]
    if files:
        ancestor["components"] = files
    return {"ancestors": [ancestor | {"properties": properties(facts)}]}


def _files(meta: Mapping[str, Any], told: Mapping[str, Any], source: str) -> Iterator[tuple[str, str]]:
    """Yield the name and SHA-256 of each file of the source, if it has several."""
    folder = meta.get("folder")
    known = folder.get("sha256") if isinstance(folder, dict) else None
    for name, digest in sorted((known or {}).items()):
        yield name, _sha256(digest, source)
    for key, name in (("parts_sha256", "part"), ("external_sha256", "external data")):
        listed = told.get(key)
        for number, digest in enumerate(listed if isinstance(listed, list) else (), 1):
            yield f"{name} {number}", _sha256(digest, source)


def _sha256(digest: Any, source: str) -> str:
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise FormatError(f"{source}: the metadata's digest of its source is no SHA-256; the file is damaged")
    return digest
