"""External data of ONNX models: where each tensor's bytes lie, read one tensor at a time, never outside the folder."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

from onnx import TensorProto

from qacomp.errors import CheckpointError
from qacomp.graphs.values import DTYPES, count

_CHUNK = 1 << 20


class ExternalFiles:
    """The files beside a model that hold its tensors; opened when first needed, mapped, closed by `close`."""

    def __init__(self, model_path: Path) -> None:
        self.model_path = model_path
        self._maps: dict[str, mmap.mmap | bytes] = {}

    def read(self, tensor: TensorProto) -> memoryview:
        """Return the bytes of one external tensor. Raises CheckpointError where they aren't there or lie elsewhere."""
        entries = {entry.key: entry.value for entry in tensor.external_data}
        name, where = tensor.name[:80], entries.get("location", "")
        data = self._mapped(name, where)
        offset = _number(name, entries.get("offset", "0"))
        dtype = DTYPES.get(tensor.data_type)
        length = _number(name, entries["length"]) if "length" in entries else None
        if length is None:
            length = len(data) - offset if dtype is None else count(tensor) * dtype.itemsize
        if length < 0 or offset + length > len(data):
            raise CheckpointError(
                f"{self.model_path}: tensor {name!r} lies at bytes {offset} to {offset + length} of {where}, which has "
                f"{len(data)}; truncated? Copy it again"
            )
        return memoryview(data)[offset : offset + length]

    @property
    def total_bytes(self) -> int:
        """Return the bytes of all files that were read so far."""
        return sum(len(data) for data in self._maps.values())

    def digests(self) -> list[str]:
        """Compute the SHA-256 of each file read so far, in the order of their names."""
        return list(self.named_digests().values())

    def named_digests(self) -> dict[str, str]:
        """Compute the name of each file read so far -> its SHA-256, in the order of the names."""
        found = {}
        for name, data in sorted(self._maps.items()):
            digest, view = hashlib.sha256(), memoryview(data)
            for start in range(0, len(view), _CHUNK):
                digest.update(view[start : start + _CHUNK])
            found[name] = digest.hexdigest()
        return found

    def _mapped(self, name: str, where: str) -> mmap.mmap | bytes:
        if where not in self._maps:
            path = self._place(name, where)
            try:
                with path.open("rb") as file:
                    size = path.stat().st_size
                    self._maps[where] = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
            except (OSError, ValueError) as error:
                missing = isinstance(error, FileNotFoundError)
                reason = "is missing" if missing else f"can't be read ({error})"
                raise CheckpointError(
                    f"{self.model_path}: tensor {name!r} has its data in {where!r}, which {reason}; "
                    "put it beside the model"
                ) from error
        return self._maps[where]

    def _place(self, name: str, where: str) -> Path:
        folder = self.model_path.parent.resolve()
        inside = Path(where)
        outside = CheckpointError(
            f"{self.model_path}: tensor {name!r} has its data in {where!r}, outside the model's folder; refused: "
            "put the file itself (no link) beside the model"
        )
        if not where or "\0" in where or inside.is_absolute() or ".." in inside.parts:
            raise outside
        path = (folder / inside).resolve()
        if not path.is_relative_to(folder):  # a link that leads out
            raise outside
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{self.model_path}: tensor {name!r} has its data in {where!r}, which is no file")
        return path


def _number(name: str, text: str) -> int:
    value = int(text) if text.isdecimal() and len(text) < 20 else -1
    if value < 0:
        raise CheckpointError(f"tensor {name!r}: external data at {text!r}: no place in a file; the model is damaged")
    return value
