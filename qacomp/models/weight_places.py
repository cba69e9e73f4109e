"""Find the places of a network's weights: a tied weight has several names and places, but is one weight.

A network ties weights by holding one Parameter in several modules, or one module in several places. The first name in
the state dict identifies the weight. A parametrization is put on every place of a weight, so it stays one Parameter.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias, TypeVar

from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrize import ParametrizationList

T = TypeVar("T")
Place: TypeAlias = tuple[nn.Module, str]
"""A module, and the name of the weight in it."""


def split_name(model: nn.Module, name: str) -> Place:
    """Return the module that owns the parameter `name`, and the parameter's name in it."""
    path, _, leaf = name.rpartition(".")
    return model.get_submodule(path), leaf


def tied_names(model: nn.Module) -> dict[str, str]:
    """Return, for each state-dict name of a tied tensor but the first: name -> first name of the same tensor."""
    first: dict[int, str] = {}
    tied = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if first.setdefault(id(tensor), name) != name:
            tied[name] = first[id(tensor)]
    return tied


def memory_place(tensor: Tensor) -> object:
    """Return a key that is equal for two tensors only if they are the same values in the same memory."""
    memory = tensor.untyped_storage().data_ptr(), tensor.storage_offset(), tuple(tensor.stride())
    return (*memory, tensor.dtype, tuple(tensor.shape))


def tied_tensors(state: Mapping[str, Tensor]) -> dict[str, str]:
    """Return the same as `tied_names` for tensors without a network; tensors in the same memory are tied."""
    first: dict[object, str] = {}
    tied = {}
    for name, tensor in state.items():
        if tensor.numel() and first.setdefault(memory_place(tensor), name) != name:
            tied[name] = first[memory_place(tensor)]
    return tied


def other_names(tied: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return first name -> the other names of the same weight. tied: the result of `tied_names`."""
    others: dict[str, tuple[str, ...]] = {}
    for name, first in tied.items():
        others[first] = (*others.get(first, ()), name)
    return others


def other_places(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return first name of a tied tensor -> one name for each other module that holds it."""
    found = {}
    for first, others in other_names(tied_names(model)).items():
        known: dict[Place, str] = {}
        for name in (first, *others):
            known.setdefault(split_name(model, name), name)
        if len(known) > 1:
            found[first] = tuple(name for name in known.values() if name != first)
    return found


def under_all_names(tensors: Mapping[str, T], tied: Mapping[str, str]) -> dict[str, T]:
    """Return `tensors` (by first name) under all names of tied weights. tied: the result of `tied_names`."""
    return {**tensors, **{name: tensors[first] for name, first in tied.items() if first in tensors}}


def places(model: nn.Module, name: str) -> list[Place]:
    """Return each place in `model` of the weight `name`, plain or parametrized, once; the named place comes first."""
    owner, leaf = split_name(model, name)
    wanted, found = _held(owner).get(leaf), [(owner, leaf)]
    for module in model.modules():
        if isinstance(module, ParametrizationList):
            continue
        for own, held in _held(module).items():
            if held is wanted and (module is not owner or own != leaf):
                found.append((module, own))
    return found


def put_on(model: nn.Module, name: str, part: nn.Module, *, unsafe: bool = False) -> None:
    """Parametrize the plain weight `name` by `part`; all its places hold the same ParametrizationList.

    unsafe: the tensor that `part` maps to the weight has another shape (see torch.nn.utils.parametrize).
    """
    (owner, leaf), *others = places(model, name)
    like = getattr(owner, leaf)
    parametrize.register_parametrization(owner, leaf, part, unsafe=unsafe)
    for module, own in others:
        setattr(module, own, nn.Parameter(like.new_zeros(())))  # a placeholder, until the list replaces it
        parametrize.register_parametrization(module, own, nn.Identity())
        module.get_submodule("parametrizations").add_module(own, parametrizations(owner, leaf))


def take_off(model: nn.Module, name: str) -> None:
    """Make the weight `name` a plain parameter again, in all its places, with its present values."""
    (owner, leaf), *others = places(model, name)
    parametrize.remove_parametrizations(owner, leaf, leave_parametrized=True)
    for module, own in others:  # they hold the same Parameter, which has these values already
        parametrize.remove_parametrizations(module, own, leave_parametrized=False)


def parametrizations(model: nn.Module, name: str) -> Any:
    """Return the ParametrizationList of a parametrized weight."""
    owner, leaf = split_name(model, name)
    return owner.get_submodule(f"parametrizations.{leaf}")


def is_parametrized_by(model: nn.Module, name: str, kind: type[nn.Module]) -> bool:
    """Return whether the first parametrization of the weight `name` is a `kind`."""
    owner, leaf = split_name(model, name)
    return parametrize.is_parametrized(owner, leaf) and isinstance(parametrizations(model, name)[0], kind)


def _held(module: nn.Module) -> dict[str, Any]:
    """Return a module's own tensors by name; a parametrized tensor is given by its ParametrizationList."""
    held: dict[str, Any] = dict(module.named_parameters(recurse=False, remove_duplicate=False))
    held |= dict(module.named_buffers(recurse=False, remove_duplicate=False))
    return held | dict(getattr(module, "parametrizations", {}))
