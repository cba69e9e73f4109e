"""Write and read qacomp's own checkpoints: plain dicts that torch loads with weights_only=True.

{"qacomp": {"version": 1, "arch": ..., "num_classes": ..., "preprocessing": {...}, "data": ..., "pruned": ...,
 "activations": ..., "extra": {...}}, "state_dict": {name: tensor}}
"""

import io
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.datasets.named import NamedData
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import CheckpointError
from qacomp.formats.atomic import write_atomically

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1


@dataclass(frozen=True)
class Origin:
    """The facts in a qacomp checkpoint besides its tensors, as read from a file; None for what it doesn't record.

    pruned, activations: see CheckpointFacts; own: the module:Class that was trained. A file can't make qacomp import
    it, so it is no `arch`.
    """

    arch: str | None
    num_classes: int | None
    preprocessing: Preprocessing | None
    data: NamedData | None
    pruned: bool = False
    activations: int | None = None
    own: str | None = None


@dataclass(frozen=True)
class CheckpointFacts:
    """The facts to write into a qacomp checkpoint besides its tensors. data: the user's data spec.

    pruned: the network has dead channels, which compress removes; activations: bits of its quantized ReLUs, None: none
    are quantized; extra: plain values (None, bool, int, float, str, and lists and dicts of them).
    """

    arch: str | None = None
    num_classes: int | None = None
    preprocessing: Preprocessing | None = None
    data: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)
    pruned: bool = False
    activations: int | None = None


def write_checkpoint(path: str | Path, model_state: "Mapping[str, Tensor]", facts: CheckpointFacts) -> None:
    """Write a checkpoint with its tensors, architecture, input preprocessing and data spec.

    The same values give the same bytes for every path: torch.save would write the path's name into the file, so it
    writes to a buffer. Raises CheckpointError if `facts.extra` holds a value that isn't plain, and
    OutputNotWritableError; the file is written whole or not at all.
    """
    import torch

    header = {
        "version": VERSION,
        "arch": facts.arch,
        "num_classes": facts.num_classes,
        "preprocessing": None if facts.preprocessing is None else facts.preprocessing.to_dict(),
        "data": facts.data,
        **({"pruned": True} if facts.pruned else {}),
        **({} if facts.activations is None else {"activations": facts.activations}),
        "extra": _plain("extra", dict(facts.extra)),
    }
    # Copies, since torch.save writes the whole storage of a view, and tensors that share memory would share it.
    state = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in model_state.items()}
    buffer = io.BytesIO()
    torch.save({"qacomp": header, "state_dict": state}, buffer)
    write_atomically(Path(path), [buffer.getbuffer()])


def read_origin(path: Path, header: Any) -> Origin:
    """Read the "qacomp" entry. Raises CheckpointError if it is malformed or of a newer version."""
    if not isinstance(header, Mapping) or not isinstance(header.get("version"), int):
        raise CheckpointError(f"{path}: its qacomp entry has no version; damaged?")
    if header["version"] > VERSION:
        told = reprlib.repr(header["version"])
        raise CheckpointError(
            f"{path}: written by a newer qacomp (checkpoint version {told}, this one reads {VERSION}); update qacomp"
        )
    num_classes = _field(path, header, "num_classes", int)
    if num_classes is not None and not 2 <= num_classes < 1 << 31:
        raise CheckpointError(f"{path}: claims {reprlib.repr(num_classes)} classes; damaged?")
    try:
        stored = header.get("preprocessing")
        preprocessing = None if stored is None else Preprocessing.from_dict(stored)
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    arch, activations = _field(path, header, "arch", str), _field(path, header, "activations", int)
    if activations is not None and not 1 <= activations <= 8:
        raise CheckpointError(f"{path}: claims activations of {reprlib.repr(activations)} bits; damaged?")
    own = arch if arch is not None and ":" in arch else None
    data = NamedData.told(_field(path, header, "data", str))
    pruned = header.get("pruned") is True
    return Origin(None if own else arch, num_classes, preprocessing, data, pruned, activations, own)


def _field(path: Path, header: Mapping[str, Any], name: str, kind: type) -> Any:
    value = header.get(name)
    if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
        raise CheckpointError(
            f"{path}: its field {name} is {reprlib.repr(value)[:80]}, not a {kind.__name__}; damaged?"
        )
    return value


def _plain(name: str, value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, list | tuple):
        return [_plain(f"{name}[{index}]", entry) for index, entry in enumerate(value)]
    if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
        return {key: _plain(f"{name}.{key}", entry) for key, entry in value.items()}
    raise CheckpointError(f"{name} is a {type(value).__name__}; a checkpoint can hold plain values only")
