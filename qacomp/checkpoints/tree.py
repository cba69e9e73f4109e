"""Find tensors in a file's object by their paths: the keys through dicts, lists and objects."""

from collections.abc import Iterable
from typing import Any

from qacomp.checkpoints.views import Quantized, Untaken, View
from qacomp.errors import NotACheckpointError
from qacomp.pickles import LARGEST_NAME, UnmadeObject

MOST_TENSORS = 500_000
_LONGEST = 64  # keys in a path
_NAMES_BYTES = 64 << 20
_DESCRIBED = (View, Quantized, Untaken)

Path = tuple[Any, ...]
"""Keys of dicts and indices of lists, the outermost first."""


def tensor_paths(value: Any, where: object) -> dict[Path, Any]:
    """Map the path of every tensor to the tensor, in the file's order; a tensor in several places has several paths.

    Containers without tensors are visited once. Raises NotACheckpointError if there are more paths, or longer ones,
    than a checkpoint has, since a small file can hold 2^60 of them.
    """
    holders = _holders(value)
    found: dict[Path, Any] = {}
    names, steps = 0, 0
    waiting: list[tuple[Path, Any]] = [((), value)]
    while waiting:
        path, entry = waiting.pop()
        steps += 1
        if is_tensor(entry):
            found[path] = entry
            names += sum(len(key) for key in path if isinstance(key, str))
        elif id(entry) in holders:
            if len(path) >= _LONGEST:
                raise NotACheckpointError(f"{where}: its tensors are nested too deeply; save only the state dict")
            inside = [
                ((*path, key), below) for key, below in children(entry) if is_tensor(below) or id(below) in holders
            ]
            waiting += reversed(inside)
        if steps > 4 * MOST_TENSORS or len(found) > MOST_TENSORS or names > _NAMES_BYTES:
            raise NotACheckpointError(f"{where}: holds tensors under more than {MOST_TENSORS:,} names; damaged?")
    return found


def dotted(path: Path) -> str:
    """Return a path as a name, its keys joined by dots. Raises NotACheckpointError if the name is too long."""
    name = ".".join(key if isinstance(key, str) else repr(key) for key in path)
    if len(name) > LARGEST_NAME:
        raise NotACheckpointError(f"a tensor's name has {len(name)} characters ({name[:80]}...); damaged?")
    return name


def is_tensor(value: Any) -> bool:
    """Return whether a value is a torch tensor or the description of one."""
    if isinstance(value, _DESCRIBED):
        return True
    return hasattr(value, "untyped_storage")  # recognises torch tensors without importing torch


def is_module(value: Any) -> bool:
    """Return whether a value is an nn.Module, which a trusted pickle may hold."""
    return hasattr(value, "named_parameters") and hasattr(value, "state_dict")


def is_nameable(path: Path) -> bool:
    """Return whether all keys of a path are text or integers."""
    return all(isinstance(key, str) or type(key) is int for key in path)


def children(value: Any) -> Iterable[tuple[Any, Any]]:
    """Return the (key, entry) pairs of a container, a module's state dict, or the state of a placeholder."""
    if is_module(value):
        value = value.state_dict()
    for _ in range(_LONGEST):
        if not isinstance(value, UnmadeObject):
            break
        value = value.state
    if isinstance(value, dict):
        return value.items()
    return enumerate(value) if isinstance(value, list | tuple) else ()


def _holders(value: Any) -> set[int]:
    """Return the ids of the containers from which a tensor can be reached. Each container is visited once."""
    above: dict[int, list[int]] = {}
    seen, waiting, reached = {id(value)}, [value], []
    while waiting:
        container = waiting.pop()
        for _, entry in children(container):
            if is_tensor(entry):
                reached.append(id(container))
            elif is_module(entry) or (isinstance(entry, dict | list | tuple | UnmadeObject) and entry):
                above.setdefault(id(entry), []).append(id(container))
                if id(entry) not in seen:
                    seen.add(id(entry))
                    waiting.append(entry)
    holders: set[int] = set()
    while reached:
        holder = reached.pop()
        if holder not in holders:
            holders.add(holder)
            reached += above.get(holder, ())
    return holders
