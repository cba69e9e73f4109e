"""Read the external data of ONNX models, one tensor at a time, and only from the folder of the model."""

from __future__ import annotations

import hashlib
import mmap
from pathlib import Path

from onnx import TensorProto

from qacomp.errors import CheckpointError
from qacomp.graphs.values import DTYPES, count

_CHUNK = 1 << 20


class ExternalFiles:
    """The files beside a model that hold its tensors; each one is mapped into memory on first use."""

    def __init__(self, model_path: Path) -> None:
        self.model_path = model_path
        self._maps: dict[str, mmap.mmap | bytes] = {}

    def read(self, tensor: TensorProto) -> memoryview:
        """Return the bytes of one external tensor. Raises CheckpointError if they are missing or in another folder."""
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
                f"{self.model_path}: tensor {name!r} is at bytes {offset} to {offset + length} of {where!r}, which has "
                f"only {len(data)}; truncated? Copy it again"
            )
        return memoryview(data)[offset : offset + length]

    @property
    def total_bytes(self) -> int:
        """Return the size in bytes of all files that were read so far."""
        return sum(len(data) for data in self._maps.values())

    def digests(self) -> list[str]:
        """Return the SHA-256, in hex, of each file that was read so far, in the order of their names."""
        return list(self.named_digests().values())

    def named_digests(self) -> dict[str, str]:
        """Map the name of each file that was read so far to its SHA-256 in hex, in the order of the names."""
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
            f"{self.model_path}: tensor {name!r} has its data in {where!r}, outside the model's folder, which is "
            "refused; put the file itself (not a link) beside the model"
        )
        if not where or "\0" in where or inside.is_absolute() or ".." in inside.parts:
            raise outside
        path = (folder / inside).resolve()
        if not path.is_relative_to(folder):  # a link that leads out
            raise outside
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{self.model_path}: tensor {name!r} has its data in {where!r}, which isn't a file")
        return path


def _number(name: str, text: str) -> int:
    value = int(text) if text.isdecimal() and len(text) < 20 else -1
    if value < 0:
        raise CheckpointError(f"tensor {name!r}: {text!r} isn't an offset or length in a file; the model is damaged")
    return value
