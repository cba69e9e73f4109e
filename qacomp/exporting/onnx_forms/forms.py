"""In which form each tensor of a container stands in an exported ONNX file, and why."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

MODES = ("dense", "lut", "affine")


@dataclass(frozen=True)
class TensorForm:
    """One tensor: `form` is dense, lut or affine; `detail` says how (uint4 indices, int4 in blocks of 32 ...).

    bytes: of everything that the file holds for this tensor alone; dense_bytes: of its dense data. `reason`: why it
    isn't in the form that was asked for, or None. `max_abs_error`: how far its values are from the container's.
    """

    name: str
    shape: tuple[int, ...]
    form: str
    detail: str
    bytes: int
    dense_bytes: int
    reason: str | None = None
    max_abs_error: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """For `decode --json`."""
        return asdict(self) | {"shape": list(self.shape)}
