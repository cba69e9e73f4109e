"""The size of a source in bytes, as it came and in fp32. Compression ratios refer to the size as it came."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from torch import Tensor

    from qacomp.graphs.reading import OnnxFile

_MOST = 1 << 60  # bytes: larger than any real source; larger figures in metadata are invalid


@dataclass(frozen=True)
class SourceSize:
    """`bytes`: size of all tensors of all shards in their own dtypes, tied tensors once; an ONNX model's file size.

    Other contents of a checkpoint (optimizer states, left-out tensors) don't count. `fp32`: size in bytes that the
    floating-point values take in fp32.
    """

    bytes: int
    fp32: int

    @classmethod
    def of_state(cls, state: "Mapping[str, Tensor]") -> Self:
        """Return the size of a checkpoint's tensors."""
        from qacomp.models.weight_places import tied_tensors

        tied = tied_tensors(dict(state))
        once = [tensor for name, tensor in state.items() if name not in tied]
        return cls(sum(t.numel() * t.itemsize for t in once), sum(4 * t.numel() for t in once if t.is_floating_point()))

    @classmethod
    def of_onnx(cls, source: "OnnxFile", fp32: int) -> Self:
        """Return the size of an ONNX model's files; its floating-point values take `fp32` bytes in fp32."""
        return cls(source.bytes + source.external.total_bytes, fp32)

    @classmethod
    def told(cls, meta: Mapping[str, Any], fp32: int) -> Self:
        """Return the source's size that a container's metadata give; missing or invalid figures fall back to `fp32`."""
        origin = meta.get("source")
        origin = origin if isinstance(origin, Mapping) else {}
        own = _count(origin.get("fp32_bytes")) or fp32
        return cls(_count(origin.get("tensor_bytes")) or _count(origin.get("bytes")) or own, own)

    def to_meta(self) -> dict[str, int]:
        """Return the entries that record this size in a container's metadata."""
        return {"tensor_bytes": self.bytes, "fp32_bytes": self.fp32}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST else None
