"""Decide what kind of data each input of an ONNX model is (image, sequence, ids, mask, state), and sizes of open axes.

The kind follows from an input's type, its shape, the graph around it (`input_uses`) and, last, its name. Open axes
belong to groups (batch, height, sequence, ...): all axes of a group have the same size, and so have axes of one name.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import ModelProto, TensorProto, ValueInfoProto

from qacomp.errors import DataError
from qacomp.graphs.inputs import InputUse, input_uses

DTYPES: dict[int, type[np.generic]] = {
    TensorProto.FLOAT: np.float32,
    TensorProto.DOUBLE: np.float64,
    TensorProto.FLOAT16: np.float16,
    TensorProto.INT64: np.int64,
    TensorProto.INT32: np.int32,
    TensorProto.INT16: np.int16,
    TensorProto.INT8: np.int8,
    TensorProto.UINT8: np.uint8,
    TensorProto.UINT16: np.uint16,
    TensorProto.UINT32: np.uint32,
    TensorProto.UINT64: np.uint64,
    TensorProto.BOOL: np.bool_,
}
Sizes = Mapping[str, int]
"""The size of each group of open axes."""

_SPATIAL = (160, 256, 320, 416, 512, 640, 300, 96, 64, 48, 32, 28)
_SIZES: dict[str, tuple[int, ...]] = {
    "batch": (1,),
    "channels": (3, 1),
    "image": (128, 224, 0, *_SPATIAL),  # both sides; 0: lines of text, 48 or 32 pixels high
    "height": (128, 224, *_SPATIAL),
    "width": (320, 128, 224, *_SPATIAL),
    "sequence": (32, 64, 128, 100, 256, 512, 16, 1024, 3000, 8, 1),
    "samples": (576, 512, 1024, 4096, 16000, 32000, 400, 256, 64, 8, 1),
    "past": (16, 0, 1),
    "one": (1,),
    "features": (64, 80, 40, 128, 256, 512, 32, 16, 8, 1),
}
"""The sizes that are tried for each group of axes, in this order: sizes that are typical of such models come first."""
_LINES = ((48, 320), (32, 128), (32, 320))
_MOST_TRIES = 64
_MOST_STATES = 8
_BATCH, _SEQUENCE = re.compile(r"batch|^[nb]$", re.I), re.compile(r"seq|time|frame|len|token|step|^[tsl]$", re.I)
_LENGTHS, _PAST = re.compile(r"(^|[_.])len(gth)?s?($|[_.])|lengths?$", re.I), re.compile(r"past", re.I)
_IMAGE_SIZE = re.compile(r"im(age|g)?_?(shape|size)|(orig|target)\w*_?sizes?", re.I)
_MASK, _POSITIONS = re.compile(r"mask", re.I), re.compile(r"position|pos_ids", re.I)
_RATE, _SEGMENTS, _FACTOR = (
    re.compile(r"^sr$|sampl\w*_?rate", re.I),
    re.compile(r"type_id|segment", re.I),
    re.compile(r"scale|factor", re.I),
)
_EXPECTED = {"NonMaxSuppression:2": 100.0, "NonMaxSuppression:3": 0.5, "NonMaxSuppression:4": 0.05, "TopK:1": 10.0}
_SAMPLES_A_SECOND = 16000.0


@dataclass(frozen=True)
class PlannedInput:
    """One input of a model and the kind of data that it takes.

    kind: image, signal, values, ids, segments, positions, mask, flag, lengths, size, factor, constant or counts.
    shape: for each axis its size, or the groups of axes whose sizes add up to its size. layout: of an image, nchw or
    nhwc, or chw or hwc without a batch axis.
    """

    name: str
    dtype: np.dtype[Any]
    kind: str
    shape: tuple[int | tuple[str, ...], ...]
    use: InputUse
    layout: str = ""

    def sized(self, sizes: Sizes) -> tuple[int, ...]:
        """Return the input's shape with these sizes of the groups."""
        return tuple(d if isinstance(d, int) else sum(sizes[part] for part in d) for d in self.shape)


def plan_inputs(model: ModelProto, input_shape: Sequence[int] | None = None) -> list[PlannedInput]:
    """Return all inputs that a caller must give, in order. input_shape: shape of one example of the first input.

    Raises DataError for an input that isn't a tensor of numbers.
    """
    uses = input_uses(model)
    values = [value for value in model.graph.input if value.name in uses]
    groups: dict[str, tuple[str, ...]] = {}  # the name of an axis -> its groups
    planned = []
    for number, value in enumerate(values):
        element = value.type.tensor_type.elem_type if value.type.HasField("tensor_type") else 0
        if element not in DTYPES:
            kind = value.type.WhichOneof("value")
            kind = TensorProto.DataType.Name(element).lower() if kind == "tensor_type" and element else kind
            raise DataError(f"input {value.name[:80]!r} is a {kind}, for which no values can be generated; give --data")
        dims = _dims(value)
        if number == 0 and input_shape is not None and len(input_shape) == len(dims) - 1:
            dims = [dims[0], *input_shape]
        planned.append(_planned(value.name, np.dtype(DTYPES[element]), dims, uses[value.name], groups))
    return planned


def sizes_to_try(inputs: Sequence[PlannedInput]) -> Iterator[dict[str, int]]:
    """Yield sizes of all groups that occur, the most plausible first; at most 64 combinations of groups."""
    used = sorted({part for i in inputs for d in i.shape if not isinstance(d, int) for part in d})
    if {"image_height", "image_width"} <= set(used):
        used = [*(name for name in used if not name.startswith("image_")), "image"]
    choices = [_SIZES[name.removeprefix("image_")] for name in used]
    ranked = sorted(itertools.product(*(range(len(c)) for c in choices)), key=lambda places: (sum(places), places))
    for places in ranked[:_MOST_TRIES]:
        sizes = {name: choice[place] for name, choice, place in zip(used, choices, places, strict=True)}
        for height, width in _sides(sizes.pop("image", None)):
            yield sizes | ({"image_height": height, "image_width": width} if height else {})


