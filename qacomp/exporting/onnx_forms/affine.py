"""Store matrices as integers of 2, 4 or 8 bits with DequantizeLinear, which onnxruntime fuses to MatMulNBits.

That saves memory and time at run time too, unlike a look-up. Only MatMul and Gemm fuse, so only matrices that no other
operator reads are converted; for Conv, LSTM or Gather, DequantizeLinear would run again in every inference.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from qacomp.exporting.onnx_forms.fusion_guard import keep_apart
from qacomp.exporting.onnx_forms.node_builder import Names, NodeBuilder
from qacomp.exporting.onnx_forms.opset import raise_opset
from qacomp.exporting.onnx_options import TensorForm
from qacomp.formats import SharedTensor
from qacomp.graphs.constants import Constant, constants, default_opset, value_names
from qacomp.graphs.walk import graphs, replace_items
from qacomp.options.codebook import BLOCKS
from qacomp.sharing.affine import grid_numbers
from qacomp.sharing.affine_grid import AffineGrid, codebook_grid, exact_multiples, nearest_grid

OPSETS = {2: 25, 4: 21, 8: 21}
_MOST_WORK = 20_000_000  # most weights times values of the graph, since each conversion walks over the whole graph
_DTYPES = {2: "UINT2", 4: "UINT4", 8: "UINT8"}


@dataclass(frozen=True)
class Snapped:
    """One converted weight: its form, and its values in the file, transposed if its node reads them so."""

    form: TensorForm
    values: NDArray[np.float32]


@dataclass(frozen=True)
class _Use:
    """How a weight is read. transposed: its nodes read its transpose; nodes: the Gemm and Transpose nodes to change."""

    transposed: bool
    nodes: tuple[onnx.NodeProto, ...]


@dataclass(frozen=True)
class _Reading:
    """The number of makers, and the readers, of each value in a model's graphs; valid until the model is changed."""

    graphs: list[onnx.GraphProto]
    makers: Counter[str]
    outputs: set[str]
    readers: dict[str, list[onnx.NodeProto]]

    @staticmethod
    def of(model: onnx.ModelProto) -> _Reading:
        """Return the makers and readers in the main graph and its subgraphs."""
        everything = list(graphs(model.graph))
        makers = Counter(t.name for g in everything for t in g.initializer)
        makers.update(output for g in everything for n in g.node for output in n.output)
        readers: dict[str, list[onnx.NodeProto]] = {}
        for node in (n for g in everything for n in g.node):
            for name in dict.fromkeys(node.input):
                readers.setdefault(name, []).append(node)
        return _Reading(everything, makers, {v.name for g in everything for v in g.output}, readers)

    @property
    def values(self) -> int:
        """Return the number of values."""
        return self.makers.total()


@dataclass(frozen=True)
class _Integers:
    """How a weight is stored: bits of an integer, and group size (rows of a column that share a scale)."""

    bits: int
    block: int


def bits_for(k: int) -> int:
    """Return the bits, 2, 4 or 8, that indices below k need."""
    return 2 if k <= 4 else 4 if k <= 16 else 8


def to_affine(
    model: onnx.ModelProto, shared: Mapping[str, SharedTensor], bits: int | None = None, block: int = 32
) -> tuple[dict[str, Snapped], dict[str, str]]:
    """Convert, in place, each weight of `shared` that only matrix products read.

    Returns the converted weights by name, and the reason for each other weight by name. bits: 2, 4 or 8, or None for as
    few as each codebook needs; block: group size (rows of a column that share a scale), a power of two from 16 on. A
    codebook on an affine grid stays exact, and so do weights with a grid for each column or group of rows; without
    `bits` a codebook on a grid of more than 8 bits isn't converted, since a look-up is exact. The opset is
    raised to 21 (25 for 2 bits) if a weight is converted and the model's operators allow it.
    """
    kept: dict[str, str] = {}
    wanted: dict[str, int] = {}
    read = _Reading.of(model)
    for held in (c for c in constants(model) if c.name in shared):
        name = held.name
        if reason := _refusal(model, read, held, shared[name], block):
            kept[name] = reason
        elif bits is None and (steps := _steps(shared[name]) or 0) >= 1 << 8:
            kept[name] = f"its grid has {steps:,} steps, and 8 bits hold 255; a look-up is exact"
        elif len(wanted) * read.values > _MOST_WORK:
            kept[name] = f"the graph is too large: {read.values} values, and already {len(wanted)} converted weights"
        else:
            wanted[name] = _fused_bits(read, name, shared[name], bits)
    if wanted and not raise_opset(model, max(OPSETS[b] for b in wanted.values())):
        return {}, kept | dict.fromkeys(wanted, f"the model's opset {default_opset(model)} can't be raised to 21")
    names = Names(value_names(model))
    snapped = {}
    for held in [c for c in constants(model) if c.name in wanted and c.home is model]:
        use = _use(_Reading.of(model), held.name)
        if isinstance(use, str):  # onnx's version converter has rewritten the graph
            kept[held.name] = use
        else:
            integers = _Integers(wanted[held.name], block)
            snapped[held.name] = _turn(model, held, use, shared[held.name], integers, names)
    return snapped, kept


