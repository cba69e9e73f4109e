"""Collect the facts of a container's origin: digests, version, architecture, data, seed."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.remote.urls import url_of
from qacomp.sources.provenance import sha256_of

if TYPE_CHECKING:
    from qacomp.stages.figures import Figures


def facts_of(
    path: Path, meta: Mapping[str, Any], version: str, levels: int, result: "Figures | None"
) -> tuple[tuple[str, str], ...]:
    """Return (name, value) of each fact that is known, from the container's metadata and the compression's result."""
    raw = meta.get("source")
    source: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    facts = [
        ("container", path.name),
        *([("SHA-256 of the container", sha256_of(path))] if url_of(path) is None else []),  # would fetch all of it
        ("format version", version),
        ("architecture", meta.get("arch")),
        ("data", meta.get("data")),
        ("checkpoint", (result.source or None) if result else None),
        ("kind of checkpoint", source.get("kind")),
        ("bytes of the checkpoint file", source.get("bytes")),
        ("SHA-256 of the checkpoint", source.get("sha256")),
        ("levels", levels if levels > 1 else None),
        ("seed", result.seed if result else None),
        ("largest difference of outputs", f"{result.max_abs_error:.3g}" if result and result.max_abs_error else None),
        ("written by", f"qacomp {meta['qacomp']}" if "qacomp" in meta else None),
    ]
    return tuple((name, str(value)) for name, value in facts if value is not None)
