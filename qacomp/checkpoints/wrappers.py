"""Remove prefixes that training wrappers add to names, and match names with those of an architecture."""

from collections.abc import Collection, Mapping
from typing import Any

from qacomp.checkpoints.tensors import few
from qacomp.errors import AmbiguousCheckpointError

# DataParallel and DistributedDataParallel, torch.compile, FSDP, activation checkpointing, Fabric.
_PREFIXES = ("module.", "_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_forward_module.")
_SEGMENTS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module")  # never names of the author's modules
_COUNTER = "n_averaged"  # a buffer of torch.optim.swa_utils.AveragedModel


def without_wrappers(state: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Return the state dict without prefixes of wrappers that all names have, and without their inner segments."""
    names = {name: name for name in state}
    if _COUNTER in names and len(names) > 1 and all(n == _COUNTER or n.startswith("module.") for n in names):
        del names[_COUNTER]
        notes.append(f"left out: {_COUNTER}, the counter of an averaged model")
    while stripped := [p for p in _PREFIXES if all(n.startswith(p) and len(n) > len(p) for n in names.values())]:
        names = {name: short.removeprefix(stripped[0]) for name, short in names.items()}
        notes.append(f"prefix {stripped[0]} removed")
    for segment in _SEGMENTS:
        shorter = {name: _without(short, (segment,)) for name, short in names.items()}
        changed = sum(shorter[name] != short for name, short in names.items())
        if changed and len(set(shorter.values())) == len(shorter):
            names = shorter
            notes.append(f"{segment} removed from {changed} names")
    return {short: state[name] for name, short in names.items()}


def matched(
    where: object, state: Mapping[str, Any], wanted: Collection[str]
) -> tuple[Mapping[str, Any], tuple[str, ...]]:
    """Return a state dict with the names `wanted` by a network, without prefixes and wrappers, and notes.

    It stays unchanged if it has all wanted names already, or doesn't have them under any prefix. Raises
    AmbiguousCheckpointError if it has them under several prefixes.
    """
    if not wanted or all(name in state for name in wanted):
        return state, ()
    plain: dict[str, str] = {}
    for name in state:
        plain.setdefault(_without(name, (*_SEGMENTS, "module", "_forward_module")), name)
    first = next(iter(wanted))
    prefixes = [n.removesuffix(first) for n in plain if n == first or n.endswith(f".{first}")]
    fitting = [prefix for prefix in prefixes if all(prefix + name in plain for name in wanted)]
    if len(fitting) > 1:
        found = ", ".join(prefix.removesuffix(".")[:80] or "." for prefix in fitting[:8])
        raise AmbiguousCheckpointError(f"{where}: holds the network several times, under {found}; give --key")
    if not fitting:
        return state, ()
    taken = {short.removeprefix(fitting[0]): name for short, name in plain.items() if short.startswith(fitting[0])}
    others = [name for name in state if name not in set(taken.values())]
    notes = [f"prefix {fitting[0]} removed"] if fitting[0] else ["names of wrappers removed"]
    if others:
        notes.append(f"left out: {len(others)} tensors that aren't in the network ({few([repr(n) for n in others])})")
    return {short: state[name] for short, name in taken.items()}, tuple(notes)


def _without(name: str, segments: tuple[str, ...]) -> str:
    """Return a dotted name without these segments, or the whole name if nothing would be left."""
    return ".".join(part for part in name.split(".") if part not in segments) or name