def _fused_bits(read: _Reading, name: str, weight: SharedTensor, bits: int | None) -> int:
    """Return the bits of an integer: 4 instead of 2 where onnxruntime 1.31's 2-bit product gives wrong outputs.

    That is so if the number of columns isn't a multiple of four, for any rows, blocks and zero points.
    """
    use = _use(read, name)
    assert isinstance(use, _Use)
    columns = weight.indices.shape[0 if use.transposed else 1]
    steps = _steps(weight)
    chosen = bits or bits_for(weight.codebook.shape[-1] if steps is None else steps + 1)
    return 4 if chosen == 2 and columns % 4 else chosen


def _steps(weight: SharedTensor) -> int | None:
    """Return the steps from the lowest to the highest value and zero, if one codebook is exactly a grid; else None."""
    found = exact_multiples(weight.codebook) if weight.codebook.ndim == 1 else None
    return None if found is None else int(max(found[0].max(), 0) - min(found[0].min(), 0))


def _turn(
    model: onnx.ModelProto, held: Constant, use: _Use, weight: SharedTensor, integers: _Integers, names: Names
) -> Snapped:
    """Replace a weight by integers and a DequantizeLinear; return its form and its values in the file."""
    dense_bytes, shape = held.tensor.ByteSize(), tuple(held.tensor.dims)
    grid, matrix = _grid(weight, use.transposed, integers)
    dtype = _DTYPES[integers.bits]
    builder = NodeBuilder(names, default_opset(model))
    scale = builder.constant(grid.scale)
    parts = [builder.packed(dtype, grid.q, grid.q.shape), scale]
    parts.append(builder.packed(dtype, grid.zero, grid.zero.shape))
    where: dict[str, Any] = {"axis": 0, "block_size": grid.block} if grid.block else {"axis": 1}
    builder.node("DequantizeLinear", *parts, **where)
    builder.replace(model, held)
    for node in use.nodes:
        _untransposed(model, node, held.name)
    keep_apart(model, held.name, builder.names)
    values = grid.dense()
    error = float(np.abs(values - matrix).max())
    whole = "one scale" if (grid.scale == grid.scale.flat[0]).all() else "a scale for each column"
    detail = f"uint{integers.bits}, " + (f"blocks of {grid.block}" if grid.block else whole)
    return Snapped(TensorForm(held.name, shape, "affine", detail, builder.bytes, dense_bytes, None, error), values)


def _grid(weight: SharedTensor, transposed: bool, integers: _Integers) -> tuple[AffineGrid, NDArray[np.float32]]:
    """Return the grid of a weight, and its matrix (rows, columns) in the orientation that the product reads."""
    matrix: NDArray[np.float32] = weight.dense().T if transposed else weight.dense()
    if own := _own_grids(weight, transposed, integers.bits):
        return own, matrix
    exact = _one_grid(weight, integers.bits) if weight.codebook.ndim == 1 else None
    if exact is None:
        return nearest_grid(matrix, integers.bits, integers.block), matrix
    q, scale, zero = exact
    indices = weight.indices.T if transposed else weight.indices
    columns = matrix.shape[1]
    return AffineGrid(q[indices], np.full(columns, scale, np.float32), np.full(columns, zero, np.uint8), 0), matrix


def _one_grid(weight: SharedTensor, bits: int) -> tuple[NDArray[np.uint8], float, int] | None:
    """Return (q of each value, scale, zero point) of a codebook, exactly so if it is on one grid, else nearly."""
    found, steps = exact_multiples(weight.codebook), _steps(weight)
    if found is None or steps is None or steps >= 1 << bits:
        return codebook_grid(weight.codebook, bits)
    zero = -min(int(found[0].min()), 0)
    return (found[0] + zero).astype(np.uint8), float(found[1]), zero


