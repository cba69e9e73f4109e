"""Copy a caller's module as a plain network: without wrappers, and without hooks and parametrizations of weights.

Pruning masks, weight norm, spectral norm and parametrizations compute a weight in every forward pass. In the copy its
present value is a plain parameter, so that it can be shared. The caller's module is not changed.
"""

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize, prune
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from qacomp.errors import CheckpointError
from qacomp.models.weight_places import memory_place

_WRAPPERS = {
    "OptimizedModule": "_orig_mod",  # torch.compile
    "DataParallel": "module",
    "DistributedDataParallel": "module",
    "AveragedModel": "module",
}
_MASKS, _WEIGHT_NORM = "torch.nn.utils.prune.remove", "torch.nn.utils.remove_weight_norm"
_SPECTRAL_NORM, _PARAMETRIZED = "torch.nn.utils.remove_spectral_norm", "parametrize.remove_parametrizations"


@dataclass(frozen=True)
class PlainModule:
    """`module`: the copy, on the CPU, without gradients, in the original's train or eval mode; `notes`: its changes."""

    module: nn.Module
    notes: tuple[str, ...]


def plain_module(module: nn.Module, path: Path) -> PlainModule:
    """Return a copy of `module` with plain parameters only; `path` names it in messages.

    Parameters that share their memory become one. Raises CheckpointError if a parameter has no values yet, is quantized
    or sharded, or if the module can't be copied.
    """
    inner, notes = _unwrapped(module)
    _refuse(inner, path)
    twin = copied(inner, path).cpu()
    notes += _unwrap_parts(twin)
    if isinstance(twin, torch.jit.ScriptModule):
        return PlainModule(twin, tuple(notes))
    notes += _bake(twin)
    for parameter in twin.parameters():
        parameter.data = parameter.data.contiguous()
    if not any(p.requires_grad for p in twin.parameters()):  # frozen for inference
        for parameter in twin.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
    return PlainModule(twin, tuple(notes))


def copied(module: nn.Module, path: Path | None = None) -> nn.Module:
    """Return a deep copy without gradients; tensors that a forward pass left in attributes are copied too.

    Parameters and buffers that share their memory become one. Raises CheckpointError if the module holds something that
    can't be copied, such as a lock or an open file.
    """
    memo: dict[int, Any] = {id(made): made.detach().clone() for made in _results(module)}
    first: dict[object, Tensor] = {}
    for tensor in (*module.parameters(), *module.buffers()):
        if tensor.numel() and tensor.is_leaf and not tensor.is_meta:
            known = first.setdefault(memory_place(tensor), tensor)
            if known is not tensor:
                memo[id(tensor)] = copy.deepcopy(known, memo)
    try:
        with torch.no_grad():
            twin = copy.deepcopy(module, memo)
    except Exception as error:  # an attribute's own copying may raise anything
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path or type(module).__name__}: the module can't be copied ({reason}); remove the attribute that can't "
            "be copied, or compress module.state_dict()"
        ) from error
    for parameter in twin.parameters():
        parameter.grad = None
    return twin


@contextmanager
def in_eval_mode(module: nn.Module) -> Iterator[None]:
    """Put a module in evaluation mode in the block; afterwards each of its parts has its former mode."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training  # not train(), which would change child modules too


def _results(module: nn.Module) -> Iterator[Tensor]:
    """Yield tensors with a gradient history that a forward pass left in attributes; torch refuses to copy them."""
    seen: set[int] = set()
    todo: list[Any] = [value for part in module.modules() for name, value in vars(part).items() if name != "_modules"]
    while todo:
        value = todo.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            if not value.is_leaf:
                yield value
        elif isinstance(value, dict):
            todo += value.values()
        elif isinstance(value, list | tuple | set):
            todo += value


def _inner(module: nn.Module) -> nn.Module | None:
    """Return the module inside a wrapper; None if `module` isn't a wrapper."""
    place = _WRAPPERS.get(type(module).__name__)
    found = None if place is None or not type(module).__module__.startswith("torch.") else getattr(module, place, None)
    return found if isinstance(found, nn.Module) else None


def _unwrapped(module: nn.Module) -> tuple[nn.Module, list[str]]:
    notes = []
    while (inner := _inner(module)) is not None:
        notes.append(f"{type(module).__name__}: the module inside it is compressed, under its own names")
        module = inner
    return module, notes


def _unwrap_parts(twin: nn.Module) -> list[str]:
    """Replace wrappers in the whole module tree by the modules inside them, in place; return a note for the user."""
    found = []
    for name, module in list(twin.named_modules(remove_duplicate=False)):
        for leaf, part in list(module.named_children()):
            bare = part
            while (inner := _inner(bare)) is not None:
                bare = inner
            if bare is not part:
                module.register_module(leaf, bare)
                found.append(f"{name}.{leaf}".removeprefix("."))
    return [f"{', '.join(found)}: the module inside the wrapper is compressed, under its own names"] if found else []


