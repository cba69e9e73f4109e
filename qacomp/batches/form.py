"""Which parts of a loader's batch are inputs of the network, and which are targets."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qacomp.batches.examples import Batch
from qacomp.batches.feed import Feed, told
from qacomp.errors import DataError

TARGETS = ("labels", "label", "targets", "target", "y")
"""Names of the targets in a batch that is a mapping, in order of preference."""


@dataclass(frozen=True)
class BatchForm:
    """How the batches of `spec` become inputs and targets, by the arguments of a network's forward.

    names: forward's arguments; required: how many of them have no default; open_names, open_count: it also takes any
    other named, or positional, argument.
    """

    spec: str
    names: tuple[str, ...] = ()
    required: int = 1
    open_names: bool = False
    open_count: bool = False

    @classmethod
    def of(cls, spec: str, network: nn.Module) -> "BatchForm":
        """Return the form for a network's forward."""
        try:
            known = list(inspect.signature(network.forward).parameters.values())
        except (TypeError, ValueError):
            return cls(spec, (), 1, open_names=True, open_count=True)
        plain = [p for p in known if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
        required = sum(p.default is p.empty and p.kind is not p.KEYWORD_ONLY for p in plain)
        return cls(
            spec,
            tuple(p.name for p in plain),
            required,
            any(p.kind is p.VAR_KEYWORD for p in known),
            any(p.kind is p.VAR_POSITIONAL for p in known),
        )

    def batch(self, raw: Any) -> Batch:
        """Return a loader's batch as inputs and targets.

        (x, y), (x1, x2, y) and ((x1, x2), y) end with the targets. A mapping has them under `labels`, `label`,
        `targets`, `target` or `y`; of its other entries those are inputs whose names forward takes, or the only one.
        Floats become float32. Raises DataError, with shapes and dtypes, for anything else.
        """
        if isinstance(raw, Mapping):
            inputs, targets = self._named(raw)
        elif isinstance(raw, tuple | list) and len(raw) >= 2:
            inputs, targets = self._in_order(list(raw))
        else:
            raise DataError(f"{self.spec}: a batch is {told(raw)}; give (inputs, targets), or a mapping with labels")
        return Batch(self._feed(inputs, raw), _converted(targets, _as_tensor))

    def _named(self, raw: Mapping[Any, Any]) -> tuple[Any, Any]:
        key = next((name for name in TARGETS if name in raw), None)
        if key is None:
            raise DataError(
                f"{self.spec}: a batch {told(raw)} has no targets; name them {', '.join(TARGETS[:-1])} or {TARGETS[-1]}"
            )
        others = {str(name): value for name, value in raw.items() if name != key and _is_numeric(value)}
        taken = {n: v for n, v in others.items() if n in self.names or (self.open_names and n not in TARGETS)}
        if taken and (len(others) > 1 or self.required > 1):
            return taken, raw[key]
        if len(others) != 1:
            raise DataError(
                f"{self.spec}: a batch {told(raw)} has no inputs with the names of forward's arguments "
                f"({', '.join(self.names)}); rename them, or give (inputs, targets)"
            )
        return next(iter(others.values())), raw[key]

    def _in_order(self, raw: list[Any]) -> tuple[Any, Any]:
        *inputs, targets = raw
        if len(inputs) == 1:
            return inputs[0], targets
        if not self.open_count and not self.required <= len(inputs) <= len(self.names):
            raise DataError(
                f"{self.spec}: a batch {told(raw)} has {len(inputs)} inputs before its targets, but forward takes "
                f"{self.required}; give (inputs, targets)"
            )
        return tuple(inputs), targets

    def _feed(self, inputs: Any, raw: Any) -> Feed:
        made = _converted(inputs, _as_tensor)
        parts = list(made.values()) if isinstance(made, dict) else list(made) if isinstance(made, tuple) else [made]
        if not parts or not all(isinstance(part, Tensor) and part.ndim for part in parts):
            raise DataError(f"{self.spec}: the inputs of a batch {told(raw)} aren't tensors; collate them to tensors")
        if len({len(part) for part in parts}) > 1:
            raise DataError(f"{self.spec}: the inputs of a batch {told(raw)} have different numbers of examples")
        feed: Feed = made[0] if isinstance(made, tuple) and len(made) == 1 else made
        return feed


def _is_numeric(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, np.ndarray) and value.dtype.kind in "fiub")


def _converted(value: Any, change: Callable[[Any], Any]) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _converted(entry, change) for name, entry in value.items()}
    if isinstance(value, tuple | list) and any(isinstance(entry, Tensor | np.ndarray) for entry in value):
        return tuple(_converted(entry, change) for entry in value)
    return change(value)


def _as_tensor(value: Any) -> Any:
    """Return an array, or a list of numbers, as a tensor; float64, float16 and bfloat16 become float32."""
    if isinstance(value, list | tuple) and value and all(isinstance(entry, int | float) for entry in value):
        value = torch.tensor(value)
    if isinstance(value, np.ndarray) and value.dtype.kind in "fiub":
        value = torch.from_numpy(np.require(value, requirements=["C", "W"]))
    if isinstance(value, Tensor) and value.is_floating_point():
        return value.float()
    return value
