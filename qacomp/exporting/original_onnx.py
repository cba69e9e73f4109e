"""Restore the original ONNX model of a container; only the values of its weights differ."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto

from qacomp.formats import BFLOAT16, Container, bfloat16_to_float32
from qacomp.formats.atomic import atomic_files, write_atomically
from qacomp.graphs.reading import read_onnx
from qacomp.graphs.skeleton import Slot, fill, parse, reference, references
from qacomp.graphs.values import is_external
from qacomp.graphs.walk import sites
from qacomp.runtime.comparison import largest_difference

LARGEST_FILE = 2_000_000_000  # bytes; the limit of a protobuf message is 2 GiB
_ALIGNMENT = 4096  # bytes; tensors in an external file begin at a page, so that they can be mapped


def write_original(
    container: Container, output: Path, level: int | None, largest: int = LARGEST_FILE
) -> tuple[Path, ...]:
    """Write the model at a level (None: the finest in the file) to `output`; return the paths of all written files.

    If it would be larger than `largest` bytes, its tensors go to OUTPUT.data beside it, one at a time, as external data
    of ONNX. Raises FormatError if the graph doesn't fit the container's tensors, and OutputNotWritableError.
    """
    graph, source = container.graph(), container.source
    assert graph is not None

    def values(name: str) -> NDArray[Any]:
        array: NDArray[Any] = container.tensor(name, level=level)
        return array

    model = parse(graph, source)
    if len(graph) + _bytes(container, model, source) <= largest:
        for site, name, field in references(model, source):
            fill(site.tensor, values(name), field, source)
        write_atomically(output, [model.SerializeToString(deterministic=True)])
        return (output,)
    beside = output.with_name(output.name + ".data")
    with atomic_files(output, beside) as (part, part_beside):
        _write_external(model, values, part_beside, source)
        part.write_bytes(model.SerializeToString(deterministic=True))
    return (output, beside)


def _bytes(container: Container, model: ModelProto, source: str) -> int:
    """Return the bytes of the model's dense tensors."""
    total = 0
    for _, name, _ in references(model, source):
        info = container.info(name)
        total += math.prod(info.shape) * np.dtype(info.dtype if info.dtype != "bfloat16" else "u2").itemsize
    return total


def _write_external(model: ModelProto, values: Callable[[str], NDArray[Any]], beside: Path, source: str) -> None:
    """Write the values to `beside`, and replace the references in `model` by their places in that file."""
    with beside.open("wb") as file:
        for site, name, _ in list(references(model, source)):
            checked = TensorProto(name=site.tensor.name, data_type=site.tensor.data_type, dims=site.tensor.dims)
            fill(checked, values(name), "raw_data", source)
            file.write(bytes(-file.tell() % _ALIGNMENT))
            offset = file.tell()
            file.write(checked.raw_data)
            tensor = site.tensor
            tensor.ClearField("external_data")
            tensor.data_location = TensorProto.EXTERNAL
            for key, value in (("location", beside.name), ("offset", offset), ("length", file.tell() - offset)):
                tensor.external_data.add(key=key, value=str(value))


def read_back_error(container: Container, output: Path, level: int | None) -> float:
    """Return the largest |difference| between the written model's tensors, read again, and the container's."""
    graph = container.graph()
    assert graph is not None
    written = read_onnx(output)
    skeleton = parse(graph, str(output))
    worst = 0.0
    for place, site in zip(sites(skeleton), sites(written.model), strict=True):
        name = reference(place.tensor)
        if name is not None:
            raw = written.external.read(site.tensor) if is_external(site.tensor) else None
            worst = max(worst, _difference(container.tensor(name, level=level), Slot(site, name).array(raw)))
    return worst


def _difference(a: NDArray[Any], b: NDArray[Any]) -> float:
    """Return the largest |a − b|; infinity if shapes or dtypes differ."""
    if a.shape != b.shape or a.dtype != b.dtype:
        return math.inf
    if a.dtype == BFLOAT16:
        a, b = bfloat16_to_float32(a), bfloat16_to_float32(b)
    return largest_difference(a, b)
