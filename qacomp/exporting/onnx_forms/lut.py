"""Store shared weights as indices and codebook in the ONNX file: w = Gather(codebook, Cast(indices)).

onnxruntime folds these nodes into dense weights when it loads the file. So outputs, speed and memory are those of the
dense file, bit for bit, and only the file gets smaller. The nodes need operators of opset 7 only (of opset 11 if the
model has it), so the model's opset doesn't change.
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
from qacomp.sharing.affine import grid_numbers

LEAST_OPSET = 7  # since this opset Cast, Gather, Reshape and Add have their present form
_ELEMENTS_OPSET = 11  # the first opset with GatherElements
_REPEAT_NODES = 512  # about the bytes of the nodes that restore repeated slices
_LEAST_HALVES = 128  # least values of a constant to store in fp16; a Cast node takes about a hundred bytes


def to_lut(model: onnx.ModelProto, shared: Mapping[str, SharedTensor]) -> list[TensorForm]:
    """Replace, in place, each weight of `shared` by nodes that look it up, and return the form of each weight.

    model: with the values of its constants; those of `shared` (by value name) may be references. A weight whose look-up
    wouldn't be smaller stays dense, and so do all weights in a model or function below opset 7; the form's `reason`
    says so. Float32 constants that are exact in fp16 are stored as fp16 with a Cast.
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
    """Return the model's constants by home: those of its graphs, then those of each function, with its own opset."""
    everything = list(constants(model))
    homes: list[Home] = [model, *model.functions]
    return [(home, [held for held in everything if held.home is home]) for home in homes]


def _replaced(
    model: onnx.ModelProto, held: Constant, weight: SharedTensor, builder: NodeBuilder, tables: dict[Packing, str]
) -> TensorForm:
    """Replace a weight by nodes that look it up, if they are smaller, and return its form."""
    dense = filled(held.tensor, weight.dense, held.name)
    dense_bytes = _data_bytes(dense)
    form = TensorForm(held.name, tuple(held.tensor.dims), "dense", "", dense_bytes, dense_bytes)
    known = set(tables)
    reason, detail = _refusal(builder.opset, weight), ""
    if reason is None:
        detail = _look_up(builder, weight, tables)
        if builder.bytes >= dense_bytes:
            reason = f"a look-up would take {builder.bytes} bytes, dense takes {dense_bytes}"
    if reason is not None:
        for new in set(tables) - known:
            del tables[new]
        if dense is not held.tensor:
            held.tensor.CopyFrom(dense)
        return replace(form, reason=reason)
    builder.replace(model, held)
    return replace(form, form="lut", detail=detail, bytes=builder.bytes)


def _refusal(opset: int, weight: SharedTensor) -> str | None:
    """Return the reason why a look-up isn't possible, or None."""
    if opset < LEAST_OPSET:
        return f"a look-up needs opset {LEAST_OPSET}, and the model has {opset}"
    if weight.codebook.dtype.kind not in "fiu":
        return f"onnxruntime has no look-up of {weight.codebook.dtype}"
    return None


