"""Shared weights as indices and codebook in the ONNX file: w = Gather(codebook, Cast(indices)), made when it is loaded.

onnxruntime folds these nodes into the dense weights while it loads, so the outputs are those of the dense file, bit for
bit, with its speed and memory; what shrinks is the file. Only operators of opset 7 are used, or where there are newer
ones those of opset 11, so a model keeps its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, numpy_helper

from qacomp.exporting.onnx_forms.index_packing import Packing, block_offsets, choose_packing, digit_table, pack
from qacomp.exporting.onnx_forms.node_builder import Names, NodeBuilder
from qacomp.exporting.onnx_forms.repeats import Repeat, find_repeats, restore
from qacomp.exporting.onnx_options import TensorForm
from qacomp.formats import SharedTensor
from qacomp.graphs.constants import Constant, Home, constants, default_opset, value_names
from qacomp.graphs.skeleton import filled
from qacomp.graphs.walk import Scope

LEAST_OPSET = 7  # from here on Cast, Gather, Reshape and Add are what they are today
_ELEMENTS_OPSET = 11  # the first with GatherElements
_REPEAT_NODES = 512  # bytes of the nodes that undo a repeat, about
_LEAST_HALVES = 128  # a Cast node and its names take about a hundred bytes


def to_lut(model: onnx.ModelProto, shared: Mapping[str, SharedTensor]) -> list[TensorForm]:
    """Replace, in place, each weight of `shared` by nodes that look it up; gives what became of each weight.

    `model`: its constants filled in, but those of `shared` (by value name) may be references. A weight whose look-up
    wouldn't be smaller stays dense, and so do all in a model, or a function, below opset 7: the form's `reason` says
    so. Float32 constants that half precision holds exactly are stored in it, with a Cast.
    """
    names = Names(value_names(model))
    forms = []
    for home, inside in _by_home(model):
        opset = default_opset(home)
        tables: dict[Packing, str] = {}
        for held in inside:
            builder = NodeBuilder(names, opset)
            weight = shared.get(held.name)
            if weight is not None:
                forms.append(_replaced(model, held, weight, builder, tables))
            elif opset >= LEAST_OPSET and _cast_from_half(builder, held):
                builder.replace(model, held)
        _add_tables(model, model.graph if home is model else home, names, opset, tables)
    return forms


def _by_home(model: onnx.ModelProto) -> list[tuple[Home, list[Constant]]]:
    """Return the model's constants: those of its graphs, then those of each function, which has an opset of its own."""
    everything = list(constants(model))
    homes: list[Home] = [model, *model.functions]
    return [(home, [held for held in everything if held.home is home]) for home in homes]


def _replaced(
    model: onnx.ModelProto, held: Constant, weight: SharedTensor, builder: NodeBuilder, tables: dict[Packing, str]
) -> TensorForm:
    """Put nodes that look the weight up in its place, if they are smaller; says what became of it."""
    dense = filled(held.tensor, weight.dense, held.name)
    dense_bytes = _data_bytes(dense)
    form = TensorForm(held.name, tuple(held.tensor.dims), "dense", "", dense_bytes, dense_bytes)
    known = set(tables)
    reason, detail = _refusal(builder.opset, weight), ""
    if reason is None:
        detail = _look_up(builder, weight, tables)
        if builder.bytes >= dense_bytes:
            reason = f"look-up would take {builder.bytes} bytes, dense takes {dense_bytes}"
    if reason is not None:
        for new in set(tables) - known:
            del tables[new]
        if dense is not held.tensor:
            held.tensor.CopyFrom(dense)
        return replace(form, reason=reason)
    builder.replace(model, held)
    return replace(form, form="lut", detail=detail, bytes=builder.bytes)


def _refusal(opset: int, weight: SharedTensor) -> str | None:
    """Return why there can't be a look-up, or None."""
    if opset < LEAST_OPSET:
        return f"opset {opset}: a look-up needs {LEAST_OPSET}"
    if weight.codebook.dtype.kind not in "fiu":
        return f"no look-up of {weight.codebook.dtype} in onnxruntime"
    return None


