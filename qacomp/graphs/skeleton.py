"""Separate a graph from its tensors, and join the two again.

A tensor that goes into the container is replaced by a reference: data location EXTERNAL with an entry `qacomp`, the
name of the tensor in the container, and an entry for the field that held its values. Nothing else in the model changes,
so the joined graph is the original one. Doesn't need torch.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from qacomp.errors import FormatError
from qacomp.graphs.values import DATA_FIELDS, DTYPES, array_of, data_field, is_external, put_values, stored_bytes
from qacomp.graphs.walk import Site, sites

REFERENCE = "qacomp"
_FIELD, _SPELLED = "field", "location"  # keys; the second if data_location was set explicitly to its default
_KEPT_BELOW = 64  # bytes; smaller tensors take less in the graph than as a tensor of the container
_LONGEST_NAME = 32_768


@dataclass(frozen=True)
class Slot:
    """A tensor of the graph that goes into the container; name: its name there."""

    site: Site
    name: str

    def array(self, raw: memoryview | None) -> NDArray[Any]:
        """Return its values; for element types that the container lacks, their bytes as uint8 (bytes,).

        raw: the bytes of an external tensor, else None.
        """
        tensor = self.site.tensor
        if tensor.data_type in DTYPES:
            return array_of(tensor, raw)
        return np.frombuffer(tensor.raw_data if raw is None else raw, np.uint8)


def slots(found: list[Site]) -> list[Slot]:
    """Return the tensors to take out of the graph: all except small ones, strings, and rare types in typed fields.

    They keep their names. A name of several tensors gets a number, and the end of a name above 32 KiB becomes a digest.
    """
    outside = [s for s in found if _is_outside(s.tensor)]
    labels = [_short(site.label or "tensor") for site in outside]
    times, numbers = Counter(labels), Counter[str]()
    taken = {label for label, n in times.items() if n == 1}
    result = []
    for site, label in zip(outside, labels, strict=True):
        name = label
        while times[label] > 1 and (name == label or name in taken):
            numbers[label] += 1
            name = f"{label}#{numbers[label]}"
        taken.add(name)
        result.append(Slot(site, name))
    return result


def _is_outside(tensor: TensorProto) -> bool:
    if is_external(tensor):
        return True
    bytes_only = data_field(tensor) == "raw_data" and tensor.data_type not in (TensorProto.STRING, 0)
    return (tensor.data_type in DTYPES or bytes_only) and stored_bytes(tensor) >= _KEPT_BELOW


def empty(slot: Slot) -> None:
    """Replace the values of a slot's tensor by the reference, in place."""
    tensor = slot.site.tensor
    field = "raw_data" if is_external(tensor) else data_field(tensor)
    spelled = tensor.HasField("data_location") and not is_external(tensor)
    for name in (*DATA_FIELDS, "external_data"):
        tensor.ClearField(name)
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key=REFERENCE, value=slot.name)
    if field != "raw_data":
        tensor.external_data.add(key=_FIELD, value=field)
    if spelled:
        tensor.external_data.add(key=_SPELLED, value="")


def parse(graph: bytes, source: str) -> ModelProto:
    """Parse the bytes of a container's graph; its references stay. Raises FormatError."""
    model = ModelProto()
    try:
        model.ParseFromString(graph)
    except Exception as error:  # protobuf's error classes differ between its implementations
        raise FormatError(f"{source}: the ONNX graph can't be parsed; the file is damaged") from error
    return model


def reference(tensor: TensorProto) -> str | None:
    """Return the name in the container of a tensor that was taken out; None for any other tensor."""
    return next((entry.value for entry in tensor.external_data if entry.key == REFERENCE), None)


def references(model: ModelProto, source: str) -> Iterator[tuple[Site, str, str]]:
    """Yield (site, name in the container, field) of each tensor that is a reference.

    Raises FormatError if a tensor refers to another file, and if two tensors have the same reference: qacomp never
    writes that, and a small file could otherwise claim thousands of copies of a tensor.
    """
    seen: set[str] = set()
    for site in sites(model):
        tensor = site.tensor
        if not tensor.external_data and not is_external(tensor):
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        field = entries.get(_FIELD, "raw_data")
        if REFERENCE not in entries or field not in DATA_FIELDS or any(d < 0 for d in tensor.dims):
            raise FormatError(f"{source}: tensor {site.label[:80]!r} refers to data in another file; it is damaged")
        if entries[REFERENCE] in seen:
            raise FormatError(f"{source}: tensor {entries[REFERENCE][:80]!r} is in the graph twice; it is damaged")
        seen.add(entries[REFERENCE])
        yield site, entries[REFERENCE], field


def fill(tensor: TensorProto, array: NDArray[Any], field: str, source: str) -> None:
    """Replace a reference by values, in place. Raises FormatError if dtype or shape differ from the graph's."""
    wanted, bytes_only = DTYPES.get(tensor.data_type), tensor.data_type not in DTYPES
    fits = array.dtype == np.uint8 and array.ndim == 1 if bytes_only else array.dtype == wanted
    if not fits or (not bytes_only and array.shape != tuple(tensor.dims)):
        raise FormatError(
            f"{source}: tensor {tensor.name[:80]!r} is {array.dtype}{list(array.shape)}, but the graph declares "
            f"{wanted}{list(tensor.dims)}; the file is damaged"
        )
    if any(entry.key == _SPELLED for entry in tensor.external_data):
        tensor.data_location = TensorProto.DEFAULT
    else:
        tensor.ClearField("data_location")
    tensor.ClearField("external_data")
    put_values(tensor, array, field)


def filled(tensor: TensorProto, array: Callable[[], NDArray[Any]], source: str) -> TensorProto:
    """Return the tensor itself or, for a reference, a copy with the values of `array`. Raises as `fill` does."""
    if reference(tensor) is None:
        return tensor
    twin = TensorProto()
    twin.CopyFrom(tensor)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    fill(twin, array(), entries.get(_FIELD, "raw_data"), source)
    return twin


def join(graph: bytes, tensor_of: Callable[[str], NDArray[Any]], source: str) -> ModelProto:
    """Return the whole model of a graph with references; tensor_of: returns a tensor of the container by name."""
    model = parse(graph, source)
    for site, name, field in references(model, source):
        fill(site.tensor, tensor_of(name), field, source)
    return model


def _short(name: str) -> str:
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{name[:64]}...{digest}"
