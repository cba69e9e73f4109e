"""Describe how a container holds a folder: the metadata field `folder`, and tensors that hold the bytes of files.

The tensors of each .safetensors file follow one another in the container, in the order of the file. Every other file is
a tensor of bytes named `file/PATH`. See "Folders" in formats/SPEC.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from qacomp.errors import FormatError
from qacomp.folders.listing import WEIGHTS
from qacomp.folders.paths import paths_problem
from qacomp.formats import Container

META_KEY = "folder"
FILES = "file/"
"""The beginning of the names of tensors that hold the bytes of a file; the file's path follows."""


_OR_SHARD = "it is one of several shards, whose index NAME.qac.index.json you must give, or it is damaged"


@dataclass(frozen=True)
class HeldWeights:
    """One .safetensors file. tensors: their number; prefix: what their names in the container begin with."""

    file: str
    tensors: int
    prefix: str
    metadata: dict[str, str]


@dataclass(frozen=True)
class Layout:
    """Hold what a container has of a folder. sha256: path -> digest in hex of each file as it came, weights too."""

    weights: tuple[HeldWeights, ...]
    sha256: Mapping[str, str]

    def to_meta(self) -> dict[str, Any]:
        """Return the metadata field."""
        return {"weights": [asdict(held) for held in self.weights], "sha256": dict(self.sha256)}


def held_layout(container: Container) -> Layout | None:
    """Return the layout that a container's metadata describe, None for a container of another source.

    Raises FormatError if it is malformed, if a path in it isn't one below a folder (see `paths_problem`), and if it
    doesn't fit the container's tensors.
    """
    told = container.meta.get(META_KEY)
    if told is None:
        return None
    try:
        entries = [_entry(entry) for entry in told["weights"]]
        digests = {path: str(digest) for path, digest in told["sha256"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise FormatError(f"{container.source}: the metadata's {META_KEY} is malformed; the file is damaged") from error
    paths = [*(entry.file for entry in entries), *file_tensors(container)]
    if (problem := paths_problem(paths)) is not None:
        raise FormatError(f"{container.source}: its file {problem}; the file is hostile")
    if not all(entry.file.endswith(WEIGHTS) for entry in entries):
        raise FormatError(f"{container.source}: its metadata name a file that isn't {WEIGHTS}; the file is damaged")
    layout = Layout(tuple(entries), digests)
    weight_names(container, layout)
    return layout


def file_tensors(container: Container) -> dict[str, str]:
    """Map the paths of the carried files to the names of their tensors. Raises FormatError for one that isn't bytes."""
    if container.meta.get(META_KEY) is None:
        return {}
    found = {name.removeprefix(FILES): name for name in container.names if name.startswith(FILES)}
    for name in found.values():
        info = container.info(name)
        if info.dtype != "uint8" or len(info.shape) != 1 or info.k is not None:
            raise FormatError(f"{container.source}: {name[:80]} isn't the bytes of a file; the file is damaged")
    return found


def network_names(container: Container) -> tuple[str, ...]:
    """Return the names of a container's tensors without those that hold the bytes of files."""
    if container.meta.get(META_KEY) is None:
        return container.names
    return tuple(name for name in container.names if not name.startswith(FILES))


def weight_names(container: Container, layout: Layout) -> dict[str, dict[str, str]]:
    """Return for each .safetensors file its tensors in order: name in that file -> name in the container.

    Raises FormatError if the container has more or fewer tensors, or names without the prefix.
    """
    names, place = network_names(container), 0
    found: dict[str, dict[str, str]] = {}
    for held in layout.weights:
        own = names[place : place + held.tensors]
        if len(own) != held.tensors or not all(name.startswith(held.prefix) for name in own):
            raise FormatError(f"{container.source}: its tensors aren't those of {held.file[:80]}; {_OR_SHARD}")
        found[held.file] = {name.removeprefix(held.prefix): name for name in own}
        place += held.tensors
    if place != len(names):
        raise FormatError(f"{container.source}: holds tensors of none of its files; {_OR_SHARD}")
    return found


def _entry(entry: Any) -> HeldWeights:
    held = HeldWeights(entry["file"], entry["tensors"], entry["prefix"], entry["metadata"])
    if not (isinstance(held.file, str) and isinstance(held.prefix, str) and isinstance(held.metadata, dict)):
        raise TypeError("a field has another type")
    if type(held.tensors) is not int:
        raise TypeError("a field has another type")
    if held.tensors < 0 or not all(isinstance(value, str) for value in held.metadata.values()):
        raise TypeError("a field has another type")
    return held
