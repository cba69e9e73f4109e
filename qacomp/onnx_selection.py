"""Which tensors of an ONNX graph are weights to share, by what reads them."""

from collections.abc import Sequence

from onnx import TensorProto

from qacomp.onnx_graph.consumers import Role
from qacomp.onnx_graph.skeleton import Slot
from qacomp.onnx_graph.values import DTYPES, FLOATS, type_name
from qacomp.selection import Candidate

_SIDE_PARTS = ("bias", "scale")


def candidate(slot: Slot, roles: Sequence[Role]) -> Candidate:
    """What to decide on: a weight of Conv, MatMul, LSTM, ... is shared, a bias or a mere value unless asked for."""
    tensor = slot.site.tensor
    shape = tuple(tensor.dims)
    role = _weight(roles, tensor)
    what = str(role or (roles[0] if roles else "tensor that no node reads"))
    kind = "conv" if role is not None and "Conv" in role.op else "dense"
    axis = role.axis if role is not None and role.axis is not None and role.axis < len(shape) else 0
    unless_asked = None if role is not None else f"{what}, no weight"
    return Candidate(slot.name, shape, what, kind, axis, _never(slot), unless_asked)


def is_side_vector(slot: Slot, roles: Sequence[Role]) -> bool:
    """Whether a vector may be rounded as biases are: every node that reads it takes it as a bias or a scale.

    Of any other vector (variances, sizes, limits, a custom operator's) nothing is known that would allow it.
    """
    known = bool(roles) and all(role.part in _SIDE_PARTS for role in roles)
    return known and slot.site.tensor.data_type == TensorProto.FLOAT and len(slot.site.tensor.dims) <= 1


def _weight(roles: Sequence[Role], tensor: TensorProto) -> Role | None:
    """The role in which the tensor is a weight; a table that is added, such as a position embedding, counts as one."""
    for role in roles:
        if role.part == "weight":
            return role
    long_axes = sum(d > 1 for d in tensor.dims)
    added = next((role for role in roles if role.op == "Add"), None)
    return Role("Add", "table") if added is not None and long_axes > 1 else None


def _never(slot: Slot) -> str | None:
    tensor, kind = slot.site.tensor, slot.site.kind
    if kind == "sparse":
        return "sparse tensor: kept exactly"
    if tensor.data_type not in DTYPES or tensor.data_type not in FLOATS:
        return f"{type_name(tensor)}: kept exactly"
    if len(tensor.dims) < 2:
        return "fewer than two dimensions: kept exactly"
    if 0 in tensor.dims:
        return "empty"
    if kind == "attribute":
        return "in an operator's attribute: kept exactly"
    if slot.site.scope is None:
        return "inside a training graph: kept exactly"
    return None
