"""Find the weights in a file's object and flatten them to a state dict; notes say what was left out."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from qacomp.checkpoints.tree import Path, children, dotted, is_module, is_nameable, tensor_paths
from qacomp.checkpoints.wrappers import without_wrappers
from qacomp.errors import AmbiguousCheckpointError, NotACheckpointError

if TYPE_CHECKING:
    from torch import nn

EVERYTHING = "."
"""The key that means all tensors of a file, with names made from their paths."""
# Keys under which training scripts store the weights, in order of preference.
NESTING_KEYS = (
    "state_dict", "model_state_dict", "model_state", "model", "net", "net_state_dict", "network", "params",
    "parameters", "weights", "module",
)  # fmt: skip
_TRAINING = re.compile(r"(^|[_.\-])(optim\w*|opt|\w*sched\w*|scaler|amp|rng|callbacks|loops)([_.\-]|$)", re.IGNORECASE)
_AVERAGED = re.compile(r"(^|[_.\-])(ema|shadow|averaged|swa)([_.\-]|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Unwrapped:
    """A state dict, of tensors or their descriptions, in the file's order; notes: what was done to get it.

    module: the pickled nn.Module to which the state dict belongs, or None.
    """

    state: dict[str, Any]
    notes: tuple[str, ...]
    module: "nn.Module | None" = None


def unwrap(where: object, loaded: Any, key: str | None = None) -> Unwrapped:
    """Find the weights in `loaded`: under the dotted `key`, or under a usual key or the only possible one.

    Raises NotACheckpointError if there are no tensors, and AmbiguousCheckpointError if there are several networks or
    no tensors under `key`.
    """
    if not isinstance(loaded, Mapping) and not is_module(loaded):
        raise NotACheckpointError(
            f"{where}: holds a {type(loaded).__name__}, not a state dict (names to tensors); save the state dict"
        )
    paths = tensor_paths(loaded, where)
    if not paths:
        raise NotACheckpointError(f"{where}: holds no tensors{_contents(loaded)}")
    notes: list[str] = []
    if key is not None:
        state = _named(where, paths, notes)
        if key != EVERYTHING:
            state = _under(where, state, key, loaded, paths, notes)
            state = without_wrappers(state, notes)
        return Unwrapped(state, tuple(notes))
    root, left_out = _root(where, loaded, paths, notes)
    below = {path[len(root) :]: tensor for path, tensor in paths.items() if path[: len(root)] == root}
    below = {path: tensor for path, tensor in below.items() if path[0] not in left_out}
    node, names = _at(loaded, root), _named(where, below, notes)
    if is_module(node):
        notes.append(f"the state dict of a pickled {type(node).__name__}")
    if plain := _without_tensors(node, below, left_out):
        notes.append(f"left out, no tensors: {_few(plain)}")
    return Unwrapped(without_wrappers(names, notes), tuple(notes), node if is_module(node) else None)


def _root(where: object, loaded: Any, paths: Mapping[Path, Any], notes: list[str]) -> tuple[Path, set[Any]]:
    """Return the path of the weights, and the keys there that hold something else (optimizers, averages)."""
    root: Path = ()
    known_above = False
    while True:
        counts: dict[Any, int] = {}
        for path in paths:
            if path[: len(root)] == root:
                counts[path[len(root)]] = counts.get(path[len(root)], 0) + 1
        entries = dict(children(_at(loaded, root)))
        nested = [k for k in counts if isinstance(entries[k], Mapping) or is_module(entries[k])]
        apart = set() if known_above else {k for k in nested if _is_apart(k)}
        networks = [k for k in nested if k not in apart]
        tensors = [k for k in counts if k not in nested]
        known = [k for k in NESTING_KEYS if k in networks]
        averages = [k for k in apart if isinstance(k, str) and _AVERAGED.search(k)]
        if known:
            taken = known[0]
        elif len(networks) == 1 and not tensors:
            taken = networks[0]
        elif not networks and not tensors and len(averages) == 1:
            taken = averages[0]
        elif (known_above or len(networks) <= 1) and (networks or tensors):
            if root:
                notes.insert(0, f"nested under {dotted(root)}")
            if apart:
                notes.append(f"left out: {_counted(counts, apart)}")
            return root, apart
        else:
            raise AmbiguousCheckpointError(
                f"{where}: tensors are nested under several keys: {_counted(counts, counts, quoted=False)}; say which "
                f"ones to compress: --key {_choice(root, networks or nested)}, or --key {EVERYTHING} for all"
            )
        if beside := [k for k in entries if k != taken]:
            notes.append(f"left out beside {taken}: {_counted(counts, beside)}")
        known_above = known_above or bool(known)
        root = (*root, taken)


def _is_apart(key: Any) -> bool:
    """Return whether the name of a key means that it holds the state of training or averages of the weights."""
    return isinstance(key, str) and bool(_TRAINING.search(key) or _AVERAGED.search(key))


def _at(loaded: Any, root: Path) -> Any:
    for key in root:
        loaded = dict(children(loaded))[key]
    return loaded


def _named(where: object, paths: Mapping[Path, Any], notes: list[str]) -> dict[str, Any]:
    """Return tensors by dotted name; a note counts those that have no name, since their key isn't text."""
    state: dict[str, Any] = {}
    unnamed = 0
    for path, tensor in paths.items():
        if not is_nameable(path):
            unnamed += 1
            continue
        name = dotted(path)
        if name in state:
            raise NotACheckpointError(f"{where}: two tensors would be called {name[:80]}; give --key, or rename one")
        state[name] = tensor
    if not state:
        raise NotACheckpointError(f"{where}: its tensors have no names; save a state dict")
    if unnamed:
        notes.append(f"left out: {unnamed} tensors under keys that aren't text")
    return state


