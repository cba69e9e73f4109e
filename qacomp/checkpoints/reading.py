"""Read a checkpoint of any kind with one function."""

import hashlib
import stat
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.checkpoints.archives import NOTES, archive_kind, load_archive
from qacomp.checkpoints.checkpoint import Checkpoint
from qacomp.checkpoints.qacomp_file import Origin, read_origin
from qacomp.checkpoints.recognition import recognize
from qacomp.checkpoints.safetensors_file import load_safetensors
from qacomp.checkpoints.sharded import is_index, load_shards
from qacomp.checkpoints.stored import Stored, described_tensors
from qacomp.checkpoints.tensors import dense_state
from qacomp.checkpoints.torch_file import load_trusted, opened_torch
from qacomp.checkpoints.unwrapping import EVERYTHING, unwrap
from qacomp.checkpoints.views import Untaken
from qacomp.errors import CheckpointError, NotACheckpointError
from qacomp.extras import needing_torch
from qacomp.formats.system_errors import advice, words
from qacomp.tensors.safetensors_metadata import bounded

if TYPE_CHECKING:
    from torch import Tensor, nn


@needing_torch("read_checkpoint")
def read_checkpoint(path: str | Path, *, trust_pickle: bool = False, key: str | None = None) -> Checkpoint:
    """Read a state dict from a file; its kind is recognised by its content.

    Kinds are torch.save's formats (new and old, nested or with prefixes), safetensors, TorchScript and torch.export
    archives, and shards, given by their index (*.index.json).

    key: dotted key of the weights in a file with several networks; "." means all tensors. trust_pickle: unpickle with
    torch, which runs the file's code; a pickled nn.Module is then returned too. Without it no code of the file runs.
    Raises NotACheckpointError (the file is missing, empty, truncated or not a checkpoint), UnsafePickleError (it needs
    classes), CheckpointError (sparse or meta tensors, or tensors far larger than the file), and
    AmbiguousCheckpointError (several networks, or no tensors under `key`).
    """
    path = Path(path)
    metadata: dict[str, str] = {}
    notes: tuple[str, ...] = ()
    size = _regular_size(path)
    try:
        if is_index(path):
            shards = load_shards(path, _read_shard)
            whole = unwrap(path, shards.state, key)
            checked = dense_state(path, whole.state, shards.bytes)
            notes = shards.notes + whole.notes
            checkpoint = _weights_only(path, "sharded", checked, shards.digest, shards.bytes, notes)
            return replace(checkpoint, metadata=shards.metadata, parts=shards.parts)
        with path.open("rb") as file:
            form = recognize(path, file, size)
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            file.seek(0)
            archive = archive_kind(path, file) if form == "zip" else None
            if archive is not None:
                state = load_archive(path, file, archive, size)
                notes = (NOTES[archive],)
                if key is not None:
                    unwrapped = unwrap(path, state, key)
                    state, notes = unwrapped.state, (*notes, *unwrapped.notes)
                return _weights_only(path, archive, dense_state(path, state, size), digest, size, notes)
            if form == "safetensors":
                loaded, told = load_safetensors(path)
                metadata, notes = bounded(told)
                found = _found(path, loaded, None, size, key)
            elif trust_pickle:
                found = _found(path, load_trusted(path, file), None, size, key)
            else:
                with opened_torch(path, file, form, size) as described:
                    found = _found(path, described.value, described.stored, size, key)
    except OSError as error:
        raise NotACheckpointError(f"{path}: can't be read ({words(error)}); {advice(error)}") from error
    own = found.own and form != "safetensors"
    return Checkpoint(
        path=path,
        kind="qacomp" if own else "safetensors" if form == "safetensors" else "state_dict",
        state=found.state,
        arch=found.origin.arch,
        num_classes=found.origin.num_classes,
        preprocessing=found.origin.preprocessing,
        data=found.origin.data,
        digest=digest,
        bytes=size,
        notes=_network_named(found.origin) if own else found.notes + notes,
        module=found.module,
        metadata=metadata,
        pruned=found.origin.pruned,
        activations=found.origin.activations,
    )


@dataclass(frozen=True)
class _Content:
    """The weights in a file's object; origin: the facts of a qacomp checkpoint; own: whether it is one."""

    state: "dict[str, Tensor]"
    notes: tuple[str, ...]
    origin: Origin
    own: bool
    module: "nn.Module | None"


def _found(path: Path, loaded: Any, stored: Stored | None, size: int, key: str | None) -> _Content:
    """Find the weights in an object and read them; stored: where their bytes are, None if the object holds tensors."""
    origin, own = Origin(None, None, None, None), _is_own(loaded)
    if own:
        origin = read_origin(path, loaded["qacomp"])
        loaded = {"state_dict": loaded["state_dict"]}
    found = unwrap(path, loaded, key)
    for name, tensor in found.state.items():
        if isinstance(tensor, Untaken):
            raise CheckpointError(
                f"{path}: tensor {name[:80]} is {tensor.kind}; only dense tensors can be compressed: convert it, and "
                "save the state dict again"
            )
    tensors = found.state if stored is None else described_tensors(path, found.state, stored, size)
    return _Content(dense_state(path, tensors, size), found.notes, origin, own, found.module)


def _network_named(origin: Origin) -> tuple[str, ...]:
    """Return a note that names a network of the user's own, which only the user can make qacomp import."""
    return () if origin.own is None else (f"trained as --arch {origin.own[:200]}",)


def _read_shard(path: Path) -> Checkpoint:
    """Read a shard with its tensors under their own names, without executing code."""
    return read_checkpoint(path, key=EVERYTHING)


def _weights_only(
    path: Path, kind: str, state: "dict[str, Tensor]", digest: str, size: int, notes: tuple[str, ...]
) -> Checkpoint:
    return Checkpoint(path, kind, state, None, None, None, None, digest, size, notes)


def _is_own(loaded: Any) -> bool:
    return isinstance(loaded, Mapping) and "qacomp" in loaded and "state_dict" in loaded


def _regular_size(path: Path) -> int:
    """Return the size of a regular file in bytes. Raises NotACheckpointError, also for a pipe, which would hang."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = "does not exist" if isinstance(error, FileNotFoundError) else f"can't be read ({error})"
        raise NotACheckpointError(f"{path} {reason}") from error
    if stat.S_ISDIR(status.st_mode):
        raise NotACheckpointError(f"{path} is a folder; give the checkpoint file in it")
    if not stat.S_ISREG(status.st_mode):
        raise NotACheckpointError(f"{path} isn't a regular file; save its contents to a file and give that")
    if status.st_size == 0:
        raise NotACheckpointError(f"{path} is empty; copy or download it again")
    return status.st_size
