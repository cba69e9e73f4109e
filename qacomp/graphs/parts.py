"""Say what each operator reads an input as (weight, bias, scale or value), and which axis has output channels."""

from __future__ import annotations

from collections.abc import Callable

from onnx import NodeProto

_KEEPING_AXES = (
    "Identity", "Cast", "CastLike", "Slice", "Split", "Concat", "Neg", "Expand", "Tile", "Pad", "QuantizeLinear",
    "DequantizeLinear", "Gather", "GatherElements", "Mul", "Add", "Sub", "Div",
)  # fmt: skip
_KNOWN_DOMAINS = ("", "ai.onnx")


def part_of(node: NodeProto, position: int, dims: tuple[int, ...], whole: bool) -> tuple[str, int | None]:
    """Return (part, axis of the output channels) for a tensor of shape `dims`, read as input `position` of a node.

    part: "weight", "bias", "scale", "added" (for Add: a bias if the other input is a product), "value", or "unknown"
    for an unknown operator. whole: whether the tensor still has its stored shape.
    """
    rule = _rules(node).get(position)
    if rule is None:
        known = node.domain in _KNOWN_DOMAINS or node.op_type in _PARTS or node.op_type in _VALUES_ALONE
        return ("value" if known else "unknown"), None
    part, axis = rule
    if part == "weight" and not _is_multiplied(node, position, dims, whole):
        return "value", None
    if any(a.ref_attr_name for a in node.attribute):  # an attribute that comes from a caller may change the axis
        return part, None
    return part, axis(node, len(dims)) if callable(axis) else axis


def weight_inputs(node: NodeProto) -> list[int]:
    """Return the positions of the inputs that a node reads as scale, if it is a norm, else as weights."""
    parts = _rules(node)
    scales = [i for i, (part, _) in parts.items() if part == "scale" and i < len(node.input)]
    return scales or [i for i, (part, _) in parts.items() if part == "weight" and i < len(node.input)]


def is_product(node: NodeProto) -> bool:
    """Return whether the operator sums products of inputs and weights."""
    return any(part == "weight" for part, _ in _rules(node).values()) and "Gather" not in node.op_type


def axis_before(node: NodeProto, axis: int | None) -> int | None:
    """Return the axis that was at `axis` before a node that passes the tensor on; None if it is unknown."""
    if node.op_type in _KEEPING_AXES:
        return axis
    order = next((tuple(a.ints) for a in node.attribute if a.name == "perm"), ())
    if node.op_type == "Transpose" and order and axis is not None and -len(order) <= axis < len(order):
        return int(order[axis])
    return None


def name_of(node: NodeProto) -> str:
    """Return the operator's name, with its domain in front unless that is ONNX's own."""
    return f"{node.domain}.{node.op_type}" if node.domain not in _KNOWN_DOMAINS else node.op_type


def _is_multiplied(node: NodeProto, position: int, dims: tuple[int, ...], whole: bool) -> bool:
    """Return whether the node sums over an axis of the tensor; with an axis of length 1 it only scales."""
    if node.op_type in ("MatMul", "FusedMatMul") and whole and len(dims) > 1:
        turned = _integer(node, "transA" if position == 0 else "transB")
        return dims[-1 if (position == 0) != bool(turned) else -2] != 1
    if node.op_type == "Gather":
        return _integer(node, "axis") in (0, -len(dims))
    if node.op_type == "Einsum":
        return _is_contracted(node, position)
    return True


def _is_contracted(node: NodeProto, position: int) -> bool:
    """Return whether an Einsum sums over an index that its input `position` has in common with another input."""
    equation = next((a.s.decode("utf-8", "replace") for a in node.attribute if a.name == "equation"), "")
    left, arrow, right = equation.replace(" ", "").replace(".", "").partition("->")
    terms = left.split(",")
    if position >= len(terms):
        return False
    own, others = set(terms[position]), set("".join(terms[:position] + terms[position + 1 :]))
    summed = own - set(right) if arrow else {c for c in own if left.count(c) > 1}
    return bool(summed & others)


def _rules(node: NodeProto) -> _Parts:
    if node.domain == "com.microsoft" and node.op_type in _PARTS_OF_MICROSOFT:
        return _PARTS_OF_MICROSOFT[node.op_type]
    return _PARTS.get(node.op_type, {})


