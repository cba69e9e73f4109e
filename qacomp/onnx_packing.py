"""The values of an ONNX model's tensors as a container holds them: shared, rounded as side information, or exact."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from qacomp.formats import BFLOAT16, SharedTensor, bfloat16_from_float32, bfloat16_to_float32, stored_values
from qacomp.onnx_graph.skeleton import Slot
from qacomp.onnx_graph.values import is_external
from qacomp.selection import Layer
from qacomp.sharing.kmeans import kmeans


@dataclass(frozen=True)
class Packed:
    """What the writer gets, and the precision of its codebooks or vector: a reader gets exactly these values.

    `kept`: why a tensor that was chosen isn't shared after all; `note`: a remark for the user.
    """

    value: NDArray[Any] | SharedTensor
    side: str = "exact"
    kept: str | None = None
    note: str | None = None

    def dense(self) -> NDArray[Any]:
        """The values that a reader gets."""
        return self.value.dense() if isinstance(self.value, SharedTensor) else self.value


@dataclass(frozen=True)
class Packer:
    """Packs slot after slot. `layers`: those to share, by name; `rounded`: names of the vectors that `side` rounds."""

    layers: Mapping[str, Layer]
    rounded: frozenset[str]
    side: str
    read: Callable[[TensorProto], memoryview]

    def __call__(self, slot: Slot) -> Packed:
        """Pack one tensor; reads it from the model, or from the file that holds its data."""
        array = slot.array(self.read(slot.site.tensor) if is_external(slot.site.tensor) else None)
        layer = self.layers.get(slot.name)
        if layer is not None:
            return _share(array, layer, self.side)
        if slot.name in self.rounded:
            return Packed(stored_values(array, self.side), self.side)
        return Packed(array)


def _share(array: NDArray[Any], layer: Layer, side: str) -> Packed:
    """Cluster one weight; one of at most K distinct values keeps each of them exactly, whatever `side` says."""
    values = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    if not np.isfinite(values).all():
        return Packed(array, kept=f"{layer.reason}, but it holds NaN or infinity: kept exactly")
    clustering = kmeans(values, layer.k)
    codebook: NDArray[Any] = clustering.codebook  # (K',) ascending
    note = None
    if codebook.size < layer.k:
        note = f"{layer.name[:80]}: {codebook.size} shared values instead of {layer.k}"
    if array.dtype == BFLOAT16:
        return Packed(SharedTensor(bfloat16_from_float32(codebook), clustering.indices), note=note)
    if not clustering.inertia:
        return Packed(SharedTensor(codebook, clustering.indices), note=note)
    return Packed(SharedTensor(stored_values(codebook, side), clustering.indices), side, note=note)
