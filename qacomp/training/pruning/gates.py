"""Gates switch units off in the forward pass, as a state says, without changing their parameters.

The gate of a convolution multiplies its output (or that of its batch norm), the gate of a dense layer its input. A
batch may hold S copies of itself, one for each state of a population: so one forward pass scores all states.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from qacomp.models.plain_modules import in_eval_mode
from qacomp.training.pruning.units import States, Units


class Gates:
    """The gates of one network, as hooks. `set_state` switches units off; `remove` removes the hooks."""

    def __init__(self, model: nn.Module, units: Units) -> None:
        self.model, self.units = model, units
        self._masks: dict[str, Tensor] = {}  # layer -> (S, units) in the network's dtype
        self._states = 1
        self._hooks = []
        for group in units.groups:
            if group.fixed:
                continue
            layer = group.layer
            if layer.dense:
                module = model.get_submodule(layer.name)
                self._hooks.append(module.register_forward_pre_hook(partial(self._before, layer.name)))
            else:
                module = model.get_submodule(layer.norm or layer.name)
                self._hooks.append(module.register_forward_hook(partial(self._after, layer.name)))

    def set_state(self, state: NDArray[np.bool_] | None) -> None:
        """Switch the units off where the state (D,) is False; None switches all units on."""
        self._set(None if state is None else state[None])

    def remove(self) -> None:
        """Remove all hooks from the network."""
        for hook in self._hooks:
            hook.remove()
        self._hooks = []

    @contextmanager
    def population(self, states: States) -> Iterator[None]:
        """Let `model` run under S states (S, D) at once in the block: (S * B, C, H, W) -> (S * B, classes).

        The input holds the batch S times, one copy behind the other.
        """
        before, count = dict(self._masks), self._states
        self._set(states)
        try:
            with self.scoring(len(states)):
                yield
        finally:
            self._masks, self._states = before, count

    @contextmanager
    def scoring(self, states: int = 1) -> Iterator[None]:
        """Let batch norms use each state's batch statistics in the block; running statistics don't change.

        Dropout is off in the block. states: number of states that run at once.
        """
        norms = [m for m in self.model.modules() if isinstance(m, _BatchNorm)]
        with in_eval_mode(self.model):
            try:
                for norm in norms:  # torch has no hook that replaces a forward pass
                    norm.forward = partial(_normalized, norm, states)  # type: ignore[method-assign]
                yield
            finally:
                for norm in norms:
                    del norm.forward

    def _set(self, states: States | None) -> None:
        self._masks, self._states = {}, 1
        if states is None:
            return
        like = next(self.model.parameters())
        table = torch.from_numpy(np.ascontiguousarray(states)).to(like)  # (S, D)
        self._states = len(states)
        for group in self.units.groups:
            if not states[:, group.genes].all():
                self._masks[group.layer.name] = table[:, group.genes]

    def _gated(self, name: str, x: Tensor) -> Tensor:
        mask = self._masks.get(name)
        if mask is None:
            return x
        if self._states > 1:
            mask = mask.repeat_interleave(len(x) // self._states, dim=0)  # (S * B, units)
        return x * mask.to(x.dtype).view(len(mask), -1, *[1] * (x.ndim - 2))

    def _after(self, name: str, module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return self._gated(name, output)

    def _before(self, name: str, module: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor]:
        return (self._gated(name, inputs[0]),)


def _normalized(norm: _BatchNorm, states: int, x: Tensor) -> Tensor:
    """Apply batch norm to x (S * B, C, ...), each of the S parts with its own batch statistics."""
    parts = [
        F.batch_norm(part, None, None, norm.weight, norm.bias, training=True, eps=norm.eps) for part in x.chunk(states)
    ]
    return parts[0] if states == 1 else torch.cat(parts)
