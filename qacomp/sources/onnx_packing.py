"""The values of an ONNX model's tensors as a container holds them: shared, rounded, or exact."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from onnx import TensorProto

from qacomp.formats import stored_values
from qacomp.graphs.skeleton import Slot
from qacomp.graphs.values import is_external
from qacomp.sharing.nested_arrays import share_nested
from qacomp.sharing.selection import Layer
from qacomp.sharing.share import Packed, share_array


@dataclass(frozen=True)
class Packer:
    """Packs slot after slot. `layers`: those to share, by name; `rounded`: names of the vectors to round.

    `levels`: shared values of each level of a progressive container, ascending; None: one level.
    """

    layers: Mapping[str, Layer]
    rounded: frozenset[str]
    codebook: str
    precision: str
    rounding: str
    read: Callable[[TensorProto], memoryview]
    levels: tuple[int, ...] | None = None

    def __call__(self, slot: Slot) -> Packed:
        """Pack one tensor; reads it from the model, or from the file that holds its data."""
        array = slot.array(self.read(slot.site.tensor) if is_external(slot.site.tensor) else None)
        layer = self.layers.get(slot.name)
        if layer is not None and self.levels is not None:
            return share_nested(array, layer, self.levels, self.precision)
        if layer is not None:
            return share_array(array, layer, self.codebook, self.precision, self.rounding)
        if slot.name in self.rounded:
            return Packed(stored_values(array, self.precision), self.precision)
        return Packed(array)
