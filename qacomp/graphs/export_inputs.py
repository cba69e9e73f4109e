"""Example inputs of a network for the export: two examples, the names of the inputs, and the axes that stay free."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from qacomp.batches.feed import Feed, called, moved, rows_of, tensors_of, told

INPUT = "input"  # the name of a single input


@dataclass(frozen=True)
class ExportInputs:
    """`feed`: two examples; `names`: of its tensors; `free`: by tensor, the axes beyond the first that vary, by name.

    Two, since torch.export treats a size of 1 as constant.
    """

    feed: Feed
    names: tuple[str, ...]
    free: tuple[Mapping[int, str], ...]

    @classmethod
    def of_shape(cls, shape: Sequence[int]) -> "ExportInputs":
        """Return one input, zeros (2, *shape) float32."""
        return cls(torch.zeros(2, *shape), (INPUT,), ({},))

    @classmethod
    def of_feeds(cls, feeds: Sequence[Feed], model: nn.Module) -> "ExportInputs":
        """Return two examples of the first feed; an axis is free if its size differs between the feeds.

        Free axes whose sizes agree in all feeds have one name.
        """
        shapes = [[tuple(tensor.shape) for tensor in tensors_of(feed)] for feed in feeds]
        places = [(i, axis) for i, shape in enumerate(shapes[0]) for axis in range(1, len(shape))]
        sizes = {(i, axis): tuple(own[i][axis] for own in shapes) for i, axis in places}
        varying = {place: seen for place, seen in sizes.items() if len(set(seen)) > 1}
        names = {seen: f"length{number or ''}" for number, seen in enumerate(dict.fromkeys(varying.values()))}
        free = tuple(
            {axis: names[seen] for (number, axis), seen in varying.items() if number == i}
            for i in range(len(shapes[0]))
        )
        longest = feeds[max(range(len(feeds)), key=lambda i: sum(map(sum, shapes[i])))]  # a size of 1 becomes constant
        two = rows_of(longest, [0, min(1, len(tensors_of(longest)[0]) - 1)])
        return cls(two, _names(feeds[0], model), free)

    def call(self, model: nn.Module) -> Any:
        """Return what the model gives for the examples."""
        return called(model, self.feed)

    def in_order(self, model: nn.Module, device: torch.device) -> tuple[Tensor, ...]:
        """Return the tensors on `device`, in the order of forward's arguments."""
        feed = moved(self.feed, device)
        if not isinstance(feed, dict):
            return tensors_of(feed)
        return tuple(feed[name] for name in inspect.signature(model.forward).parameters if name in feed)

    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        """Return the free axes of each tensor for torch.export."""
        batch, shapes = torch.export.Dim("batch"), []
        dims: dict[str, Any] = {}
        for free in self.free:
            dims |= {name: torch.export.Dim(name) for name in free.values() if name not in dims}
            shapes.append({0: batch, **{axis: dims[name] for axis, name in free.items()}})
        return tuple(shapes)

    def __str__(self) -> str:
        """Return the shapes of one example: (1, 28, 28), or dtypes and shapes of several inputs."""
        if isinstance(self.feed, Tensor):
            return str(tuple(self.feed.shape)[1:])
        return told(self.feed)


def _names(feed: Feed, model: nn.Module) -> tuple[str, ...]:
    """Return the names of a feed's tensors: `input` for a single one, else those of forward's arguments."""
    if isinstance(feed, dict):
        return tuple(feed)
    if isinstance(feed, Tensor):
        return (INPUT,)
    try:
        plain = [p for p in inspect.signature(model.forward).parameters.values() if p.kind is not p.VAR_POSITIONAL]
        known = [p.name for p in plain if p.kind is not p.VAR_KEYWORD]
    except (TypeError, ValueError):
        known = []
    return tuple(known[i] if i < len(known) else f"input{i}" for i in range(len(feed)))
