"""Read a model's folder: its .safetensors files without their values, its index, and a digest of every file."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import NotACheckpointError
from qacomp.folders.layout import FILES, HeldWeights, Layout
from qacomp.folders.listing import LARGEST_FILE, Listing, list_folder
from qacomp.folders.weights_file import WeightsFile, read_weights_file
from qacomp.formats.regular import open_regular, read_small
from qacomp.formats.system_errors import advice, words
from qacomp.tensors.safetensors_metadata import DEFAULT, bounded

INDEX = ".safetensors.index.json"
_CHUNK = 1 << 22  # bytes that are hashed at once


@dataclass(frozen=True)
class ModelFolder:
    """A folder of a model. weights: its .safetensors files by path; sha256: of each file, in hex, by path."""

    listing: Listing
    weights: dict[str, WeightsFile]
    sha256: dict[str, str]
    notes: tuple[str, ...]

    @property
    def path(self) -> Path:
        """Return the folder's path."""
        return self.listing.folder

    @cached_property
    def tensors(self) -> dict[str, tuple[WeightsFile, str]]:
        """Map the names that tensors have in a container to (file, name in it), in the container's order."""
        return {
            self.prefixes[path] + name: (file, name) for path, file in self.weights.items() for name in file.tensors
        }

    @cached_property
    def prefixes(self) -> dict[str, str]:
        """Map each weights file to what stands before its tensors' names in a container.

        Nothing does for files of the folder itself, unless another of them has a tensor of the same name.
        """
        top = [file for path, file in self.weights.items() if "/" not in path]
        twice = {name for name, times in Counter(name for file in top for name in file.tensors).items() if times > 1}
        return {
            path: f"{path}/" if "/" in path or twice & file.tensors.keys() else ""
            for path, file in self.weights.items()
        }

    @property
    def bytes(self) -> int:
        """Return the bytes of all files together."""
        return sum(file.size for file in self.weights.values()) + sum(self.listing.carried.values())

    @property
    def digest(self) -> str:
        """Return one SHA-256, in hex, over the paths and the digests of all files."""
        return whole_folder_digest(self.sha256)

    def read(self, name: str) -> NDArray[Any]:
        """Return the tensor with this name in the container, or the bytes of a carried file."""
        if name not in self.tensors:
            path = self.path / name.removeprefix(FILES)
            try:
                return np.frombuffer(read_small(path, LARGEST_FILE), np.uint8)
            except OSError as error:
                raise NotACheckpointError(f"{path}: can't be read ({words(error)}); {advice(error)}") from error
        file, own = self.tensors[name]
        return file.read(own)

    def layout(self) -> Layout:
        """Return how a container holds this folder."""
        held = []
        for path, file in self.weights.items():
            metadata = bounded(file.metadata)[0] or (DEFAULT if file.metadata else {})
            held.append(HeldWeights(path, len(file.tensors), self.prefixes[path], metadata))
        return Layout(tuple(held), self.sha256)


def read_folder(folder: Path, advance: Callable[[int], None] | None = None) -> ModelFolder:
    """Read a model's folder without the values of its tensors; every file is read once for its digest.

    advance: called with the bytes that were read. Raises NotACheckpointError for a folder that can't be carried (see
    `list_folder`), a damaged .safetensors file, and an index that doesn't fit the files.
    """
    listing = list_folder(folder)
    weights = {path: read_weights_file(folder / path) for path in listing.weights}
    notes = [f"{len(weights)} files of weights and {len(listing.carried)} other files", *listing.notes()]
    for path, file in weights.items():
        notes += [f"{path}: {note}" for note in bounded(file.metadata)[1]]
        if reserved := [name for name in file.tensors if name.startswith(FILES)]:
            raise NotACheckpointError(
                f"{folder / path}: the tensor {reserved[0][:80]!r} has a name that begins with {FILES}, which stands "
                "for files; rename it"
            )
    for path in listing.carried:
        if path.endswith(INDEX):
            notes += _checked_index(folder, path, weights)
    digests = {path: _digest(folder / path, advance) for path in listing.paths}
    return ModelFolder(listing, weights, digests, tuple(notes))


def weight_map(data: bytes, what: object) -> tuple[dict[str, str], int | None]:
    """Return (file of each tensor, total size if it is told) of an index. Raises NotACheckpointError, naming `what`."""
    try:
        index: Any = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NotACheckpointError(f"{what}: isn't JSON, so no index of weights; copy or download it again") from error
    placed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(placed, dict) or not all(isinstance(file, str) for file in placed.values()):
        raise NotACheckpointError(f"{what}: isn't an index of weights (it has no weight_map from names to files)")
    about = index.get("metadata")
    total = about.get("total_size") if isinstance(about, dict) else None
    return placed, int(total) if isinstance(total, int | float) and 0 <= total < 1 << 60 else None


def whole_folder_digest(digests: dict[str, str]) -> str:
    """Return one SHA-256, in hex, over paths and digests of files."""
    return hashlib.sha256("\n".join(f"{path}\0{digests[path]}" for path in sorted(digests)).encode()).hexdigest()


def folder_digests(listing: Listing) -> dict[str, str]:
    """Return the SHA-256 of each file that a container of the folder holds. Raises NotACheckpointError."""
    return {path: _digest(listing.folder / path, None) for path in listing.paths}


def _checked_index(folder: Path, path: str, weights: dict[str, WeightsFile]) -> list[str]:
    """Check that an index names tensors which its files hold, and return a note if its total size is wrong."""
    above = path.rpartition("/")[0]
    placed, total = weight_map(read_small(folder / path, LARGEST_FILE), folder / path)
    size = 0
    for name, shard in placed.items():
        file = weights.get(f"{above}/{shard}" if above else shard)
        if file is None or name not in file.tensors:
            what = f"there is no file {shard[:80]!r}" if file is None else f"{shard[:80]} doesn't have it"
            raise NotACheckpointError(
                f"{folder / path}: places the tensor {name[:80]!r}, but {what}; copy or download the folder again"
            )
        size += file.tensors[name].end - file.tensors[name].start
    return [] if total in (None, size) else [f"{path} says {total} bytes of tensors, but they have {size}"]


def _digest(path: Path, advance: Callable[[int], None] | None) -> str:
    digest = hashlib.sha256()
    try:
        for part in _parts(path):
            digest.update(part)
            if advance is not None:
                advance(len(part))
    except OSError as error:
        raise NotACheckpointError(f"{path}: can't be read ({words(error)}); {advice(error)}") from error
    return digest.hexdigest()


def _parts(path: Path) -> Iterator[bytes]:
    with open_regular(path) as file:
        while part := file.read(_CHUNK):
            yield part
