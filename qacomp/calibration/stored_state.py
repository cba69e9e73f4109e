"""Say which tensors of a folder each value of a transformer's state is made of.

Most have the same name in both. transformers 5 holds all experts of a layer in one tensor, where folders have one for
each expert, and renames some others: its own tables say which.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qacomp.errors import NotACheckpointError

_STACK, _JOIN = ("MergeModulelist", 0), ("Concatenate", 1)  # transformers' operations that are done here, and their dim
_LARGEST_MADE = 1 << 22  # values of a table of positions that a model computes; 4,096 positions of 1,024


@dataclass(frozen=True)
class MadeOf:
    """Name what a value is made of. parts: of a single tensor ((name,),).

    stacked: the value is (experts, rows, inputs); each part then has a tensor for each expert, and the rows of an
    expert are those of all parts, one behind the other.
    """

    parts: tuple[tuple[str, ...], ...]
    stacked: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of all tensors."""
        return tuple(name for part in self.parts for name in part)

    def value(self, read: Callable[[str], Tensor]) -> Tensor:
        """Return the value; read: gives a tensor by its name."""
        if not self.stacked:
            return read(self.parts[0][0])
        first = self._rows(0, read)
        whole = first.new_empty(len(self.parts[0]), *first.shape)
        for expert in range(len(whole)):
            rows = first if expert == 0 else self._rows(expert, read)
            if rows.shape != first.shape:
                raise self._unfit(expert)
            whole[expert] = rows
        return whole

    def _rows(self, expert: int, read: Callable[[str], Tensor]) -> Tensor:
        """Return all rows of an expert."""
        found = [read(part[expert]) for part in self.parts]
        if any(rows.dim() != 2 or rows.shape[1] != found[0].shape[1] for rows in found):
            raise self._unfit(expert)
        return torch.cat(found)

    def _unfit(self, expert: int) -> NotACheckpointError:
        return NotACheckpointError(
            f"{self.parts[0][expert][:80]}: isn't a matrix of the size of the other experts'; copy or download the "
            "folder again, or leave out --calibration and --data"
        )


def stored_state(module: nn.Module, names: frozenset[str]) -> tuple[dict[str, MadeOf], dict[str, Tensor]]:
    """Return what each name in a model's state is stored as, and values that the model makes by itself.

    names: of all tensors of the folder. Tied values are stored once, under any of their names. Raises
    NotACheckpointError if a parameter can't be made of them.
    """
    kept = module.state_dict(keep_vars=True)
    groups: dict[int, list[str]] = {}
    for own, value in kept.items():
        groups.setdefault(id(value), []).append(own)
    parameters = dict(module.named_parameters(remove_duplicate=False))
    found: dict[str, MadeOf] = {}
    others = []
    for group in groups.values():
        source = next((own for own in group if own in names), None)
        if source is not None:
            found |= dict.fromkeys(group, MadeOf(((source,),)))
        else:
            others.append(group)
    made: dict[str, Tensor] = {}
    missing = []
    converted = _converted(module, names, kept) if any(group[0] in parameters for group in others) else {}
    for group in others:
        stored = next((converted[own] for own in group if own in converted), None)
        if stored is not None:
            found |= dict.fromkeys(group, stored)
        elif group[0] in parameters and (table := _table(module, group)) is not None:
            made |= dict.fromkeys(group, table)
        elif group[0] in parameters:
            missing.append(group[0])
    if missing:
        raise NotACheckpointError(
            f"{type(module).__name__} of transformers has {len(missing)} weights that the folder hasn't, such as "
            f"{missing[0][:80]}; leave out --calibration and --data"
        )
    return found, made


def _converted(module: nn.Module, names: frozenset[str], kept: Mapping[str, Any]) -> dict[str, MadeOf]:
    """Return what transformers' tables make of the folder's names: renamed tensors, and experts that are stacked."""
    try:
        from transformers.conversion_mapping import get_model_conversion_mapping
        from transformers.core_model_loading import WeightConverter, WeightRenaming, dot_natural_key, rename_source_key
    except ImportError:  # transformers before 5 calls all values as folders do
        return {}
    changes = get_model_conversion_mapping(module)
    renamings = [change for change in changes if isinstance(change, WeightRenaming)]
    converters = [change for change in changes if isinstance(change, WeightConverter)]
    targets: dict[str, dict[str | None, list[str]]] = {}
    for name in sorted(names, key=dot_natural_key):
        own, pattern = rename_source_key(name, renamings, converters, module.base_model_prefix, dict(kept))
        if own in kept:
            targets.setdefault(own, {}).setdefault(pattern, []).append(name)
    found = {}
    for own, by_pattern in targets.items():
        if set(by_pattern) == {None}:
            if len(by_pattern[None]) == 1:
                found[own] = MadeOf(((by_pattern[None][0],),))
            continue
        converter = next((c for c in converters if set(by_pattern) <= set(c.source_patterns)), None)
        if converter is None or set(by_pattern) != set(converter.source_patterns):
            continue
        steps = [(type(step).__name__, getattr(step, "dim", None)) for step in converter.operations]
        parts = tuple(tuple(by_pattern[pattern]) for pattern in converter.source_patterns)
        if steps == [_STACK, _JOIN][: 1 + (len(parts) > 1)] and len({len(part) for part in parts}) == 1:
            found[own] = MadeOf(parts, stacked=True)
    return found


def _table(module: nn.Module, group: list[str]) -> Tensor | None:
    """Return a table that the model computes and that is never saved: sines of positions, as in Marian."""
    owner = module.get_submodule(group[0].rpartition(".")[0])
    make, weight = getattr(owner, "create_weight", None), getattr(owner, "weight", None)
    if not callable(make) or not isinstance(weight, Tensor) or weight.numel() > _LARGEST_MADE:
        return None
    made = make()
    return made.detach().float() if isinstance(made, Tensor) and made.shape == weight.shape else None