def _look_up(builder: NodeBuilder, weight: SharedTensor, tables: dict[Packing, str]) -> str:
    """Add nodes that compute a weight from packed indices and codebook; return a description of the packing."""
    if (grid := _one_grid(weight)) is not None:
        whole, scales = grid
        detail = _look_up(builder, whole, tables)
        builder.node("Mul", builder.nodes[-1].output[0], builder.half_or_exact(scales))
        return f"{detail}, scales"
    repeats, kept = _repeats(weight)
    small = replace(weight, indices=weight.indices[np.ix_(*kept)]) if repeats else weight
    k, book = weight.codebook.shape[-1], weight.codebook.reshape(-1)
    packing = choose_packing(k, builder.opset)
    offsets = block_offsets(small)
    if packing.digits > 1 and not offsets:
        # A codebook of words (values of words, digits): one look-up for each word takes half as long as for each index.
        padded = np.pad(book, (0, packing.base - len(book)), mode="edge")
        values = builder.node("Gather", builder.constant(padded), _table(builder, packing, tables))
        values = builder.node("Gather", values, builder.integers(builder.constant(pack(small.indices, packing))))
        value = builder.cut(values, -(-small.indices.size // packing.digits) * packing.digits, small.indices.shape)
    else:
        value = _one_by_one(builder, book, small.indices, offsets, packing, tables)
    restore(builder, value, repeats)
    return f"{packing.detail}, repeated slices once" if repeats else packing.detail


def _one_grid(weight: SharedTensor) -> tuple[SharedTensor, NDArray[np.float32]] | None:
    """Return a weight on grids as one codebook of integers, and scales that broadcast to it; None if it isn't so.

    All grids must have the same zero point, and each be of whole axes and single places along the others.
    """
    if weight.blocks is None or weight.codebook.size == weight.codebook.shape[-1]:
        return None
    whole = all(block in (1, size) for block, size in zip(weight.blocks, weight.indices.shape, strict=True))
    numbers = grid_numbers(weight) if whole else None
    if numbers is None or (numbers[1] != numbers[1].flat[0]).any():
        return None
    integers = np.arange(weight.codebook.shape[-1], dtype=np.float32) - np.float32(numbers[1].flat[0])
    return SharedTensor(integers, weight.indices), numbers[0]


def _one_by_one(
    builder: NodeBuilder,
    book: NDArray[Any],
    indices: NDArray[Any],
    offsets: list[NDArray[np.int32]],
    packing: Packing,
    tables: dict[Packing, str],
) -> str:
    """Add nodes that look up packed indices in the flat `book`; return the name of the value, in the indices' shape."""
    along = builder.opset >= _ELEMENTS_OPSET  # GatherElements needs one axis, and takes a fifth of Gather's time
    found = _unpacked(builder, indices.reshape(-1) if along and not offsets else indices, packing, tables)
    for vector in offsets:
        found = builder.node("Add", found, builder.constant(vector))
    if not along:
        return builder.node("Gather", builder.half_or_exact(book), found)
    if offsets:
        found = builder.reshaped(found, (-1,))
    return builder.reshaped(builder.node("GatherElements", builder.half_or_exact(book), found), indices.shape)


def _unpacked(builder: NodeBuilder, indices: NDArray[Any], packing: Packing, tables: dict[Packing, str]) -> str:
    """Add nodes that unpack indices to int32 in their shape; return the name of the value."""
    if packing.high is not None:
        low = _unpacked(builder, indices & 255, Packing("UINT8", 8), tables)
        if packing.high.digits > 1:  # multiply the small table instead of the indices
            return builder.node("Add", low, _unpacked(builder, indices >> 8, replace(packing.high, factor=256), tables))
        high = _unpacked(builder, indices >> 8, packing.high, tables)
        return builder.node("Add", low, builder.node("Mul", high, builder.constant(np.array(256, np.int32))))
    words = pack(indices, packing)
    if packing.digits == 1:
        return builder.integers(builder.packed(packing.dtype, words, indices.shape))
    digits = builder.node("Gather", _table(builder, packing, tables), builder.integers(builder.constant(words)))
    return builder.cut(digits, words.size * packing.digits, indices.shape)


def _table(builder: NodeBuilder, packing: Packing, tables: dict[Packing, str]) -> str:
    """Return the name of the table (values of words, digits) that unpacks `packing`; it is added later."""
    return tables.setdefault(packing, builder.names.new("t"))


def _repeats(weight: SharedTensor) -> tuple[list[Repeat], tuple[NDArray[np.intp], ...]]:
    """Return repeated slices and the slices to store, or none if that wouldn't save bytes."""
    if weight.blocks is not None or weight.codebook.dtype != np.float32:
        return [], ()
    repeats, kept = find_repeats(weight.dense())
    saved = weight.indices.size - math.prod(len(slices) for slices in kept)
    bits = math.log2(max(2, len(weight.codebook)))
    if saved * bits / 8 <= sum(repeat.bytes + _REPEAT_NODES for repeat in repeats):
        return [], ()
    return repeats, kept


def _cast_from_half(builder: NodeBuilder, held: Constant) -> bool:
    """Store a float32 constant as fp16 with a Cast; return False if that isn't exact or saves no bytes."""
    if held.tensor.data_type != TensorProto.FLOAT:
        return False
    array = numpy_helper.to_array(held.tensor)
    if array.size < _LEAST_HALVES:
        return False
    builder.half_or_exact(array)
    return bool(builder.nodes) and builder.bytes < _data_bytes(held.tensor)


def _add_tables(model: onnx.ModelProto, scope: Scope, names: Names, opset: int, tables: Mapping[Packing, str]) -> None:
    """Add the tables that unpack several indices in a byte to a function or the main graph; subgraphs see them too."""
    for packing, name in tables.items():
        builder = NodeBuilder(names, opset)
        digits = builder.node("Cast", builder.constant(digit_table(packing)), to=TensorProto.INT32)
        if packing.factor != 1:
            builder.node("Mul", digits, builder.constant(np.array(packing.factor, np.int32)))
        builder.insert(model, scope, 0, name)


def _data_bytes(tensor: TensorProto) -> int:
    size: int = tensor.ByteSize()
    return size
