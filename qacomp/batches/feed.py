"""A feed, the inputs of a network for one batch: a tensor, a tuple of tensors, or tensors by the names of arguments."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

Feed: TypeAlias = Tensor | tuple[Tensor, ...] | dict[str, Tensor]


def called(model: nn.Module, feed: Feed) -> Any:
    """Return what a network gives for a feed: tuples are its arguments in order, dicts are arguments by name."""
    if isinstance(feed, Tensor):
        return model(feed)
    return model(**feed) if isinstance(feed, dict) else model(*feed)


def arguments(feed: Feed) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """Return the positional and the named arguments with which `called` calls a network."""
    if isinstance(feed, Tensor):
        return (feed,), {}
    return ((), feed) if isinstance(feed, dict) else (feed, {})


def tensors_of(feed: Feed) -> tuple[Tensor, ...]:
    """Return the tensors of a feed, in order."""
    return tuple(feed.values()) if isinstance(feed, dict) else feed if isinstance(feed, tuple) else (feed,)


def mapped(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Return `value` with each tensor in its tuples, lists and mappings replaced by `change(tensor)`."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {name: mapped(entry, change) for name, entry in value.items()}
    if isinstance(value, tuple | list):
        return tuple(mapped(entry, change) for entry in value)
    return value


def moved(value: Any, device: torch.device) -> Any:
    """Return a feed or targets on `device`; images (B, C, H, W) get the channels-last layout.

    Convolutions are fastest in it. Copies from pinned memory don't wait.
    """

    def move(tensor: Tensor) -> Tensor:
        if tensor.ndim == 4 and tensor.is_floating_point():
            return tensor.to(device, non_blocking=True, memory_format=torch.channels_last)
        return tensor.to(device, non_blocking=True)

    return mapped(value, move)


def count_of(feed: Feed) -> int:
    """Return the number of examples in a feed."""
    first = tensors_of(feed)[0]
    return len(first) if first.ndim else 0


def rows_of(feed: Feed, where: "slice | Tensor | Sequence[int]") -> Any:
    """Return the examples of a feed at `where`: a slice, or numbers of examples."""
    return mapped(feed, lambda tensor: tensor[where])


def joined(feeds: Sequence[Feed]) -> list[Feed]:
    """Return feeds with the same sizes beyond the first axis as one feed; others stay as they are."""
    if len({tuple((t.shape[1:], t.dtype) for t in tensors_of(feed)) for feed in feeds}) != 1:
        return list(feeds)
    parts = [tensors_of(feed) for feed in feeds]
    whole = tuple(torch.cat([part[i] for part in parts]) for i in range(len(parts[0])))
    first = feeds[0]
    if isinstance(first, dict):
        return [dict(zip(first, whole, strict=True))]
    return [whole if isinstance(first, tuple) else whole[0]]


def as_feed(given: Any) -> Feed:
    """Return an array as a tensor; a feed is returned as it is."""
    feed: Feed = torch.from_numpy(np.ascontiguousarray(given)) if isinstance(given, np.ndarray) else given
    return feed


def told(value: Any) -> str:
    """Return dtypes and shapes of tensors and arrays as text, such as `(float32[8, 3], int64[8])`; never values."""
    if isinstance(value, Tensor | np.ndarray):
        return f"{str(value.dtype).removeprefix('torch.')}{list(value.shape)}"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{str(name)[:40]}: {told(entry)}" for name, entry in list(value.items())[:12]) + "}"
    if isinstance(value, tuple | list):
        more = ", ..." if len(value) > 4 else ""
        return "(" + ", ".join(told(entry) for entry in value[:4]) + more + ")"
    return type(value).__name__
