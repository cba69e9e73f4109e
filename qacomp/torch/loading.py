"""Load the tensors of a container into a module, one at a time, after all names, shapes and types were compared."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qacomp.checkpoints.tensors import few
from qacomp.errors import ArchitectureMismatchError
from qacomp.exporting.part import WHOLE, Part
from qacomp.remote import open_file
from qacomp.torch.contents import NetworkContents, network_contents
from qacomp.torch.on_device import wanted_on_device


@dataclass(frozen=True)
class Loaded:
    """What `load_into` did. tensors: number of those that were loaded.

    missing: names of the module that the file lacks; unexpected: names of the file that the module lacks; empty: names
    of tensors that are on the meta device still, such as buffers that no state dict holds; on_cpu: within
    `decoding_on_device`, names of shared tensors whose indices were decoded on the CPU all the same.
    """

    tensors: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    empty: tuple[str, ...]
    on_cpu: tuple[str, ...] = ()


def load_into(
    module: nn.Module,
    path: str | os.PathLike[str],
    *,
    strict: bool = True,
    assign: bool = False,
    subfolder: str = "",
    part: Part = WHOLE,
) -> Loaded:
    """Load the tensors of a container (or of an index of shards) into a module; one at a time is in memory.

    Each tensor is copied to the parameter or buffer of its name, on that one's device. With `assign`, and where the
    module is on the meta device, a new tensor with the file's dtype takes its place; for the meta device it goes to
    torch's default device (`with torch.device("cuda"):`). Tied parameters stay tied; one of their names is enough.
    strict: raise if a name is missing or unexpected, or if a tensor of the module stays without values.
    subfolder: of a folder with several models, that of the one to load; part: a level of a progressive container.

    Before anything is loaded, raises ArchitectureMismatchError, which lists names, shapes and dtypes that don't fit;
    also ConfigError, and FormatError for a damaged file, which may leave the module half loaded.
    """
    with open_file(path, allow_truncated=part.allow_truncated) as container:
        contents = network_contents(container, part, subfolder)
        places = _places(module)
        described = contents.described()
        missing, unexpected = _differences(places, described)
        wanted = {name: tensor for name, tensor in places.items() if name in described}
        _check_fits(container.source, wanted, described, assign)
        left = _left_empty(module, set(map(id, wanted.values())))
        if strict and (missing or unexpected or left):
            raise ArchitectureMismatchError(
                f"{container.source}: doesn't fit the {type(module).__name__}: "
                + "; ".join(
                    f"{len(names)} {word} ({few(names)})"
                    for word, names in (("missing", missing), ("unexpected", unexpected), ("without values", left))
                    if names
                )
                + "; give the class and configuration that it was saved with, or strict=False"
            )
        container.read_ahead()
        on_cpu = _load(module, wanted, contents, assign)
    return Loaded(len(wanted), tuple(missing), tuple(unexpected), tuple(left), on_cpu)


def _places(module: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by each name in the module's state dict."""
    state = module.state_dict(keep_vars=True)
    return {name: tensor for name, tensor in state.items() if isinstance(tensor, Tensor)}


def _differences(places: Mapping[str, Tensor], described: Mapping[str, object]) -> tuple[list[str], list[str]]:
    """Return the module's names that the file lacks, unless they are tied to one that it has, and the reverse."""
    known = {id(tensor) for name, tensor in places.items() if name in described}
    missing = [name for name, tensor in places.items() if name not in described and id(tensor) not in known]
    return missing, [name for name in described if name not in places]


def _check_fits(
    source: str,
    wanted: Mapping[str, Tensor],
    described: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    assign: bool,
) -> None:
    """Raise ArchitectureMismatchError for tensors whose shape differs, or dtype where it isn't taken from the file."""
    shapes, dtypes = [], []
    for name, tensor in wanted.items():
        dtype, shape = described[name]
        if tuple(tensor.shape) != shape:
            shapes.append(f"{name[:80]} is {list(tensor.shape)}, in the file {list(shape)}")
        elif tensor.dtype != dtype and not (assign or tensor.is_meta):
            dtypes.append(f"{name[:80]} is {_word(tensor.dtype)}, in the file {_word(dtype)}")
    if shapes:
        raise ArchitectureMismatchError(f"{source}: shapes differ: {few(shapes)}; give the configuration of this file")
    if dtypes:
        raise ArchitectureMismatchError(
            f"{source}: types differ: {few(dtypes)}; convert the module first (module.to), or give assign=True to take "
            "the file's types"
        )


def _load(module: nn.Module, wanted: Mapping[str, Tensor], contents: NetworkContents, assign: bool) -> tuple[str, ...]:
    """Decode each tensor and put it into its place; a tied one once. Return the names for `Loaded.on_cpu`."""
    done: set[int] = set()
    on_cpu = []
    for name, tensor in wanted.items():
        if id(tensor) in done:
            continue
        done.add(id(tensor))
        target = torch.get_default_device() if tensor.is_meta else tensor.device
        with torch.no_grad():
            if wanted_on_device():
                value, by_numpy = contents.read_on(name, target)
                on_cpu += [name] * by_numpy
            else:
                value = contents.read(name)
            if not assign and not tensor.is_meta:
                tensor.copy_(value)
                continue
            value = value.to(target)
        new = nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value
        _replace(module, tensor, new)
    return tuple(on_cpu)


def _replace(module: nn.Module, old: Tensor, new: Tensor) -> None:
    """Put a tensor in every place of the module that holds `old`, so that tied parameters stay tied."""
    for owner in module.modules():
        for held in (owner._parameters, owner._buffers):
            for name, tensor in held.items():
                if tensor is old:
                    held[name] = new  # type: ignore[assignment]


def _left_empty(module: nn.Module, filled: set[int]) -> list[str]:
    """Return the names of tensors on the meta device that aren't among those that are filled."""
    named = [*module.named_parameters(), *module.named_buffers()]
    return [name for name, tensor in named if tensor.is_meta and id(tensor) not in filled]


def _word(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
