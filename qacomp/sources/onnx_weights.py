"""Decide which tensors of an ONNX graph are shared as weights and which are rounded as biases, by what reads them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

from numpy.typing import NDArray
from onnx import TensorProto

from qacomp.graphs.readers import Key
from qacomp.graphs.roles import Role
from qacomp.graphs.skeleton import Slot
from qacomp.graphs.values import DTYPES, FLOATS, type_name
from qacomp.graphs.walk import Site
from qacomp.sharing.selection import Weight
from qacomp.tensors.constants import constant_kind, grid_kind_of
from qacomp.tensors.half_precision import holds, holds_bias, reach_of

ArrayOf = Callable[[Site], NDArray[Any]]
_TABLE_SIDE = 16  # least values of both sides of a learned table: boxes and points have fewer


def weight_of(slot: Slot, roles: Sequence[Role], array_of: ArrayOf) -> Weight:
    """Return a tensor as a Weight: weights of Conv, MatMul, LSTM, ... are shared, other tensors only if asked for.

    A tensor that one operator reads as a weight and another as a plain value counts as a weight: its error is in the
    product in any case. A tensor whose values show a constant is shared only if asked for. In a product only grids
    of equal steps count as constants; in a look-up masks and tables of sines, powers or ordered values do too. A
    learned table that is added to data, such as one of positions, may also be shared where outputs are measured.
    """
    tensor = slot.site.tensor
    shape = tuple(tensor.dims)
    role = next((role for role in roles if role.part == "weight"), None)
    what = str(role or (roles[0] if roles else "tensor that no node reads"))
    kind = "conv" if role is not None and "Conv" in role.op else "dense"
    axis = role.axis if role is not None and role.axis is not None and role.axis < len(shape) else 0
    never = _never(slot)
    unless_asked, learned = None, False
    if role is None:
        learned = never is None and _is_learned_table(roles, shape, partial(array_of, slot.site))
        unless_asked = f"{what}, not a weight"
        unless_asked += ": kept exactly unless --include names it" if roles and never is None else ""
        what = f"{what}, a learned table" if learned else what
    elif never is None:
        found = _constant(array_of(slot.site), role)
        unless_asked = found and f"{what}, but by its values {found}: kept exactly unless --include names it"
    return Weight(slot.name, shape, partial(array_of, slot.site), what, kind, axis, never, unless_asked, learned)


def rounded_vectors(
    wanted: Sequence[Slot], uses: Sequence[Sequence[Role]], found: Iterable[Site], precision: str, array_of: ArrayOf
) -> dict[str, str]:
    """Return the vectors that `precision` may hold: name -> description, as in "bias of Conv, a vector".

    Every node that reads such a vector must use it as the bias of a product or as the scale or bias of a norm, and the
    rounding must be small (see `holds` and `holds_bias`). Any other vector (variances, limits, offsets) is stored
    exactly, since nobody knows how exact it must be.
    """
    if precision == "exact":
        return {}
    known = {(id(site.scope), site.value): site for site in found if site.scope is not None and site.value}
    return {
        slot.name: f"{use[0]}, a vector"
        for slot, use in zip(wanted, uses, strict=True)
        if _is_held_vector(slot, use, precision, known, array_of)
    }


def _is_held_vector(
    slot: Slot, roles: Sequence[Role], precision: str, known: Mapping[Key, Site], array_of: ArrayOf
) -> bool:
    tensor = slot.site.tensor
    plain = tensor.data_type == TensorProto.FLOAT and len(tensor.dims) == 1 and tensor.dims[0] > 0
    if not plain or not roles or any(role.part not in ("bias", "scale") for role in roles):
        return False
    values = array_of(slot.site)
    if any(role.op == "Add" for role in roles) and constant_kind(values) is not None:  # coordinates, not a bias
        return False
    for role in roles:
        weights = [array_of(known[key]) for key in role.beside if key in known and _is_float(known[key].tensor)]
        reach = min((reach_of(weight, values.size) for weight in weights), default=0.0)
        if not (holds(values, precision) if role.part == "scale" else holds_bias(values, precision, reach)):
            return False
    return True


def _constant(array: NDArray[Any], role: Role) -> str | None:
    """Return the kind of constant that the values show, or None. A product's filters may be sines and are weights."""
    return constant_kind(array) if role.lookup else grid_kind_of(array)


def _is_learned_table(roles: Sequence[Role], shape: Sequence[int], values: Callable[[], NDArray[Any]]) -> bool:
    """Return whether a tensor is only added to data, has rows of many values, and they show no kind of constant."""
    added = bool(roles) and all(role.op == "Add" and role.part == "value" for role in roles)
    sides = [n for n in shape if n > 1]
    return added and len(sides) == 2 and min(sides) >= _TABLE_SIDE and constant_kind(values()) is None


def _is_float(tensor: TensorProto) -> bool:
    return tensor.data_type in FLOATS and tensor.data_type != TensorProto.BFLOAT16


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
