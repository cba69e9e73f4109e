"""Find the parts of a state dict from which weights are computed: pruning masks, and scales of weight norm.

The state dict of a module under torch.nn.utils.prune holds weight_orig and weight_mask. Under weight_norm it holds
weight_g and weight_v, or parametrizations.weight.original0 and original1.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_MASK = "_mask"
_SCALES = (("_g", "_v", ""), (".original0", ".original1", "parametrizations."))  # scale, direction, prefix of the name


def may_be_part(name: str) -> bool:
    """Return whether a tensor's name is that of a mask or a scale; without any, `exact_parts` finds nothing."""
    return name.endswith((_MASK, *(scale for scale, _, _ in _SCALES)))


def exact_parts(state: "Mapping[str, Tensor]") -> dict[str, str]:
    """Map names of tensors that must be stored exactly to the reason: a pruning mask, or the scale of weight norm."""
    kept = {mask: f"the pruning mask of {orig}: kept exactly" for _, orig, mask in _masked(state)}
    return kept | {scale: f"weight norm's scale of {v}: kept exactly" for _, scale, v in _normed(state)}


def with_weights(state: "Mapping[str, Tensor]") -> "tuple[dict[str, Tensor], list[str]]":
    """Return the state dict with weights computed from their parts, and the names of these weights.

    A weight replaces its parts, at the place of its mask or direction.
    """
    made: dict[str, Tensor] = {}
    parts: dict[str, str | None] = {}
    for name, orig, mask in _masked(state):
        made[name] = state[orig] * state[mask].to(state[orig].dtype)
        parts |= {orig: None, mask: name}
    for name, scale, direction in _normed(state):
        made[name] = _of_norm(state[scale], state[direction])
        parts |= {scale: None, direction: name}
    whole: dict[str, Tensor] = {}
    for name, tensor in state.items():
        weight = parts.get(name, name)
        if weight is not None:
            whole[weight] = made.get(weight, tensor)
    return whole, list(made)


def _masked(state: "Mapping[str, Tensor]") -> Iterator[tuple[str, str, str]]:
    """Yield the names of (weight, its values before masking, its mask)."""
    for mask, tensor in state.items():
        name = mask.removesuffix(_MASK)
        orig = state.get(f"{name}_orig")
        if name == mask or name in state or orig is None or orig.shape != tensor.shape:
            continue
        if bool(((tensor == 0) | (tensor == 1)).all()):
            yield name, f"{name}_orig", mask


def _normed(state: "Mapping[str, Tensor]") -> Iterator[tuple[str, str, str]]:
    """Yield the names of (weight, its scale, its direction)."""
    for scale, tensor in state.items():
        for own, other, folder in _SCALES:
            base = scale.removesuffix(own)
            direction, (before, inside, leaf) = state.get(base + other), f".{base}".rpartition(f".{folder}")
            if base == scale or direction is None or not inside or not _is_scale(tensor, direction):
                continue
            name = f"{before}.{leaf}".removeprefix(".")
            if name not in state:
                yield name, scale, base + other


def _is_scale(scale: "Tensor", direction: "Tensor") -> bool:
    """Return whether a scale has one value for each slice of the direction along one axis, or a single value."""
    if not scale.is_floating_point() or scale.ndim not in (0, direction.ndim):
        return False
    fits = all(a in (1, b) for a, b in zip(scale.shape, direction.shape, strict=False))
    return fits and sum(size > 1 for size in scale.shape) <= 1


def _of_norm(scale: "Tensor", direction: "Tensor") -> "Tensor":
    """Compute scale · direction / ‖direction‖, with the norm of each slice that has its own scale."""
    import torch

    axes = [axis for axis in range(direction.ndim) if not scale.ndim or scale.shape[axis] == 1]
    lengths: Tensor = torch.linalg.vector_norm(direction, dim=axes, keepdim=bool(scale.ndim))
    return scale * direction / lengths
