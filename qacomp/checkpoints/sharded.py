"""Read checkpoints in several files: the index (*.index.json) names the shard, a file beside it, of each tensor."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.checkpoints.checkpoint import Checkpoint
from qacomp.errors import NotACheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST_INDEX = 256 << 20
_LONGEST_NAME = 255  # characters, as file systems allow


@dataclass(frozen=True)
class Shards:
    """The tensors of all shards, in the order of the index, and facts about the files.

    bytes: sizes of index and shards together; parts: SHA-256 of the index and of each shard, in the order of their
    names; digest: SHA-256 over `parts`; metadata: that of all shards together.
    """

    state: "dict[str, Tensor]"
    digest: str
    bytes: int
    notes: tuple[str, ...]
    parts: tuple[str, ...]
    metadata: dict[str, str]


def is_index(path: Path) -> bool:
    """Return whether a file is an index of shards, by its name."""
    return path.name.endswith(".index.json")


def load_shards(path: Path, read: Callable[[Path], Checkpoint]) -> Shards:
    """Read the shards that the index at `path` names; read: the function that reads one of them.

    Raises NotACheckpointError for a malformed index, for a missing tensor or shard, and for a shard in another folder.
    """
    placed = _weight_map(path)
    state: dict[str, Tensor] = {}
    parts, total, extra = [hashlib.sha256(path.read_bytes()).hexdigest()], path.stat().st_size, 0
    metadata: dict[str, str] = {}
    names_in: dict[str, list[str]] = {}
    for name, shard in placed.items():
        names_in.setdefault(shard, []).append(name)
    for shard in shard_names(path, placed):
        checkpoint = read(path.with_name(shard))
        tensors = checkpoint.state
        parts.append(checkpoint.digest)
        metadata = {**checkpoint.metadata, **metadata}
        total += checkpoint.bytes
        wanted = names_in[shard]
        missing = [name for name in wanted if name not in tensors]
        if missing:
            raise NotACheckpointError(
                f"{path}: {shard} doesn't have {missing[0][:80]!r} and {len(missing) - 1} other tensors; copy it again"
            )
        extra += len(tensors) - len(wanted)
        state |= {name: tensors[name] for name in wanted}
    notes = [f"{len(set(placed.values()))} shards"]
    if extra:
        notes.append(f"left out: {extra} tensors in the shards that aren't in the index")
    ordered = {name: state[name] for name in placed}
    return Shards(ordered, whole_digest(parts), total, tuple(notes), tuple(parts), metadata)


def shard_names(path: Path, placed: Mapping[str, str] | None = None) -> list[str]:
    """Return the names of the shards in the index at `path`, files beside it. Raises NotACheckpointError."""
    names = sorted(set((placed or _weight_map(path)).values()))
    for shard in names:
        if not shard or Path(shard).name != shard or "\\" in shard or "\0" in shard or len(shard) > _LONGEST_NAME:
            raise NotACheckpointError(f"{path}: names a shard {shard[:80]!r} that is no file in its folder; damaged?")
    return names


def whole_digest(parts: Sequence[str]) -> str:
    """Return one SHA-256, in hex, over those of an index and its shards."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _weight_map(path: Path) -> dict[str, str]:
    if path.stat().st_size > _LARGEST_INDEX:
        raise NotACheckpointError(f"{path}: has over {_LARGEST_INDEX >> 20} MiB, too many for an index of shards")
    try:
        index: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise NotACheckpointError(f"{path}: no JSON, so no index of shards; copy or download it again") from error
    placed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(placed, dict) or not placed or not all(isinstance(shard, str) for shard in placed.values()):
        raise NotACheckpointError(f"{path}: isn't an index of shards (it has no weight_map from names to files)")
    return placed
