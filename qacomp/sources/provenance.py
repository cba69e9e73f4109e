"""Record in a container's metadata which file it was made from, and check a file against that record."""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.errors import NotACheckpointError, SourceMismatchError
from qacomp.formats.regular import open_regular
from qacomp.formats.system_errors import advice, words
from qacomp.options.config import CompressConfig
from qacomp.options.needs import level_numbers
from qacomp.sources.source_size import SourceSize
from qacomp.version import VERSION

if TYPE_CHECKING:
    from qacomp.checkpoints import Checkpoint
    from qacomp.graphs.reading import OnnxFile


@dataclass(frozen=True)
class SourceMatch:
    """A file that a container was made from: its size in bytes and its SHA-256, in hex."""

    file: str
    bytes: int
    sha256: str


def provenance(
    source: "Checkpoint | OnnxFile", config: CompressConfig, size: SourceSize, external: list[str] | None = None
) -> dict[str, Any]:
    """Return the metadata that record a container's origin: qacomp's version, the source file and the settings.

    external: SHA-256, in hex, of each file that holds external data of an ONNX model.
    """
    origin: dict[str, Any] = {"sha256": source.digest, "bytes": source.bytes, "kind": source.kind, **size.to_meta()}
    if isinstance(parts := getattr(source, "parts", None), tuple) and parts:
        origin["parts_sha256"] = list(parts)
    if external:
        origin["external_sha256"] = external
    meta = {"qacomp": VERSION, "source": origin, "settings": config.chosen_toml()}
    numbers = level_numbers(config)
    return meta if numbers is None else meta | {"levels": list(numbers)}


def check_source(container: Path, meta: dict[str, Any], source: Path) -> SourceMatch:
    """Check that a container was made from the file `source`; return the file's size and SHA-256.

    meta: the container's metadata. Raises SourceMismatchError if the file differs, or if the metadata don't say what
    the container was made from; NotACheckpointError if the file can't be read.
    """
    told = meta.get("source")
    told = told if isinstance(told, dict) else {}
    digest, size = told.get("sha256"), told.get("bytes")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise SourceMismatchError(
            f"{container}: its metadata hold no SHA-256 of its source, so {source} can't be compared with it"
        )
    try:
        if told.get("kind") == "folder":
            return _check_folder(container, meta, source)
        if told.get("kind") == "sharded":
            return _check_shards(container, told, source)
        own_size = source.stat().st_size
        if isinstance(size, int) and size != own_size and source.is_file():
            raise SourceMismatchError(
                f"{container}: was made from a file of {size} bytes, but {source} has {own_size}; give the right file"
            )
        own = sha256_of(source)
    except OSError as error:
        named = error.filename or source
        raise NotACheckpointError(f"{named}: can't be read ({words(error)}); {advice(error)}") from error
    if digest != own:
        raise SourceMismatchError(
            f"{container}: was made from a file with SHA-256 {digest[:16]}..., but {source} has {own[:16]}...;"
            " give the right file"
        )
    if isinstance(told.get("external_sha256"), list):
        _check_external(container, told["external_sha256"], source)
    return SourceMatch(str(source), own_size, own)


def _check_shards(container: Path, told: Mapping[str, Any], source: Path) -> SourceMatch:
    """Compare the SHA-256 of an index and of the shards that it names with those in the container's metadata."""
    from qacomp.checkpoints.sharded import is_index, shard_names, whole_digest

    if not is_index(source):
        raise SourceMismatchError(f"{container}: was made from shards: give their index (*.index.json), not {source}")
    files = [source, *(source.with_name(name) for name in shard_names(source))]
    parts = [sha256_of(file) for file in files]
    size = sum(file.stat().st_size for file in files)
    if whole_digest(parts) != told["sha256"]:
        known = told.get("parts_sha256")
        stored = known if isinstance(known, list) and len(known) == len(parts) else parts
        different = [str(file) for file, own, other in zip(files, parts, stored, strict=True) if own != other]
        which = different[0] if different else f"{source} or one of its {len(parts) - 1} shards"
        raise SourceMismatchError(f"{container}: was made from other files: {which} differs; give the right files")
    return SourceMatch(str(source), size, whole_digest(parts))


def _check_folder(container: Path, meta: Mapping[str, Any], source: Path) -> SourceMatch:
    """Compare the SHA-256 of each file of a folder with those in the container's metadata."""
    from qacomp.folders.listing import list_folder
    from qacomp.folders.model_folder import folder_digests, whole_folder_digest

    if not source.is_dir():
        raise SourceMismatchError(f"{container}: was made from a folder: give the folder, not {source}")
    layout = meta.get("folder")
    known = layout.get("sha256") if isinstance(layout, dict) else None
    told: dict[Any, Any] = known if isinstance(known, dict) else {}
    listing = list_folder(source)
    own = folder_digests(listing)
    for path in sorted(told.keys() | own.keys(), key=str):
        if told.get(path) != own.get(path):
            how = "is missing" if path not in own else "is new" if path not in told else "differs"
            raise SourceMismatchError(
                f"{container}: was made from other files: {str(path)[:200]} {how} in {source}; give the right folder"
            )
    size = sum((source / path).stat().st_size for path in own)
    return SourceMatch(str(source), size, whole_folder_digest(own))


def _check_external(container: Path, told: list[Any], source: Path) -> None:
    """Compare the SHA-256 of the files with an ONNX model's external data, by name, with those in the metadata."""
    from qacomp.graphs.reading import read_onnx

    own = read_onnx(source).external.named_digests()
    different = [name for (name, digest), other in zip(own.items(), told, strict=False) if digest != other]
    if different or len(own) != len(told):
        which = different[0][:80] if different else f"{len(own)} files instead of {len(told)}"
        raise SourceMismatchError(
            f"{container}: was made from {source.name} with other external data: {which} differs; give the right files"
        )


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hex. Raises IrregularFileError for a pipe or device, OSError."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
