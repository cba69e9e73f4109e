"""How large a source is: as it came, and in fp32. Ratios are against the first; the second is for comparison."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from torch import Tensor

    from qacomp.graphs import OnnxFile

_MOST = 1 << 60  # bytes: more than any source has


@dataclass(frozen=True)
class SourceSize:
    """`bytes`: of all tensors in their own dtypes, from all shards, tied ones once; of an ONNX model, of its files.

    What a checkpoint holds besides (optimizer states, left-out tensors) doesn't count. `fp32`: bytes of its
    floating-point values in fp32.
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
        """Return that of an ONNX model whose floating-point values take `fp32` bytes."""
        return cls(source.bytes + source.external.total_bytes, fp32)

    @classmethod
    def told(cls, meta: Mapping[str, Any], fp32: int) -> Self:
        """Return what a container's metadata tell; `fp32` where they tell nothing, or nonsense."""
        origin = meta.get("source")
        origin = origin if isinstance(origin, Mapping) else {}
        own = _count(origin.get("fp32_bytes")) or fp32
        return cls(_count(origin.get("tensor_bytes")) or _count(origin.get("bytes")) or own, own)

    def to_meta(self) -> dict[str, int]:
        """Return what a container's metadata say of it."""
        return {"tensor_bytes": self.bytes, "fp32_bytes": self.fp32}


def _count(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < _MOST else None
