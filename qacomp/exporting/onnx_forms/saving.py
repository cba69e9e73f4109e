"""Write ONNX files: one file, or weights in a second file beside it if the model exceeds protobuf's 2 GB."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, numpy_helper
from onnx.external_data_helper import set_external_data

from qacomp.errors import ExportError
from qacomp.exporting.onnx_options import LIMIT, Saved
from qacomp.formats.atomic import atomic_files
from qacomp.graphs.values import stored_bytes
from qacomp.graphs.walk import graphs
from qacomp.graphs.weightless import serialized, write_onnx

LEAST_EXTERNAL = 1024  # bytes; smaller constants stay in the graph, where shape inference reads them
_PAGE, _ALIGNED = 4096, 1 << 20  # tensors of 1 MiB or more begin at a page, so that they can be mapped


def save_onnx(
    path: Path, model: onnx.ModelProto, *, external: bool = False, limit: int = LIMIT, checked: bool = True
) -> Saved:
    """Write `model` to `path`, and check it with onnx's checker.

    external: write every initializer of a kilobyte or more to NAME.onnx.data beside it; this is always done if the
    constants take `limit` bytes or more. The model's tensors then lose their data. Both files appear whole or not at
    all. checked: False for a user's own graph, since onnxruntime runs many graphs that onnx's checker refuses.

    Raises:
        ExportError: the checker refuses the written model, or it can't be serialized.
        OutputNotWritableError: a path can't be written.
    """
    if not external and data_bytes(model) < limit:
        if checked:
            _check(model, path)
        return Saved(write_onnx(path, model), None)
    beside = path.with_name(path.name + ".data")
    with atomic_files(path, beside) as (part, part_beside):
        size = _write_data(part_beside, model) + part.write_bytes(serialized(model))
        if checked:
            _check(str(part), path)  # by path, so that it reads external data and accepts more than 2 GB
    return Saved(size, beside)


def _check(model: onnx.ModelProto | str, path: Path) -> None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ExportError(f"{path}: the ONNX checker refuses it: {' '.join(str(error).split())[:200]}") from error


def data_bytes(model: onnx.ModelProto) -> int:
    """Return the bytes of all initializers' data."""
    return sum(stored_bytes(tensor) for graph in graphs(model.graph) for tensor in graph.initializer)


def _write_data(path: Path, model: onnx.ModelProto) -> int:
    place = 0
    with path.open("wb") as stream:
        for graph in graphs(model.graph):
            for tensor in graph.initializer:
                if stored_bytes(tensor) < LEAST_EXTERNAL or tensor.data_type == TensorProto.STRING:
                    continue
                if not tensor.HasField("raw_data"):  # external data is raw by definition
                    tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor), tensor.name))
                data = tensor.raw_data
                start = -(-place // _PAGE) * _PAGE if len(data) >= _ALIGNED else place
                stream.write(bytes(start - place))
                stream.write(data)
                set_external_data(tensor, location=path.name, offset=start, length=len(data))
                tensor.ClearField("raw_data")
                place = start + len(data)
    return place
