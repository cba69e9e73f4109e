"""From whatever torch.load gave to a flat state dict: nesting, prefixes, entries that are no tensors."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.checkpoints.tree import is_tensor
from qacomp.errors import NotACheckpointError

if TYPE_CHECKING:
    from torch import nn

# Under which keys training scripts keep the weights, in order of preference.
NESTING_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "net_state_dict", "network", "params",
    "parameters", "weights", "module", "backbone",
)  # fmt: skip
_PREFIXES = ("module.", "_orig_mod.")  # DataParallel and DistributedDataParallel; torch.compile
_DEEPEST = 4


def unwrap(path: Path, loaded: Any) -> "tuple[dict[str, Any], tuple[str, ...]]":
    """(state dict in the stored order, notes on what was done to get it).

    Raises `NotACheckpointError` where there are no tensors, or several candidates of which none bears a known name.
    """
    notes: list[str] = []
    state = _descend(path, loaded, notes)
    tensors = {str(key): value for key, value in state.items() if isinstance(key, str) and is_tensor(value)}
    left_out = [repr(key) for key in state if key not in tensors]
    if not tensors:
        raise NotACheckpointError(f"{path}: its tensors have no names ({_few(left_out)}); save a state dict")
    if left_out:
        notes.append(f"left out, no tensors: {_few(left_out)}")
    for prefix in _PREFIXES * 2:
        if all(key.startswith(prefix) and len(key) > len(prefix) for key in tensors):
            tensors = {key.removeprefix(prefix): value for key, value in tensors.items()}
            notes.append(f"prefix {prefix} removed")
    return tensors, tuple(notes)


def _descend(path: Path, value: Any, notes: list[str]) -> Mapping[Any, Any]:
    """Follow the nesting to the mapping that holds the tensors."""
    trail: list[str] = []
    for _ in range(_DEEPEST):
        if _is_module(value):
            notes.append(f"the state dict of a pickled {type(value).__name__}")
            value = value.state_dict()
        if not isinstance(value, Mapping):
            what = f"a {type(value).__name__}" + (f" under {'.'.join(trail)}" if trail else "")
            raise NotACheckpointError(f"{path}: holds {what} where a state dict (names to tensors) is needed")
        key = _nested_key(path, value)
        if key is None:
            if any(is_tensor(entry) for entry in value.values()):
                if trail:
                    notes.insert(0, f"nested under {'.'.join(trail)}")
                return value
            raise NotACheckpointError(f"{path}: holds no tensors{_contents(value)}")
        beside = [repr(other) for other in value if other != key]
        if beside:
            notes.append(f"left out beside {key}: {_few(beside)}")
        trail.append(key)
        value = value[key]
    raise NotACheckpointError(f"{path}: its tensors are nested too deeply; save the state dict alone")


def pickled_module(loaded: Any) -> "nn.Module | None":
    """The nn.Module whose state dict `unwrap` takes, None where it is no module's."""
    for _ in range(_DEEPEST):
        if _is_module(loaded):
            module: nn.Module = loaded
            return module
        if not isinstance(loaded, Mapping):
            return None
        loaded = loaded.get(_nested_key(Path(), loaded))
    return None


def _nested_key(path: Path, value: Mapping[Any, Any]) -> str | None:
    """The key to go on under; None where the mapping itself is the state dict (or holds nothing)."""
    holders = [key for key, entry in value.items() if isinstance(key, str) and _holds_tensors(entry, _DEEPEST - 1)]
    for key in NESTING_KEYS:
        if key in holders:
            return key
    if any(is_tensor(entry) for entry in value.values()) or not holders:
        return None
    if len(holders) > 1:
        raise NotACheckpointError(
            f"{path}: tensors are nested under several keys ({_few(holders)}); save the one that is wanted alone"
        )
    return holders[0]


def _holds_tensors(value: Any, depth: int) -> bool:
    if _is_module(value):
        return True
    if not isinstance(value, Mapping) or depth == 0:
        return False
    return any(is_tensor(entry) for entry in value.values()) or any(
        _holds_tensors(entry, depth - 1) for key, entry in value.items() if key in NESTING_KEYS
    )


def _is_module(value: Any) -> bool:
    from torch import nn

    return isinstance(value, nn.Module)


def _contents(value: Mapping[Any, Any]) -> str:
    return f" (only {_few([repr(key) for key in value])})" if value else " (it is empty)"


def _few(names: list[str], most: int = 8) -> str:
    shown = ", ".join(name[:80] for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
