"""List the weights of a network (of its convolutions and dense layers), and the weights among bare tensors."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from qacomp.models.weight_places import other_names, tied_names, tied_tensors
from qacomp.sharing.selection import TIED, Rules, Selection, Weight, select
from qacomp.tensors.constants import constant_kind, constant_name, grid_kind_of
from qacomp.tensors.name_roles import role_of
from qacomp.tensors.torch_format import to_array
from qacomp.tensors.weight_parts import exact_parts

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def select_layers(model: nn.Module, scope: str, k: int, overrides: Mapping[str, int], **which: Any) -> Selection:
    """Select the weights of `model` to share.

    scope: all | conv | dense; k: shared values in a tensor; overrides: name or pattern -> another K; which: include,
    exclude, min_size of `qacomp.sharing.selection.Rules`. Raises ConfigError for a pattern that matches no tensor.
    """
    return select(layer_weights(model), Rules(scope, k, overrides, **which))


def layer_weights(model: nn.Module) -> list[Weight]:
    """Return all tensors of a network; only the weights of convolutions and dense layers may be shared."""
    tied = tied_names(model)
    layers: dict[str, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
            name = f"{path}.weight" if path else "weight"
            layers.setdefault(tied.get(name, name), module)
    return as_one([_of_module(name, t, layers.get(name)) for name, t in model.state_dict().items()], tied)


def tensor_weights(state: Mapping[str, Tensor]) -> list[Weight]:
    """Return all tensors of a state dict without an architecture; three or more dimensions count as a convolution's.

    Without a graph nothing tells which operator reads a tensor. So a tensor whose values or name show a constant is
    shared only if --include names it.
    """
    parts = exact_parts(state)
    weights = [_of_tensor(name, tensor) for name, tensor in state.items()]
    return as_one([replace(w, never=parts.get(w.name, w.never)) for w in weights], tied_tensors(state))


def as_one(weights: Iterable[Weight], tied: Mapping[str, str]) -> list[Weight]:
    """Return the weights with tied ones merged: the first lists the other names, and the others are never selected.

    tied: a tied weight's other name -> its first name.
    """
    others = other_names(tied)
    return [
        replace(w, never=f"{TIED}{tied[w.name]}: one weight, stored once")
        if w.name in tied
        else replace(w, tied=others.get(w.name, ()))
        for w in weights
    ]


def _of_module(name: str, tensor: Tensor, module: nn.Module | None) -> Weight:
    shape = tuple(tensor.shape)
    read = partial(to_array, tensor)
    if module is None:
        return Weight(name, shape, read, "", never="not the weight of a convolution or a dense layer")
    kind = "conv" if isinstance(module, _CONVOLUTIONS) else "dense"
    axis = 1 if isinstance(module, _TRANSPOSED) else 0
    never = None if tensor.numel() else "empty"
    what = f"weight of {type(module).__name__}"
    found = grid_kind_of(to_array(tensor)) if never is None and bool(tensor.isfinite().all()) else None
    unless_asked = found and f"{what}, but by its values {found}: kept exactly unless --include names it"
    return Weight(name, shape, read, what, kind, axis, never, unless_asked)


def _of_tensor(name: str, tensor: Tensor) -> Weight:
    shape, never = tuple(tensor.shape), None
    if not tensor.is_floating_point():
        never = f"{str(tensor.dtype).removeprefix('torch.')}: kept exactly"
    elif tensor.itemsize == 1:
        never = "8-bit float: kept exactly"
    elif tensor.ndim < 2:
        never = "fewer than two dimensions: kept exactly"
    elif not tensor.numel():
        never = "empty"
    kind = "dense" if tensor.ndim == 2 else "conv"
    what = role_of(name) or f"{tensor.ndim}-dimensional tensor"
    unless_asked = None if never else _constant(name, tensor, what)
    return Weight(name, shape, partial(to_array, tensor), what, kind, 0, never, unless_asked)


def _constant(name: str, tensor: Tensor, what: str) -> str | None:
    """Return why a tensor is taken for a constant, or None for a weight."""
    array = to_array(tensor)
    if found := constant_kind(array):
        return f"{what}, by its values {found}, not a weight: kept exactly unless --include names it"
    if found := constant_name(name, array):
        return f"{what}, {found} by its name, not a weight: kept exactly unless --include names it"
    return None
