"""Which weights of a network are candidates for sharing: those of convolutions and dense layers."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from qacomp.models.weight_places import other_names, split_name, tied_names, tied_tensors
from qacomp.sharing.selection import TIED, Candidate, Layer, Rules, Selection, select, value_for
from qacomp.tensors.constants import constant_kind, constant_name, grid_kind_of
from qacomp.tensors.torch_format import to_array
from qacomp.tensors.weight_parts import exact_parts

__all__ = ["Layer", "Selection", "select_layers", "select_tensors", "split_name", "value_for"]

_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, *_TRANSPOSED)


def select_layers(model: nn.Module, scope: str, k: int, overrides: Mapping[str, int], **which: Any) -> Selection:
    """The weights of `model` to share: of convolutions and dense layers, as far as the rules admit them.

    scope: all | conv | dense; overrides: name or pattern -> its own K; which: include, exclude, min_size of
    `qacomp.sharing.selection.Rules`. Raises ConfigError for a pattern that fits nothing.
    """
    rules = Rules(scope, k, overrides, **which)
    tied = tied_names(model)
    weights: dict[str, nn.Module] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, (*_CONVOLUTIONS, nn.Linear)):
            name = f"{path}.weight" if path else "weight"
            weights.setdefault(tied.get(name, name), module)
    candidates = [_of_module(name, t, weights.get(name)) for name, t in model.state_dict().items()]
    return select(as_one(candidates, tied), rules)


def select_tensors(
    state: Mapping[str, Tensor], scope: str, k: int, overrides: Mapping[str, int], **which: Any
) -> Selection:
    """The same without an architecture: a float tensor of three or more dimensions counts as conv, of two as dense.

    No graph tells what reads a tensor. One whose values, or name, say that it is a constant isn't shared unless asked.
    """
    rules = Rules(scope, k, overrides, **which)
    parts = exact_parts(state)
    candidates = [_of_tensor(name, tensor) for name, tensor in state.items()]
    candidates = [replace(c, never=parts.get(c.name, c.never)) for c in candidates]
    return select(as_one(candidates, tied_tensors(state)), rules)


def as_one(candidates: Iterable[Candidate], tied: Mapping[str, str]) -> list[Candidate]:
    """The candidates, of tied ones the first with all the names; the others are never chosen by themselves.

    tied: name -> the first name of the same weight.
    """
    others = other_names(tied)
    return [
        replace(c, never=f"{TIED}{tied[c.name]}: one weight, stored once")
        if c.name in tied
        else replace(c, tied=others.get(c.name, ()))
        for c in candidates
    ]


def _of_module(name: str, tensor: Tensor, module: nn.Module | None) -> Candidate:
    shape = tuple(tensor.shape)
    if module is None:
        return Candidate(name, shape, "", never="no weight of a convolution or a dense layer")
    kind = "conv" if isinstance(module, _CONVOLUTIONS) else "dense"
    axis = 1 if isinstance(module, _TRANSPOSED) else 0
    never = None if tensor.numel() else "empty"
    what = f"weight of {type(module).__name__}"
    found = grid_kind_of(to_array(tensor)) if never is None and bool(tensor.isfinite().all()) else None
    unless_asked = found and f"{what}, but by its values {found}: kept exactly unless --include names it"
    return Candidate(name, shape, what, kind, axis, never, unless_asked)


def _of_tensor(name: str, tensor: Tensor) -> Candidate:
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
    what = f"{tensor.ndim}-dimensional tensor"
    return Candidate(name, shape, what, kind, 0, never, None if never else _constant(name, tensor, what))


def _constant(name: str, tensor: Tensor, what: str) -> str | None:
    """Why a tensor is taken for a constant, None where it is a weight."""
    array = to_array(tensor)
    if found := constant_kind(array):
        return f"{what}, by its values {found}, no weight: kept exactly unless --include names it"
    if found := constant_name(name, array):
        return f"{what}, {found} by its name, no weight: kept exactly unless --include names it"
    return None