def _own_grids(weight: SharedTensor, transposed: bool, bits: int) -> AffineGrid | None:
    """Return the grids of a weight that was shared on grids (`--codebook affine4`, `affine4:32`), or None.

    There must be a grid for each column of the product, or for each group of its rows, of a size that MatMulNBits has.
    """
    rows = 1 if transposed else 0  # the weight's axis along a column of the product
    if weight.blocks is None or weight.blocks[1 - rows] != 1 or weight.codebook.shape[-1] > 1 << bits:
        return None
    block = 0 if weight.blocks[rows] == weight.indices.shape[rows] else weight.blocks[rows]
    found = grid_numbers(weight) if block in (0, *BLOCKS) else None
    if found is None:
        return None
    scale, zero = (found[0].T, found[1].T) if transposed else found  # (blocks, columns)
    scale, zero = np.ascontiguousarray(scale), np.ascontiguousarray(zero)
    q = np.ascontiguousarray(weight.indices.T if transposed else weight.indices)
    return AffineGrid(q, scale, zero, block) if block else AffineGrid(q, scale[0], zero[0], 0)


def _refusal(model: onnx.ModelProto, read: _Reading, held: Constant, weight: SharedTensor, block: int) -> str | None:
    """Return the reason why a weight can't be converted, or None."""
    if held.home is not model:
        return "it is inside a local function, and only products of the graph itself are converted"
    if weight.codebook.dtype != np.float32:
        return f"it is {weight.codebook.dtype}, and only float32 is converted"
    use = _use(read, held.name)
    if isinstance(use, str):
        return use
    if len(held.tensor.dims) != 2:
        return f"it has {len(held.tensor.dims)} axes, and only a matrix fuses"
    rows = held.tensor.dims[1 if use.transposed else 0]
    if rows >= block or ((own := _own_grids(weight, use.transposed, 8)) and own.block):
        return None
    return f"its {rows} rows are fewer than the group size of {block}"


def _use(read: _Reading, name: str) -> _Use | str:
    """Return how matrix products read a weight, or the reason if something else reads it too."""
    if read.makers[name] != 1:
        return "several values have the same name"
    if name in read.outputs:
        return "it is an output of the graph"
    orientations, nodes = set(), []
    for node in read.readers.get(name, ()):
        turned = _orientation(node, name, read.graphs)
        if turned is None:
            return f"it is read by {node.op_type}, which doesn't fuse with DequantizeLinear"
        orientations.add(turned)
        if turned:
            nodes.append(node)
    if len(orientations) != 1:
        return "it is read both plain and transposed" if orientations else "no node reads it"
    return _Use(orientations.pop(), tuple(nodes))


def _orientation(node: onnx.NodeProto, name: str, everything: list[onnx.GraphProto]) -> bool | None:
    """Return whether a product reads the weight's transpose; None if the node isn't a product that fuses."""
    attributes = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    if node.domain not in ("", "ai.onnx"):  # a local function may have an operator's name
        return None
    if list(node.input).index(name) != (0 if node.op_type == "Transpose" else 1) or list(node.input).count(name) > 1:
        return None
    if node.op_type == "MatMul":
        return False
    if node.op_type == "Gemm" and attributes.get("alpha", 1.0) == attributes.get("beta", 1.0) == 1.0:
        return None if attributes.get("transA", 0) else bool(attributes.get("transB", 0))
    if node.op_type == "Transpose" and list(attributes.get("perm", [1, 0])) == [1, 0]:
        output = node.output[0]
        readers = [n for g in everything for n in g.node if output in n.input]
        is_output = any(v.name == output for g in everything for v in g.output)
        products = all(n.op_type == "MatMul" and n.input[1] == output != n.input[0] for n in readers)
        return True if readers and products and not is_output else None
    return None


def _untransposed(model: onnx.ModelProto, node: onnx.NodeProto, name: str) -> None:
    """Remove a transposition (a Gemm's attribute or a Transpose node), since the weight is now stored transposed."""
    if node.op_type == "Gemm":
        replace_items(node.attribute, [a for a in node.attribute if a.name != "transB"])
        return
    output = node.output[0]
    for graph in graphs(model.graph):
        for place, other in enumerate(graph.node):
            if output in other.output:
                del graph.node[place]
                break
        for other in graph.node:
            other.input[:] = [name if value == output else value for value in other.input]
