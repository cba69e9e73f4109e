"""Write a CycloneDX 1.6 document about one container: the same bytes for the same file, name and version of qacomp.

cyclonedx-python-lib has no model cards, so that the document is made here; a test validates it with its schema.
"""

import hashlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from qacomp.bom.lineage import hashes, pedigree
from qacomp.bom.model_card import model_card
from qacomp.bom.properties import properties, settings_facts
from qacomp.calls import PathLike
from qacomp.formats import Container, FormatError, open_file, write_atomically
from qacomp.formats.sharded import ShardedContainer
from qacomp.graphs.metadata import metadata
from qacomp.outputs import Output, claim
from qacomp.progress import Progress, SilentProgress
from qacomp.remote.transfer import fetched
from qacomp.remote.urls import url_name, url_of
from qacomp.version import VERSION

_SPEC = "1.6"
_PIECE = 1 << 22  # bytes that are hashed at once
_SCHEMA = f"http://cyclonedx.org/schema/bom-{_SPEC}.schema.json"


@dataclass(frozen=True)
class MadeBom:
    """A bill of materials that was written. sha256: of the container, in hex; figures: how many it holds."""

    output: Path
    sha256: str
    serial_number: str
    figures: int
    source_sha256: str | None

    def to_json(self) -> dict[str, Any]:
        """Return the document that `sbom --json` prints."""
        return {**asdict(self), "output": str(self.output)}


def sbom(container: PathLike, output: PathLike, *, force: bool = False, progress: Progress | None = None) -> MadeBom:
    """Write a CycloneDX ML-BOM (JSON) about a container, of what its metadata tell: digest, lineage, figures, settings.

    Equal files of one name give equal bytes: there is no time in it. container: may be a URL. force: replace a file at
    `output`. Raises FormatError for a damaged container or an index of shards, RemoteError, OutputNotWritableError.
    """
    path, target, url = Path(container), Path(output), url_of(container)
    claim([Output(target, "-o")], [] if url else [path], force=force)
    with fetched(path, progress or SilentProgress()) as file, open_file(file) as opened:
        if isinstance(opened, ShardedContainer):
            raise FormatError(f"{container}: is an index of shards; write a bill of materials for each of its files")
        meta, digest = metadata(opened), _sha256(opened)
        made = _document(opened, meta, url_name(url) if url else path.name, digest)
    write_atomically(target, [(json.dumps(made, indent=2) + "\n").encode("ascii")])
    card = made["metadata"]["component"].get("modelCard", {})
    figures = len(card.get("quantitativeAnalysis", {}).get("performanceMetrics", ()))
    source = (meta.get("source") or {}).get("sha256")
    return MadeBom(target, digest, made["serialNumber"], figures, source)


def _sha256(container: Container) -> str:
    """Return the SHA-256 of a container's whole file, in hex, of the very bytes that its metadata were read from."""
    digest = hashlib.sha256()
    for begin in range(0, container.size, _PIECE):
        digest.update(container.data[begin : begin + _PIECE])
    return digest.hexdigest()


def _document(container: Container, meta: Mapping[str, Any], name: str, digest: str) -> dict[str, Any]:
    serial = uuid.uuid5(uuid.NAMESPACE_URL, f"urn:sha256:{digest}")
    tool = {"type": "application", "name": "qacomp", "version": VERSION}
    return {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": _SPEC,
        "serialNumber": f"urn:uuid:{serial}",
        "version": 1,
        "metadata": {"tools": {"components": [tool]}, "component": _component(container, meta, name, digest)},
    }


def _component(container: Container, meta: Mapping[str, Any], name: str, digest: str) -> dict[str, Any]:
    facts = [
        ("bytes", container.size),
        ("root", container.root),
        ("format-version", ".".join(map(str, container.version))),
        ("tensors", len(container.names)),
        ("written-by", meta.get("qacomp")),
        ("levels", meta.get("levels")),
        *settings_facts(meta.get("settings")),
    ]
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{digest}",
        "name": name,
        "hashes": hashes(digest),
    }
    if (lineage := pedigree(meta, container.source)) is not None:
        model["pedigree"] = lineage
    if card := model_card(meta):
        model["modelCard"] = card
    return model | {"properties": properties(facts)}
