"""Messages between a process and its child: a JSON header and raw buffers. Reading runs no code and checks all sizes.

A message is the length of the header (8 bytes, little-endian), the header, and the buffers, whose sizes the header
lists. Arrays of numbers are buffers; the header describes strings, lists and mappings of arrays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Part: TypeAlias = bytes | memoryview
LENGTH = 8  # bytes of the header's length
MOST_HEADER = 1 << 26  # bytes for names, shapes and strings of a model; far more than real ones need
_DTYPES = {np.dtype(code).str: np.dtype(code) for code in ("?", *"bBhHiIlLqQefd", "F", "D")}


class WireError(Exception):
    """The other process sent something that isn't a valid message."""


@dataclass(frozen=True)
class NoArray:
    """Stands for a value that can't be sent as an array: numpy lacks its element type. `text`: the name of its type."""

    text: str


def pack(header: Mapping[str, Any], values: Sequence[Any] = ()) -> list[Part]:
    """Return the parts of a message, to be written one after the other; values: see `described`.

    Raises WireError for a header of more than 64 MiB.
    """
    buffers: list[Part] = []
    described_values = [described(value, buffers) for value in values]
    sizes = [memoryview(buffer).nbytes for buffer in buffers]
    text = json.dumps({**header, "values": described_values, "sizes": sizes}).encode()
    if len(text) > MOST_HEADER:
        raise WireError("the names and strings of a message take more than 64 MiB")
    return [len(text).to_bytes(LENGTH, "little") + text, *buffers]


def described(value: Any, buffers: list[Part]) -> dict[str, Any]:
    """Return the header's description of a value; append the bytes of its arrays to `buffers`.

    A value is an array of numbers, booleans or strings, bytes, a string, a number, None, a list or a mapping of values.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return {"plain": value}
    if isinstance(value, bytes):
        buffers.append(value)
        return {"bytes": len(buffers) - 1}
    if isinstance(value, list | tuple):
        return {"list": [described(item, buffers) for item in value]}
    if isinstance(value, Mapping):
        return {"map": [[described(k, buffers), described(v, buffers)] for k, v in value.items()]}
    if isinstance(value, np.ndarray | np.generic):
        array = np.asarray(value)
        if array.dtype.kind in "OUS":
            return {"strings": [_text(item) for item in array.reshape(-1).tolist()], "shape": list(array.shape)}
        if array.dtype.kind == "V" and array.dtype.fields is None and array.dtype.itemsize <= 2:  # bfloat16, float8
            array = np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}")
        if array.dtype.newbyteorder("<").str in _DTYPES:
            plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
            buffers.append(plain.reshape(-1).view(np.uint8).data)
            return {"array": len(buffers) - 1, "dtype": plain.dtype.str, "shape": list(array.shape)}
        return {"opaque": str(array.dtype)}
    return {"opaque": getattr(value, "text", type(value).__name__)}


def read(receive: Callable[[int], bytearray], most: int) -> tuple[dict[str, Any], list[Any]]:
    """Read the next message; return (header, values).

    receive: returns the next n bytes; most: the largest size of all buffers together, in bytes. Raises WireError for an
    invalid message, MemoryError for buffers larger than `most`.
    """
    length = int.from_bytes(receive(LENGTH), "little")
    if length > MOST_HEADER:
        raise WireError("the header is longer than 64 MiB")
    try:
        header = json.loads(bytes(receive(length)))
        sizes, values = header["sizes"], header["values"]
        if not all(type(size) is int and size >= 0 for size in sizes):
            raise WireError("the size of a buffer is invalid")
        if sum(sizes) > most:
            raise MemoryError(f"{sum(sizes):,} bytes")
        buffers = [receive(size) for size in sizes]
        return header, [_value(entry, buffers) for entry in values]
    except (ValueError, TypeError, KeyError, IndexError, RecursionError) as error:
        raise WireError(f"invalid message: {type(error).__name__}") from error


def _value(entry: Any, buffers: Sequence[bytearray]) -> Any:
    if "plain" in entry:
        return entry["plain"]
    if "bytes" in entry:
        return bytes(buffers[entry["bytes"]])
    if "list" in entry:
        return [_value(item, buffers) for item in entry["list"]]
    if "map" in entry:
        return {_value(key, buffers): _value(value, buffers) for key, value in entry["map"]}
    if "opaque" in entry:
        return NoArray(str(entry["opaque"])[:80])
    shape = tuple(int(size) for size in entry["shape"])
    if "strings" in entry:
        strings = np.empty(len(entry["strings"]), object)
        strings[:] = [str(item) for item in entry["strings"]]
        return strings.reshape(shape)
    dtype, buffer = _DTYPES[entry["dtype"]], buffers[entry["array"]]
    if math.prod(shape) * dtype.itemsize != len(buffer):
        raise WireError("the bytes of an array don't match its shape")
    return np.frombuffer(buffer, dtype).reshape(shape)


def _text(item: Any) -> str:
    return item.decode("utf-8", "replace") if isinstance(item, bytes) else str(item)