def _sides(both: int | None) -> tuple[tuple[int, int], ...]:
    if both is None:
        return ((0, 0),)
    return ((both, both),) if both else _LINES


def _dims(value: ValueInfoProto) -> list[int | str]:
    """Return the size of each axis, or the name of an open axis; "" for an open axis without a name."""
    dims: list[int | str] = []
    for d in value.type.tensor_type.shape.dim:
        known = d.HasField("dim_value") and d.dim_value >= 0
        dims.append(int(d.dim_value) if known else d.dim_param.strip("?* "))
    return dims


def _planned(
    name: str, dtype: np.dtype[Any], dims: list[int | str], use: InputUse, groups: dict[str, tuple[str, ...]]
) -> PlannedInput:
    layout = _layout(dims, dtype)
    if len(dims) <= 1 and not use.compared:
        expected = [_EXPECTED[end] for end in use.ends if end in _EXPECTED]
        expected += [_SAMPLES_A_SECOND] if _RATE.search(name) else []
        use = replace(use, compared=tuple(expected[:1]))
    kind = _kind(name, dtype, dims, use, layout)
    layout = layout if kind == "image" else ""
    shape: list[int | tuple[str, ...]] = []
    for axis, d in enumerate(dims):
        if isinstance(d, int):
            shape.append(d)
            continue
        own = _group(axis, d, dims, kind, layout)
        shape.append(groups.setdefault(d, own) if d else own)
    return PlannedInput(name, dtype, kind, tuple(shape), use, layout)


def _group(axis: int, name: str, dims: Sequence[int | str], kind: str, layout: str) -> tuple[str, ...]:
    """Return the groups whose sizes add up to the size of an open axis."""
    if " + " in name or "+" in name:
        parts = [part.strip() for part in name.split("+")]
        return tuple("past" if _PAST.search(p) else "one" if p.isdigit() else "sequence" for p in parts)
    if _PAST.search(name):
        return ("past",)
    if layout:
        return {"n": ("batch",), "c": ("channels",), "h": ("image_height",), "w": ("image_width",)}[layout[axis]]
    if _BATCH.search(name):
        return ("batch",)
    alone = len(dims) == 1 and kind == "signal"
    if axis == 0 and not alone and not (_SEQUENCE.search(name) and kind != "lengths"):
        return ("batch",)
    if kind == "signal":
        return ("samples",)
    first, last = dims[0], dims[-1]
    if len(dims) == 3 and axis == 1 and isinstance(first, int) and isinstance(last, int) and first <= _MOST_STATES:
        return ("batch",)  # (layers and directions, batch, units): a state
    if len(dims) == 3 and kind == "values" and all(isinstance(d, str) for d in dims) and axis == 2:
        return ("features",)
    return ("sequence",)


def _layout(dims: Sequence[int | str], dtype: np.dtype[Any]) -> str:
    """Return nchw, nhwc, chw or hwc if the input may be images, else ""."""
    if dtype.kind not in "fu" and dtype != np.int8:
        return ""
    colours = (1, 3, 4)
    if len(dims) == 4:
        if dims[1] in colours and dims[3] not in colours:
            return "nchw"
        if dims[3] in colours and dims[1] not in colours:
            return "nhwc"
        opened = all(isinstance(d, str) for d in dims[2:])
        return "nchw" if opened and (dims[1] in colours or isinstance(dims[1], str)) else ""
    if len(dims) == 3 and all(isinstance(d, str) or d >= 16 for d in dims if d != 3):
        return "hwc" if dims[2] == 3 else "chw" if dims[0] == 3 else ""
    return ""


def _kind(name: str, dtype: np.dtype[Any], dims: Sequence[int | str], use: InputUse, layout: str) -> str:
    single = len(dims) <= 1 and all(d == 1 for d in dims)
    if dtype == np.bool_:
        return "mask" if not single else "flag"
    if single and use.compared:
        return "constant"
    if _IMAGE_SIZE.search(name) and len(dims) <= 2:
        return "size"
    if dtype.kind == "f":
        return _float_kind(name, dims, layout)
    if layout and use.rows is None:
        return "image"
    if _MASK.search(name):
        return "mask"
    if _POSITIONS.search(name) and use.rows is not None:
        return "positions"
    if _SEGMENTS.search(name):
        return "segments"
    if use.rows is not None:
        return "ids"
    if _LENGTHS.search(name) and len(dims) <= 2:
        return "lengths"
    if len(dims) == 2 and _is_mask(use):
        return "mask"
    return "signal" if dtype == np.int16 else "counts"


def _is_mask(use: InputUse) -> bool:
    """Return whether integers are cast to floats that are multiplied or subtracted from 1, like attention masks."""
    return bool({"Sub:1", "Mul", "Mul:1", "Where"} & use.ends) and not {"MatMul", "Conv", "Gemm"} & use.ends


def _float_kind(name: str, dims: Sequence[int | str], layout: str) -> str:
    if layout:
        return "image"
    if _MASK.search(name):
        return "mask"
    if len(dims) <= 2 and _FACTOR.search(name):
        return "factor"
    last = dims[-1] if dims else 1
    waves = len(dims) in (1, 2) or (len(dims) == 3 and dims[1] == 1)
    return "signal" if waves and (isinstance(last, str) or last >= 400) else "values"