def _under(
    where: object, state: dict[str, Any], key: str, loaded: Any, paths: Mapping[Path, Any], notes: list[str]
) -> dict[str, Any]:
    """Return the tensors whose names begin with `key`, and remove `key` from their names."""
    found = {name.removeprefix(f"{key}."): tensor for name, tensor in state.items() if name.startswith(f"{key}.")}
    if key in state:
        found[key.rpartition(".")[2]] = state[key]
    if not found:
        counts: dict[Any, int] = {}
        for path in paths:
            counts[path[0]] = counts.get(path[0], 0) + 1
        raise AmbiguousCheckpointError(
            f"{where}: --key {key[:80]}: no tensors there; tensors are under {_counted(counts, counts, quoted=False)}"
        )
    others = [repr(name) for name in state if name != key and not name.startswith(f"{key}.")]
    notes.append(f"nested under {key}")
    if others:
        notes.append(f"left out beside {key}: {len(others)} tensors ({_few(others, 4)})")
    return found


def _without_tensors(node: Any, below: Mapping[Path, Any], left_out: set[Any]) -> list[str]:
    """Return the keys in a node, and in the dicts that are flattened into it, that hold no tensor."""
    inner = {path[:end] for path in below for end in range(1, len(path) + 1)}
    plain, waiting = [], [()]
    while waiting:
        place: Path = waiting.pop()
        for key, entry in children(_at(node, place)):
            path = (*place, key)
            if path not in inner:
                if path[0] not in left_out:
                    plain.append(repr(key) if not place else repr(dotted(path)) if is_nameable(path) else repr(key))
            elif path not in below and isinstance(entry, Mapping):
                waiting.append(path)
    return plain


def _counted(counts: Mapping[Any, int], keys: Any, *, quoted: bool = True) -> str:
    """Return keys as text, with the number of tensors under each key that has some."""
    named = [(repr(key) if quoted or not isinstance(key, str) else key)[:80] for key in keys]
    numbers = [counts.get(key, 0) for key in keys]
    words = [f" ({n} tensor{'s' * (n != 1)})" if n else "" for n in numbers]
    return _few([name + word for name, word in zip(named, words, strict=True)])


def _choice(root: Path, keys: list[Any]) -> str:
    names = [dotted((*root, key)) for key in keys if is_nameable((key,))]
    return names[0][:80] if names else "NAME"


def _contents(value: Any) -> str:
    keys = [repr(key) for key, _ in children(value)]
    return f" (only {_few(keys)})" if keys else " (it is empty)"


def _few(names: list[str], most: int = 8) -> str:
    shown = ", ".join(name[:120] for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