def _refuse(module: nn.Module, path: Path) -> None:
    for name, part in module.named_modules():
        if type(part).__name__ == "FullyShardedDataParallel":
            raise CheckpointError(f"{path}: {name or 'the module'} is sharded (FSDP); compress its full state dict")
        if type(part).__module__.startswith("torch.") and ".quantized" in type(part).__module__:
            raise CheckpointError(
                f"{path}: {name or 'the module'} is quantized ({type(part).__name__}), so its weights are packed "
                "integers; compress the float module that it was made from"
            )
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if nn.parameter.is_lazy(tensor):
            raise CheckpointError(f"{path}: {name} has no shape yet; run the module once on an input, then compress it")
        if tensor.is_meta:
            raise CheckpointError(f"{path}: {name} has no values (meta device); load its weights first")
        if tensor.is_quantized:
            raise CheckpointError(f"{path}: {name} is quantized; compress the float module that it was made from")


def _bake(twin: nn.Module) -> list[str]:
    """Replace every computed weight by a parameter with its present value, in place; return notes for the user.

    Weights that are computed in the same way from the same tensors become one parameter.
    """
    made: dict[tuple[int, ...], nn.Parameter] = {}
    baked: dict[str, list[str]] = {}

    def place(module: nn.Module, leaf: str, value: Tensor, sources: list[Tensor]) -> None:
        key = tuple(id(source) for source in sources)
        trained = any(source.requires_grad for source in sources)
        parameter = made.setdefault(key, nn.Parameter(value.detach().clone(), trained))
        if parameter.shape != value.shape or not torch.equal(parameter, value):
            parameter = nn.Parameter(value.detach().clone(), trained)
        module.register_parameter(leaf, parameter)

    keep: list[Any] = []  # keeps the tensors alive, so that no id is used twice
    with in_eval_mode(twin):  # in training mode a spectral norm would update its estimate
        for name, module in list(twin.named_modules()):
            for leaf, how, value, sources in (*_hooked(module), *_parametrized(module)):
                keep += sources
                place(module, leaf, value, sources)
                baked.setdefault(how, []).append(f"{name}.{leaf}".removeprefix("."))
    return [
        f"{', '.join(names[:4])}{', ...' if names[4:] else ''}: stored as plain weights, for loading into a module "
        f"after {how}"
        for how, names in baked.items()
    ]


def _hooked(module: nn.Module) -> Iterator[tuple[str, str, Tensor, list[Tensor]]]:
    """Yield (name, torch function that removes the hook, value, source tensors) of weights that pre-hooks compute.

    The hooks and the source tensors are removed from the module.
    """
    for key, hook in list(module._forward_pre_hooks.items()):
        if isinstance(hook, prune.BasePruningMethod):
            leaf, parts = hook._tensor_name, ["_orig", "_mask"]
            value, how = hook.apply_mask(module), _MASKS  # type: ignore[no-untyped-call]
        elif isinstance(hook, WeightNorm):
            leaf, parts = hook.name, ["_g", "_v"]
            value, how = hook.compute_weight(module), _WEIGHT_NORM
        elif isinstance(hook, SpectralNorm):
            leaf, parts = hook.name, ["_orig", "_u", "_v"]
            value, how = hook.compute_weight(module, do_power_iteration=False), _SPECTRAL_NORM
        else:
            continue
        sources = [getattr(module, leaf + part) for part in parts]
        for name in (leaf, *(leaf + part for part in parts)):
            if hasattr(module, name):
                delattr(module, name)
        del module._forward_pre_hooks[key]
        for hooks in (module._state_dict_hooks, module._load_state_dict_pre_hooks):
            for number, own in list(hooks.items()):
                if getattr(own, "fn", getattr(getattr(own, "hook", None), "fn", None)) is hook:
                    del hooks[number]  # those of a spectral norm, which need the removed tensors
        yield leaf, how, value.detach(), sources


def _parametrized(module: nn.Module) -> Iterator[tuple[str, str, Tensor, list[Tensor]]]:
    """Yield the same as `_hooked` for weights with torch.nn.utils.parametrize; the module gets its own class back."""
    if not parametrize.is_parametrized(module):
        return
    with torch.no_grad():
        chains = module.get_submodule("parametrizations").named_children()
        found = [(leaf, getattr(module, leaf), chain) for leaf, chain in chains]
    del module.parametrizations
    module.__class__ = type(module).__bases__[0]  # torch derived a class for the parametrized module
    for leaf, value, chain in found:
        yield leaf, _PARAMETRIZED, value, [*chain.parameters(), *chain.buffers()]
