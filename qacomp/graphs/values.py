"""Convert the values of a TensorProto to a numpy array and back, into the field that held them.

Unlike onnx's own functions, these keep bfloat16, copy values at most once, and check sizes before they allocate.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from qacomp.errors import CheckpointError
from qacomp.formats import BFLOAT16
from qacomp.formats.limits import MAX_DIMS

_MOST_VALUES = 1 << 58  # so that the bytes of any type fit in 64 bits
DTYPES: dict[int, np.dtype[Any]] = {
    TensorProto.FLOAT: np.dtype("<f4"),
    TensorProto.UINT8: np.dtype("u1"),
    TensorProto.INT8: np.dtype("i1"),
    TensorProto.UINT16: np.dtype("<u2"),
    TensorProto.INT16: np.dtype("<i2"),
    TensorProto.INT32: np.dtype("<i4"),
    TensorProto.INT64: np.dtype("<i8"),
    TensorProto.BOOL: np.dtype("?"),
    TensorProto.FLOAT16: np.dtype("<f2"),
    TensorProto.DOUBLE: np.dtype("<f8"),
    TensorProto.UINT32: np.dtype("<u4"),
    TensorProto.UINT64: np.dtype("<u8"),
    TensorProto.BFLOAT16: BFLOAT16,
}
"""The element types that a container supports. It has no strings, 4- and 8-bit floats, int4 and complex numbers."""

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.DOUBLE, TensorProto.BFLOAT16)
DATA_FIELDS = ("raw_data", "float_data", "int32_data", "int64_data", "double_data", "uint64_data", "string_data")
_TYPED: dict[int, tuple[str, np.dtype[Any]]] = {
    TensorProto.FLOAT: ("float_data", np.dtype("<f4")),
    TensorProto.DOUBLE: ("double_data", np.dtype("<f8")),
    TensorProto.INT64: ("int64_data", np.dtype("<i8")),
    TensorProto.UINT32: ("uint64_data", np.dtype("<u4")),
    TensorProto.UINT64: ("uint64_data", np.dtype("<u8")),
    TensorProto.FLOAT16: ("int32_data", np.dtype("<u2")),
    TensorProto.BFLOAT16: ("int32_data", np.dtype("<u2")),
}  # all other types are stored as plain integers in int32_data


def type_name(tensor: TensorProto) -> str:
    """Return the name of the element type, such as `float` or `string`, for messages."""
    return str(TensorProto.DataType.Name(tensor.data_type)).lower() if tensor.data_type in _KNOWN else "unknown"


_KNOWN = set(TensorProto.DataType.values())


def is_external(tensor: TensorProto) -> bool:
    """Return whether the values are in another file."""
    return bool(tensor.data_location == TensorProto.EXTERNAL)


def data_field(tensor: TensorProto) -> str:
    """Return the name of the field that holds the values; raw_data if no field is set."""
    return next((f for f in DATA_FIELDS if f != "raw_data" and len(getattr(tensor, f))), "raw_data")


def count(tensor: TensorProto) -> int:
    """Return the number of values of the tensor's shape. Raises CheckpointError for an invalid shape."""
    if len(tensor.dims) > MAX_DIMS:
        raise CheckpointError(f"tensor {_short(tensor.name)} has {len(tensor.dims)} axes, more than {MAX_DIMS}")
    if any(d < 0 for d in tensor.dims):
        raise CheckpointError(f"tensor {_short(tensor.name)} has a negative dimension; the file is damaged")
    if math.prod(d for d in tensor.dims if d) >= _MOST_VALUES:  # numpy refuses such a shape even with a zero in it
        raise CheckpointError(f"tensor {_short(tensor.name)} has the shape {list(tensor.dims)}; the file is damaged")
    return math.prod(tensor.dims)


def stored_bytes(tensor: TensorProto) -> int:
    """Return about how many bytes the values take in this message; for external values, those of the shape."""
    if tensor.HasField("raw_data"):
        return len(tensor.raw_data)
    dtype = DTYPES.get(tensor.data_type)
    return count(tensor) * (dtype.itemsize if dtype is not None else 1)


def array_of(tensor: TensorProto, raw: Any | None = None) -> NDArray[Any]:
    """Return the values in the tensor's shape; raw: bytes of an external tensor. Raises CheckpointError.

    The element type must be one of `DTYPES`. The array may be a read-only view of the bytes.
    """
    check_values(tensor, raw)
    dtype, field = DTYPES[tensor.data_type], data_field(tensor)
    if raw is None and field != "raw_data":
        _, kind = _TYPED.get(tensor.data_type, ("int32_data", dtype))
        array = np.array(getattr(tensor, field), dtype=np.int64 if field == "int32_data" else None).astype(kind)
        return array.view(dtype).reshape(tuple(tensor.dims))
    return np.frombuffer(tensor.raw_data if raw is None else raw, dtype).reshape(tuple(tensor.dims))


def check_values(tensor: TensorProto, raw: Any | None = None) -> None:
    """Raise CheckpointError unless the tensor, or `raw` if given, has as many values as the shape needs."""
    dtype, values, field = DTYPES[tensor.data_type], count(tensor), data_field(tensor)
    if raw is None and field != "raw_data":
        expected, _ = _TYPED.get(tensor.data_type, ("int32_data", dtype))
        held = getattr(tensor, field)
        if field != expected or len(held) != values:
            raise CheckpointError(
                f"tensor {_short(tensor.name)}: {len(held)} values in {field}, but {values} of {type_name(tensor)} "
                "are declared; the file is damaged"
            )
        return
    data = tensor.raw_data if raw is None else raw
    if len(data) != values * dtype.itemsize:
        raise CheckpointError(
            f"tensor {_short(tensor.name)}: {len(data)} bytes, but its shape {list(tensor.dims)} of "
            f"{type_name(tensor)} needs {values * dtype.itemsize}; the file is damaged"
        )


def put_values(tensor: TensorProto, array: NDArray[Any], field: str) -> None:
    """Store values in `field` of a tensor without values; the dtype must match the tensor's."""
    if field == "raw_data":
        tensor.raw_data = np.ascontiguousarray(array).tobytes()
        return
    _, kind = _TYPED.get(tensor.data_type, ("int32_data", array.dtype))
    flat = np.ascontiguousarray(array).reshape(-1)
    words = flat.view(np.uint8 if kind == np.bool_ else kind)  # protobuf doesn't accept bools as integers
    getattr(tensor, field).extend(words.tolist())


def _short(name: str) -> str:
    return repr(name if len(name) <= 80 else f"{name[:77]}...")
