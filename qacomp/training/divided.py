"""Divide batches among the processes that share a training.

Every process iterates the same batches, with the same random numbers, and takes its part of each. So order and
augmentation are those of a single process, whatever the loader is.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from zlib import crc32

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from qacomp.batches.examples import Batch
from qacomp.batches.feed import count_of, mapped, rows_of, told
from qacomp.errors import DataError, RanksError
from qacomp.ranks.ranks import Ranks
from qacomp.training.objective import Objective

_LOOKED_AT = 256  # values of a tensor that are compared among processes, at even distances
_FAR = 0.01  # relative distance of weights that rounding errors of one epoch don't reach


@dataclass(frozen=True)
class BatchPart:
    """One process's examples of a batch.

    weight: of the mean loss over them in that of the whole batch; divided: whether others have other examples.
    """

    x: Any
    y: Any
    weight: float = 1.0
    divided: bool = False


def parts_of(batches: Iterable[Batch], ranks: Ranks, spec: str) -> Iterator[BatchPart]:
    """Yield this process's part of each batch; a batch with fewer examples than processes goes to all of them.

    Raises DataError if processes get different batches, or targets can't be divided, RanksError if one fails.
    """
    if ranks.size == 1:
        yield from (BatchPart(batch.x, batch.y) for batch in batches)
        return
    iterator = iter(batches)
    while True:
        batch = next(iterator, None)
        ranks.check_same(_mark(batch), lambda number: _other_batches(spec, number))
        if batch is None:
            return
        yield _part(batch, ranks, spec)


def _part(batch: Batch, ranks: Ranks, spec: str) -> BatchPart:
    count = count_of(batch.x)
    if count < ranks.size:
        return BatchPart(batch.x, batch.y, 1 / ranks.size)
    sizes = {len(tensor) if tensor.ndim else 0 for tensor in _tensors(batch.y)}
    if sizes != {count}:
        raise DataError(
            f"{spec}: targets {told(batch.y)} of {count} examples can't be divided among processes; give tensors with "
            "a row for each example, or start qacomp without torchrun"
        )
    rows = ranks.rows(count)
    return BatchPart(rows_of(batch.x, rows), rows_of(batch.y, rows), (rows.stop - rows.start) / count, divided=True)


def _mark(batch: Batch | None) -> list[int]:
    """Return (number of examples, checksum of shapes and of some values), −1 at the end of the data."""
    if batch is None:
        return [-1, 0]
    found = crc32(b"")
    for tensor in (*_tensors(batch.x), *_tensors(batch.y)):
        flat = tensor.detach().reshape(-1)
        some = flat[:: max(1, len(flat) // _LOOKED_AT)].cpu().contiguous()
        found = crc32(f"{told(tensor)}".encode(), crc32(some.view(torch.uint8).numpy().tobytes(), found))
    return [count_of(batch.x), found]


def _tensors(value: Any) -> list[Tensor]:
    """Return the tensors in a feed or in targets, in order."""
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    mapped(value, keep)
    return found


def _other_batches(spec: str, number: int) -> DataError:
    return DataError(
        f"{spec}: process {number} got another batch than process 0; the data must be the same for every process, and "
        "its random numbers must come from Python's, numpy's or torch's own generators, which qacomp seeds"
    )


def structure(state: Mapping[str, Any], steps: int, optimizer: Optimizer, objective: Objective) -> str:
    """Return as text what must be the same in every process besides the numbers in `state`, which are the first's.

    Learning rates and strengths count to six digits, since another machine may round them otherwise; masks exactly.
    """
    shapes = [f"{part} {name} {told(value)}" for part in ("model", "penalties") for name, value in state[part].items()]
    rates = [f"{g['lr']:.6g} {g['weight_decay']:.6g} {len(g['params'])}" for g in optimizer.param_groups]
    strengths = [f"{name} {p.strength:.6g}" for name, p in objective.penalties.items()]
    masks = [f"{n} {hashlib.sha256(m.cpu().numpy().tobytes()).hexdigest()}" for n, m in objective.masks.items()]
    return "\n".join([str(steps), *shapes, *rates, *strengths, *masks])


def check_alike(text: str, stage: str, ranks: Ranks) -> None:
    """Raise RanksError unless every process gives the same text."""
    digest = hashlib.sha256(text.encode()).digest()
    marks = [int.from_bytes(digest[at : at + 8], "little", signed=True) for at in range(0, len(digest), 8)]
    ranks.check_same(
        marks,
        lambda number: RanksError(
            f"{stage}: process {number} has another network, other pruned weights or other settings than process 0; "
            "start all of them with the same command, files and versions of packages"
        ),
    )


def check_near(model: nn.Module, first: Mapping[str, Tensor], who: str) -> None:
    """Raise RanksError if a parameter isn't the first process's but for rounding errors. who: stage and process."""
    for name, parameter in model.named_parameters():
        own, other = parameter.detach(), first[name].to(parameter.device)
        if not float((own - other).norm()) <= _FAR * float(other.norm()):
            raise RanksError(f"{who} has other weights than process 0 ({name}); give all of them the same files")
