"""The original ONNX model apart from its tensors, whole with all of them, and the values of each."""

from typing import Any

from onnx import ModelProto

from qacomp.graphs import OnnxSource
from qacomp.graphs.skeleton import Slot, empty, join, slots
from qacomp.graphs.walk import sites
from qacomp.sources.onnx_packing import Packer


class OriginalValues:
    """The original's own values by container name."""

    def __init__(self, source: OnnxSource, wanted: list[Slot]) -> None:
        self._packer = Packer({}, frozenset(), "tensor", "exact", "nearest", source.external.read)
        self._slots = {slot.name: slot for slot in wanted}

    def __call__(self, name: str) -> Any:
        """An array in the tensor's own dtype."""
        return self._packer(self._slots[name]).value


def skeleton(source: OnnxSource, wanted: list[Slot]) -> bytes:
    """The model with references in place of the tensors `wanted`; the source stays as it is."""
    model = type(source.model)()
    model.CopyFrom(source.model)
    for slot, twin in zip(wanted, slots(list(sites(model))), strict=True):
        empty(Slot(twin.site, slot.name))
    graph: bytes = model.SerializeToString(deterministic=True)
    return graph


def joined(source: OnnxSource, wanted: list[Slot]) -> ModelProto:
    """The original with all its data in it, as a model of its own."""
    return join(skeleton(source, wanted), OriginalValues(source, wanted), str(source.path))
