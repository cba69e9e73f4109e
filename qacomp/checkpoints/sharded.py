"""Checkpoints in several files: the index (*.index.json) says which tensor stands in which shard beside it."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.errors import NotACheckpointError

if TYPE_CHECKING:
    from torch import Tensor

_LARGEST_INDEX = 256 << 20


@dataclass(frozen=True)
class Shards:
    """All tensors of the index in its order, the digest over index and shards, their bytes, and remarks."""

    state: "dict[str, Tensor]"
    digest: str
    bytes: int
    notes: tuple[str, ...]


def is_index(path: Path) -> bool:
    """Whether a file is an index, by its name."""
    return path.name.endswith(".index.json")


def load_shards(path: Path, read: "Callable[[Path], tuple[dict[str, Tensor], str, int]]") -> Shards:
    """Read the shards that the index at `path` names; `read` gives a file's tensors, its digest and its bytes.

    Raises NotACheckpointError for a malformed index, and for tensors or shards that are missing or lie elsewhere.
    """
    placed = _weight_map(path)
    state: dict[str, Tensor] = {}
    digests, total, extra = [hashlib.sha256(path.read_bytes()).hexdigest()], path.stat().st_size, 0
    for shard in sorted(set(placed.values())):
        if not shard or Path(shard).name != shard or "\\" in shard:
            raise NotACheckpointError(f"{path}: names a shard {shard!r} outside its folder; refused")
        tensors, digest, size = read(path.with_name(shard))
        digests.append(digest)
        total += size
        wanted = [name for name, where in placed.items() if where == shard]
        missing = [name for name in wanted if name not in tensors]
        if missing:
            raise NotACheckpointError(
                f"{path}: {shard} lacks {missing[0]!r} and {len(missing) - 1} more; copy it again"
            )
        extra += len(tensors) - len(wanted)
        state |= {name: tensors[name] for name in wanted}
    notes = [f"{len(set(placed.values()))} shards"]
    if extra:
        notes.append(f"left out: {extra} tensors of the shards that the index doesn't name")
    ordered = {name: state[name] for name in placed}
    return Shards(ordered, hashlib.sha256("\n".join(digests).encode()).hexdigest(), total, tuple(notes))


def _weight_map(path: Path) -> dict[str, str]:
    if path.stat().st_size > _LARGEST_INDEX:
        raise NotACheckpointError(f"{path}: too large for an index of shards")
    try:
        index: Any = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise NotACheckpointError(f"{path}: no JSON; an index of shards is needed here") from error
    placed = index.get("weight_map") if isinstance(index, dict) else None
    if not isinstance(placed, dict) or not placed or not all(isinstance(shard, str) for shard in placed.values()):
        raise NotACheckpointError(f"{path}: no index of shards (it has no weight_map of names to files)")
    return placed