def _look_up(builder: NodeBuilder, weight: SharedTensor, tables: dict[Packing, str]) -> str:
    """Add nodes from packed indices and codebook to the weights; return words that say how they are stored."""
    repeats, kept = _repeats(weight)
    small = replace(weight, indices=weight.indices[np.ix_(*kept)]) if repeats else weight
    k, book = weight.codebook.shape[-1], weight.codebook.reshape(-1)
    packing = choose_packing(k, builder.opset)
    offsets = block_offsets(small)
    if packing.digits > 1 and not offsets:
        # The codebook of words (words' values, digits): one look-up a word, half the time of one an index.
        padded = np.pad(book, (0, packing.base - len(book)), mode="edge")
        values = builder.node("Gather", builder.constant(padded), _table(builder, packing, tables))
        values = builder.node("Gather", values, builder.integers(builder.constant(pack(small.indices, packing))))
        value = builder.cut(values, -(-small.indices.size // packing.digits) * packing.digits, small.indices.shape)
    else:
        value = _one_by_one(builder, book, small.indices, offsets, packing, tables)
    restore(builder, value, repeats)
    return f"{packing.detail}, repeated slices once" if repeats else packing.detail


def _one_by_one(
    builder: NodeBuilder,
    book: NDArray[Any],
    indices: NDArray[Any],
    offsets: list[NDArray[np.int32]],
    packing: Packing,
    tables: dict[Packing, str],
) -> str:
    """Add nodes from packed indices to values of the flat `book`, in `indices`' shape; return the value's name."""
    along = builder.opset >= _ELEMENTS_OPSET  # GatherElements wants one axis, and takes a fifth of Gather's time
    found = _unpacked(builder, indices.reshape(-1) if along and not offsets else indices, packing, tables)
    for vector in offsets:
        found = builder.node("Add", found, builder.constant(vector))
    if not along:
        return builder.node("Gather", builder.half_or_exact(book), found)
    if offsets:
        found = builder.reshaped(found, (-1,))
    return builder.reshaped(builder.node("GatherElements", builder.half_or_exact(book), found), indices.shape)


def _unpacked(builder: NodeBuilder, indices: NDArray[Any], packing: Packing, tables: dict[Packing, str]) -> str:
    """Add nodes from packed indices to indices, int32, in their shape; return the value's name."""
    if packing.high is not None:
        low = _unpacked(builder, indices & 255, Packing("UINT8", 8), tables)
        if packing.high.digits > 1:  # a small table is multiplied, not what is looked up in it
            return builder.node("Add", low, _unpacked(builder, indices >> 8, replace(packing.high, factor=256), tables))
        high = _unpacked(builder, indices >> 8, packing.high, tables)
        return builder.node("Add", low, builder.node("Mul", high, builder.constant(np.array(256, np.int32))))
    words = pack(indices, packing)
    if packing.digits == 1:
        return builder.integers(builder.packed(packing.dtype, words, indices.shape))
    digits = builder.node("Gather", _table(builder, packing, tables), builder.integers(builder.constant(words)))
    return builder.cut(digits, words.size * packing.digits, indices.shape)


def _table(builder: NodeBuilder, packing: Packing, tables: dict[Packing, str]) -> str:
    """Return the name of the table (words' values, digits) that unpacks `packing`."""
    return tables.setdefault(packing, builder.names.new("t"))


def _repeats(weight: SharedTensor) -> tuple[list[Repeat], tuple[NDArray[np.intp], ...]]:
    """Find what needn't be stored again, where that saves more than it takes; return it and the slices to store."""
    if weight.blocks is not None or weight.codebook.dtype != np.float32:
        return [], ()
    repeats, kept = find_repeats(weight.dense())
    saved = weight.indices.size - math.prod(len(slices) for slices in kept)
    bits = math.log2(max(2, len(weight.codebook)))
    if saved * bits / 8 <= sum(repeat.bytes + _REPEAT_NODES for repeat in repeats):
        return [], ()
    return repeats, kept


def _cast_from_half(builder: NodeBuilder, held: Constant) -> bool:
    """Make a float32 constant half precision and a Cast; return False where that loses something or saves nothing."""
    if held.tensor.data_type != TensorProto.FLOAT:
        return False
    array = numpy_helper.to_array(held.tensor)
    if array.size < _LEAST_HALVES:
        return False
    builder.half_or_exact(array)
    return bool(builder.nodes) and builder.bytes < _data_bytes(held.tensor)


def _add_tables(model: onnx.ModelProto, scope: Scope, names: Names, opset: int, tables: Mapping[Packing, str]) -> None:
    """Add the tables that unpack several indices a byte, once: a function's, or the main graph's, is seen inside it."""
    for packing, name in tables.items():
        builder = NodeBuilder(names, opset)
        digits = builder.node("Cast", builder.constant(digit_table(packing)), to=TensorProto.INT32)
        if packing.factor != 1:
            builder.node("Mul", digits, builder.constant(np.array(packing.factor, np.int32)))
        builder.insert(model, scope, 0, name)


def _data_bytes(tensor: TensorProto) -> int:
    size: int = tensor.ByteSize()
    return size