def _gemm_b(node: NodeProto, rank: int) -> int:
    return 0 if _integer(node, "transB") else 1


def _gemm_a(node: NodeProto, rank: int) -> int:
    return 1 if _integer(node, "transA") else 0


def _last(node: NodeProto, rank: int) -> int:
    return rank - 1


def _last_but_one(node: NodeProto, rank: int) -> int:
    return max(rank - 2, 0)


_Axis = int | Callable[[NodeProto, int], int] | None
_Parts = dict[int, tuple[str, _Axis]]
_RECURRENT: _Parts = {1: ("weight", 1), 2: ("weight", 1), 3: ("bias", None)}
_NORM: _Parts = {1: ("scale", None), 2: ("bias", None)}
_CONV: _Parts = {1: ("weight", 0), 2: ("bias", None)}
_TRANSPOSED: _Parts = {1: ("weight", 1), 2: ("bias", None)}
_GEMM: _Parts = {0: ("weight", _gemm_a), 1: ("weight", _gemm_b), 2: ("bias", None)}
_MATMUL: _Parts = {0: ("weight", _last_but_one), 1: ("weight", _last)}
_ATTENTION: _Parts = {1: ("weight", 1), 2: ("bias", None)}
_EXPERTS: _Parts = dict.fromkeys((2, 4, 6), ("weight", 1))
_PARTS: dict[str, _Parts] = {
    "Conv": _CONV,
    "FusedConv": _CONV,
    "NhwcConv": _CONV,
    "NhwcFusedConv": _CONV,
    "DeformConv": {1: ("weight", 0), 3: ("bias", None)},
    "ConvTranspose": _TRANSPOSED,
    "ConvTransposeWithDynamicPads": {1: ("weight", 1), 3: ("bias", None)},
    "Gemm": _GEMM,
    "FusedGemm": _GEMM,
    "GemmFastGelu": {0: ("weight", _last_but_one), 1: ("weight", _last), 2: ("bias", None)},
    "MatMul": _MATMUL,
    "FusedMatMul": _MATMUL,
    "FusedMatMulActivation": _MATMUL,
    "TransposeMatMul": _MATMUL,
    "DynamicQuantizeMatMul": {},
    "MatMulIntegerToFloat": {},
    "MatMulNBits": {},
    "MatMulBnb4": {},
    "MatMulFpQ4": {},
    "Einsum": dict.fromkeys(range(8), ("weight", None)),
    "LSTM": {**_RECURRENT, 7: ("value", None)},
    "GRU": _RECURRENT,
    "RNN": _RECURRENT,
    "AttnLSTM": _RECURRENT,
    "Gather": {0: ("weight", 0)},
    "GatherND": {0: ("weight", 0)},
    "EmbedLayerNormalization": {2: ("weight", 0), 4: ("weight", 0), 5: ("scale", None), 6: ("bias", None)},
    "BatchNormalization": _NORM,
    "InstanceNormalization": _NORM,
    "LayerNormalization": _NORM,
    "GroupNormalization": _NORM,
    "GroupNorm": _NORM,
    "RMSNormalization": {1: ("scale", None)},
    "SimplifiedLayerNormalization": {1: ("scale", None)},
    "SkipLayerNormalization": {2: ("scale", None), 3: ("bias", None)},
    "SkipSimplifiedLayerNormalization": {2: ("scale", None)},
    "Attention": {},
    "LongformerAttention": {**_ATTENTION, 4: ("weight", 1), 5: ("bias", None)},
    "DecoderAttention": {2: ("weight", 1), 3: ("weight", 1)},
    "MoE": _EXPERTS,
    "WordConvEmbedding": {1: ("weight", 0), 3: ("weight", 0)},
    "Add": {0: ("added", None), 1: ("added", None)},
}
_PARTS_OF_MICROSOFT: dict[str, _Parts] = dict.fromkeys(
    ("Attention", "PackedAttention", "DecoderMaskedSelfAttention"), _ATTENTION
)
_VALUES_ALONE = ("RotaryEmbedding", "GroupQueryAttention", "MultiHeadAttention", "QuickGelu", "BiasGelu", "FastGelu")


def _integer(node: NodeProto, name: str) -> int:
    return next((int(a.i) for a in node.attribute if a.name == name), 0)
