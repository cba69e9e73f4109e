"""The graph apart from its tensors, and the two joined again.

A tensor that a container holds leaves a reference in its place: data location EXTERNAL with the one entry qacomp = the
container's name for it, and the field that its values stood in. Everything else of the model stays as it was, so the
graph that comes back is the one that went in. Needs no torch.
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
_FIELD, _SPELLED = "field", "location"  # the second: DEFAULT, the default, stood in the file
_KEPT_BELOW = 64  # bytes: smaller tensors cost less in the graph than an entry in the container's header
_LONGEST_NAME = 32_768


@dataclass(frozen=True)
class Slot:
    """A tensor that goes into the container: where it stands, its container name, and how its values are read."""

    site: Site
    name: str

    def array(self, raw: memoryview | None) -> NDArray[Any]:
        """Return its values; those of element types that the container lacks as bytes, uint8 (bytes,)."""
        tensor = self.site.tensor
        if tensor.data_type in DTYPES:
            return array_of(tensor, raw)
        return np.frombuffer(tensor.raw_data if raw is None else raw, np.uint8)


def slots(found: list[Site]) -> list[Slot]:
    """Return what is taken out of the graph: all tensors but small ones, strings, and odd types in typed fields.

    Names are the tensors' own; those that several tensors bear get a number behind them, one beyond 32 KiB a digest.
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
    """Put the reference in the place of the values, in the model that the slot was found in."""
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
    """Parse a container's graph, references in place. Raises FormatError where the bytes are none."""
    model = ModelProto()
    try:
        model.ParseFromString(graph)
    except Exception as error:  # protobuf's error classes differ between its implementations
        raise FormatError(f"{source}: the ONNX graph can't be parsed; the file is damaged") from error
    return model


def reference(tensor: TensorProto) -> str | None:
    """Return the container's name for a tensor that was taken out, None for every other one."""
    return next((entry.value for entry in tensor.external_data if entry.key == REFERENCE), None)


def references(model: ModelProto, source: str) -> Iterator[tuple[Site, str, str]]:
    """Yield (site, container name, field) of each tensor to fill.

    Raises FormatError where one refers to another file, and where two are one tensor: each has its own name when it is
    taken out, and a small file could make thousands of one otherwise.
    """
    seen: set[str] = set()
    for site in sites(model):
        tensor = site.tensor
        if not tensor.external_data and not is_external(tensor):
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        field = entries.get(_FIELD, "raw_data")
        if REFERENCE not in entries or field not in DATA_FIELDS or any(d < 0 for d in tensor.dims):
            raise FormatError(f"{source}: tensor {site.label[:80]!r} refers to data in another file: refused")
        if entries[REFERENCE] in seen:
            raise FormatError(f"{source}: tensor {entries[REFERENCE][:80]!r} stands in the graph twice; it is damaged")
        seen.add(entries[REFERENCE])
        yield site, entries[REFERENCE], field


def fill(tensor: TensorProto, array: NDArray[Any], field: str, source: str) -> None:
    """Put the values in the place of the reference. Raises FormatError where they aren't what the graph declares."""
    wanted, bytes_only = DTYPES.get(tensor.data_type), tensor.data_type not in DTYPES
    fits = array.dtype == np.uint8 and array.ndim == 1 if bytes_only else array.dtype == wanted
    if not fits or (not bytes_only and array.shape != tuple(tensor.dims)):
        raise FormatError(
            f"{source}: tensor {tensor.name[:80]!r} is {array.dtype}{list(array.shape)}, the graph wants "
            f"{wanted}{list(tensor.dims)}: the file is damaged"
        )
    if any(entry.key == _SPELLED for entry in tensor.external_data):
        tensor.data_location = TensorProto.DEFAULT
    else:
        tensor.ClearField("data_location")
    tensor.ClearField("external_data")
    put_values(tensor, array, field)


def filled(tensor: TensorProto, array: Callable[[], NDArray[Any]], source: str) -> TensorProto:
    """Return the tensor itself, or of a reference a copy that holds the values of `array`. Raises as `fill` does."""
    if reference(tensor) is None:
        return tensor
    twin = TensorProto()
    twin.CopyFrom(tensor)
    entries = {entry.key: entry.value for entry in tensor.external_data}
    fill(twin, array(), entries.get(_FIELD, "raw_data"), source)
    return twin


def join(graph: bytes, tensor_of: Callable[[str], NDArray[Any]], source: str) -> ModelProto:
    """Return the whole model of a skeleton; `tensor_of` gives a container's tensors by name."""
    model = parse(graph, source)
    for site, name, field in references(model, source):
        fill(site.tensor, tensor_of(name), field, source)
    return model


def _short(name: str) -> str:
    if len(name.encode()) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()
    return f"{name[:64]}...{digest}"
