"""Strip the weights from a network's graph for the container, and attach them again. Doesn't need torch."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from qacomp.errors import ExportError, FormatError
from qacomp.formats.atomic import write_atomically
from qacomp.graphs.skeleton import parse
from qacomp.graphs.values import DATA_FIELDS
from qacomp.graphs.walk import sites


def strip_weights(model: onnx.ModelProto, names: Collection[str]) -> bytes:
    """Serialize `model` without the data of the named initializers; they keep name, dtype and shape.

    The bytes depend only on the model and the names.

    Raises:
        ExportError: a name isn't an initializer of the graph.
    """
    wanted = set(names)
    unknown = sorted(wanted - {t.name for t in model.graph.initializer})
    if unknown:
        raise ExportError(f"the graph has no initializer {unknown[0]!r}; give names from initializer_names(model)")
    stripped = onnx.ModelProto()
    for field, value in model.ListFields():
        if field.name != "graph":  # the graph is copied field by field, so that its weights aren't copied
            _copy_field(stripped, field.name, value)
    for field, value in model.graph.ListFields():
        if field.name != "initializer":
            _copy_field(stripped.graph, field.name, value)
    for t in model.graph.initializer:
        if t.name in wanted:
            stripped.graph.initializer.add(name=t.name, data_type=t.data_type, dims=t.dims)
        else:
            stripped.graph.initializer.append(t)
    data: bytes = stripped.SerializeToString(deterministic=True)
    return data


def _copy_field(message: object, name: str, value: object) -> None:
    if hasattr(value, "extend"):
        getattr(message, name).extend(value)
    else:
        setattr(message, name, value)


def initializer_names(model: onnx.ModelProto) -> list[str]:
    """Return the names of all initializers: weights with their state-dict names, and constants of the graph."""
    return [t.name for t in model.graph.initializer]


def attach_weights(
    graph: bytes, tensors: Mapping[str, np.ndarray], *, ignore_extra: bool = False, source: str = "the graph"
) -> onnx.ModelProto:
    """Fill the empty initializers of a graph with tensors; the inverse of `strip_weights`.

    Args:
        graph: the bytes of `strip_weights`; they may come from an untrusted file.
        tensors: arrays by name of initializer, with the dtypes and shapes that the graph declares.
        ignore_extra: accept tensors that aren't in the graph (unused parameters of a network).
        source: name of the graph in errors, usually the container's path.

    Raises:
        FormatError: the bytes aren't a valid ONNX graph, or refer to data outside the file.
        ExportError: a tensor is missing, isn't in the graph, or has another dtype or shape.
    """
    model = _parse(graph, source)
    empty = {t.name: t for t in model.graph.initializer if _is_empty(t)}
    missing = [name for name in empty if name not in tensors and math.prod(empty[name].dims)]
    if missing:
        raise ExportError(
            f"{source}: no tensor for {_list(missing)}; the container must hold every weight of its graph"
        )
    extra = [name for name in tensors if name not in empty]
    if extra and not ignore_extra:
        raise ExportError(f"{source}: the graph has no empty initializer {_list(extra)}; give only the graph's weights")
    for name, tensor in empty.items():
        if name in tensors:
            _fill(tensor, tensors[name], source)
    _check(model, source)
    return model


def _parse(graph: bytes, source: str) -> onnx.ModelProto:
    model = parse(graph, source)
    if not model.graph.node and not model.graph.output:
        raise FormatError(f"{source}: has no ONNX graph; the file is damaged, or it holds weights only")
    names = [t.name for t in model.graph.initializer]
    if len(set(names)) != len(names):
        raise FormatError(f"{source}: two initializers of the graph have the same name; the file is damaged")
    for site in sites(model):
        t = site.tensor
        if t.external_data or t.data_location == onnx.TensorProto.EXTERNAL:
            raise FormatError(f"{source}: tensor {t.name!r} refers to data in another file; the file is damaged")
        if any(d < 0 for d in t.dims):
            raise FormatError(f"{source}: tensor {t.name!r} has a negative dimension; the file is damaged")
    return model


def _is_empty(t: onnx.TensorProto) -> bool:
    return not any(len(getattr(t, field)) for field in DATA_FIELDS)


def _fill(tensor: onnx.TensorProto, array: np.ndarray, source: str) -> None:
    array = np.asarray(array)
    if array.shape != tuple(tensor.dims):
        raise ExportError(
            f"{source}: tensor {tensor.name!r} has shape {array.shape}, but the graph declares {tuple(tensor.dims)}"
        )
    try:
        wanted = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
    except (KeyError, ValueError) as e:
        raise FormatError(
            f"{source}: initializer {tensor.name!r} has the unknown dtype {tensor.data_type}; the file is damaged"
        ) from e
    if array.dtype != wanted:
        raise ExportError(f"{source}: tensor {tensor.name!r} is {array.dtype}, but the graph declares {wanted}")
    tensor.raw_data = numpy_helper.from_array(np.ascontiguousarray(array).reshape(array.shape)).raw_data


def _check(model: onnx.ModelProto, source: str) -> None:
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError, TypeError) as e:
        raise FormatError(f"{source}: the ONNX checker refuses the graph ({_line(e)}); the file is damaged") from e


def write_onnx(path: str | os.PathLike[str], model: onnx.ModelProto) -> int:
    """Write `model` to `path`, whole or not at all, and return the number of bytes.

    Raises:
        ExportError: the model is 2 GB or more, which one protobuf file can't hold.
        OutputNotWritableError: the path can't be written.
    """
    return write_atomically(path, [serialized(model)])


def serialized(model: onnx.ModelProto) -> bytes:
    """Serialize a model. Raises ExportError if it has 2 GB or more, the limit of a protobuf message."""
    try:
        data: bytes = model.SerializeToString(deterministic=True)
    except Exception as e:
        raise ExportError(f"the ONNX model can't be serialized ({_line(e)}); decode to safetensors instead") from e
    return data


def _line(e: BaseException) -> str:
    text = " ".join(str(e).split())
    return text[:200] or type(e).__name__


def _list(names: Collection[str]) -> str:
    shown = [repr(n) for n in list(names)[:5]]
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
