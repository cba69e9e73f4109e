"""A parametrization that rounds weights to a uniform grid with a dead zone; the gradient passes to the shadow weight.

The straight-through estimator (Bengio et al., 2013). The step is fixed; training changes the multiple that a weight is
rounded to. A weight inside the dead zone is zero in the forward pass, but it still learns, so it can come back: dynamic
network surgery (Guo et al., 2016).
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.models.weight_places import parametrizations, put_on, take_off

PLAIN = 0.5
"""The dead zone of plain rounding, in steps."""


class _Round(torch.autograd.Function):
    """(weight, step, dead zone) -> multiples of the step; the gradient is passed to the weight unchanged."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: float, dead: Tensor) -> Tensor:
        return on_grid(weight / step, dead) * step

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None, None]:
        return grad_outputs[0], None, None


def on_grid(multiples: Tensor, dead: Tensor) -> Tensor:
    """Round values in units of their step to integers, as floats; those below `dead` (at least 0.5) become zero."""
    return torch.round(multiples).masked_fill_(multiples.abs() < dead, 0.0)


class RoundedWeight(nn.Module):
    """Maps a shadow weight (any shape) to multiples of `step`. dead: the dead zone in steps, at least 0.5.

    The dead zone has a value for each filter and channel, (filters, channels, 1, ...); for a vector only one, (1,).
    kept: False for a weight that stays zero, in the weight's shape.
    """

    dead: Tensor
    kept: Tensor

    def __init__(self, step: float, weight: Tensor) -> None:
        super().__init__()
        self.step = step
        size = (*weight.shape[:2], *(1,) * (weight.ndim - 2)) if weight.ndim > 1 else (1,)
        self.register_buffer("dead", torch.full(size, PLAIN, device=weight.device))
        self.register_buffer("kept", torch.ones_like(weight, dtype=torch.bool))

    def forward(self, weight: Tensor) -> Tensor:
        """Map the shadow weight to multiples of the step, in its shape."""
        rounded: Tensor = _Round.apply(weight, self.step, self.dead)  # type: ignore[no-untyped-call]
        return rounded * self.kept

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight: a weight that is assigned becomes the shadow weight."""
        return weight


def round_weight(model: nn.Module, name: str, step: float) -> None:
    """Let the forward pass round the weight `name` of `model` to multiples of a step, in every place that holds it."""
    put_on(model, name, RoundedWeight(step, model.get_parameter(name)))


def shadow_weight(model: nn.Module, name: str) -> nn.Parameter:
    """Return the shadow weight, the trained parameter behind a rounded weight."""
    weight = parametrizations(model, name).original
    assert isinstance(weight, nn.Parameter)
    return weight


def rounding_of(model: nn.Module, name: str) -> RoundedWeight:
    """Return the rounding of the weight `name`."""
    rounding = parametrizations(model, name)[0]
    assert isinstance(rounding, RoundedWeight)
    return rounding


def settle(model: nn.Module, name: str) -> None:
    """Let all weights that are zero now stay zero."""
    rounding, weight = rounding_of(model, name), shadow_weight(model, name)
    rounding.kept.copy_(on_grid(weight.detach() / rounding.step, rounding.dead) != 0)


def take_multiples(model: nn.Module, name: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Remove the rounding; return the shadow weight in units of its step, in its shape, and its dead zone.

    The rounded values remain as a plain parameter. The dead zone can be broadcast to the weight's shape.
    """
    found, rounding = parametrizations(model, name), rounding_of(model, name)
    shadow = found.original.detach().double() * rounding.kept
    multiples: NDArray[np.float64] = (shadow / rounding.step).cpu().numpy()
    dead: NDArray[np.float64] = rounding.dead.double().cpu().numpy()
    take_off(model, name)
    return multiples, dead
