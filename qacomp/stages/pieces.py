"""Pack and code some neighbouring tensors of a large source as a piece: a small container that a worker writes.

A task holds references to tensors, not their values. See
`piece_files` for what it tells of them besides.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from secrets import token_hex
from typing import Any

from numpy.typing import NDArray

from qacomp.errors import WorkerError
from qacomp.formats import Coding, SharedTensor, Writer, stored_values
from qacomp.options.config import CompressConfig
from qacomp.rate.plain import on_grid_within
from qacomp.runtime.operator_error import weight_error
from qacomp.sharing.selection import Layer
from qacomp.sharing.share import Packed, in_own_dtype, kept_unless_smaller
from qacomp.stages.pack_weights import clustered
from qacomp.stages.piece_files import add_details
from qacomp.stages.rounded_files import read_rounded
from qacomp.version import VERSION

_VALUES = 1 << 22  # of a piece, unless it has one tensor: work of a second
MARKER = "seen.txt"
"""A file in the folder of the pieces: a worker that reads its token there has the same file system."""
_TENSORS = 256  # most of them in a piece


@dataclass(frozen=True)
class TensorTask:
    """One tensor. read: gives its values, in any process; layer: how it is shared, or None; vector: its precision.

    values: how many it has; rounded: a file of the values as they are shared, where they are known already.
    """

    name: str
    read: Callable[[], NDArray[Any]]
    values: int
    layer: Layer | None = None
    vector: str | None = None
    rounded: Path | None = None


@dataclass(frozen=True)
class PackingRules:
    """How tensors are packed and coded. error: of rate-aware sharing, Σ|w − ŵ|² / Σ|w|²; None for k-means."""

    config: CompressConfig
    error: float | None
    version: str = VERSION

    def shared(self, array: NDArray[Any], layer: Layer, rounded: Path | None = None) -> Packed:
        """Return a layer's values shared, or exact with the reason; rounded: a file of the shared values."""
        if self.error is None:
            return clustered(array, layer, self.config)
        if rounded is not None:
            held = in_own_dtype(read_rounded(rounded), array.dtype, self.config.stored_precision)
            return kept_unless_smaller(held, array, layer)
        item = on_grid_within(array, self.error, self.config.stored_precision)
        if isinstance(item, str):
            return Packed(array, kept=f"{layer.reason}, but {item}: kept exactly")
        return kept_unless_smaller(item, array, layer)


@dataclass(frozen=True)
class PieceTask:
    """The tensors of one piece. folder: where the worker writes it as `file`; None: it returns the bytes.

    token: what the folder's marker holds if the worker has the file system of the first process; see `write_piece`.
    """

    number: int
    tensors: tuple[TensorTask, ...]
    packing: PackingRules
    folder: Path | None = None
    token: str | None = None

    @property
    def file(self) -> str:
        """Return the name of its file."""
        return f"{self.number:07}.qac"

    @property
    def values(self) -> int:
        """Return the number of values of all its tensors."""
        return sum(tensor.values for tensor in self.tensors)

    def __str__(self) -> str:
        """Return the names of its tensors for a message."""
        more = f" and {len(self.tensors) - 1} tensors after it" if len(self.tensors) > 1 else ""
        return f"tensor {self.tensors[0].name[:80]}{more}"


def divided(tensors: Sequence[TensorTask]) -> list[tuple[TensorTask, ...]]:
    """Return the tensors in pieces: neighbours together up to about four million values, larger ones alone."""
    pieces: list[tuple[TensorTask, ...]] = []
    open_one: list[TensorTask] = []
    for tensor in tensors:
        full = sum(t.values for t in open_one) + tensor.values > _VALUES or len(open_one) == _TENSORS
        if open_one and full:
            pieces.append(tuple(open_one))
            open_one = []
        open_one.append(tensor)
    return [*pieces, tuple(open_one)] if open_one else pieces


def write_piece(task: PieceTask) -> bytes | str | None:
    """Pack, code and write one piece; a worker calls this. Raises WorkerError for a worker of another version.

    With a token: if the marker in the folder holds it, the piece is written there and its SHA-256 returned, in hex;
    else, and without a folder, the bytes of the piece are returned.
    """
    if task.packing.version != VERSION:
        raise WorkerError(f"a worker has qacomp {VERSION}, but {task.packing.version} is asked for; install the same")
    if task.folder is not None and task.token is None:
        _write(task, task.folder / task.file)
        return None
    with tempfile.TemporaryDirectory(prefix="qacomp-") as folder:
        path = Path(folder, task.file)
        _write(task, path)
        data = path.read_bytes()
    return sha256(data).hexdigest() if _written_there(task, data) else data


def _written_there(task: PieceTask, data: bytes) -> bool:
    """Write a piece into the folder of the first process, if this worker sees that folder; return whether it did."""
    if task.folder is None or task.token is None:
        return False
    try:
        with (task.folder / MARKER).open("rb") as marker:
            if marker.read(len(task.token) + 1) != task.token.encode():
                return False
        part = task.folder / f"{task.file}.{token_hex(8)}.part"  # a copy of the task may run at the same time
        part.write_bytes(data)
        part.replace(task.folder / task.file)
    except OSError:
        return False
    return True


def _write(task: PieceTask, path: Path) -> None:
    found: dict[str, Any] = {}
    with Writer(path, coding=Coding(task.packing.config.codecs), durable=False) as writer:
        for tensor in task.tensors:
            array = tensor.read()
            item = packed(array, tensor, task.packing)
            told: dict[str, Any] = {"kept": item.kept}
            if isinstance(item.value, SharedTensor):
                told["error"] = asdict(weight_error(array, item.value))
            del array
            writer.add(tensor.name, item.value, item.precision)
            del item
            found[tensor.name] = told
        add_details(writer, {name: told | found[name] for name, told in writer.details().items()})


def packed(array: NDArray[Any], tensor: TensorTask, packing: PackingRules) -> Packed:
    """Return a tensor as the container will hold it: shared, rounded, or exact."""
    if tensor.layer is not None:
        return packing.shared(array, tensor.layer, tensor.rounded)
    if tensor.vector is not None:
        return Packed(stored_values(array, tensor.vector), tensor.vector)
    return Packed(array)
