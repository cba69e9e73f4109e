"""A parametrization that rounds weights to a uniform grid; the gradient passes to the shadow weight unchanged.

The straight-through estimator (Bengio et al., 2013). The step is fixed; training changes the multiple that a weight is
rounded to.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.models.weight_places import parametrizations, put_on, take_off


class _Round(torch.autograd.Function):
    """(weight, step) -> the nearest multiples of the step; the gradient is passed to the weight unchanged."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, step: float) -> Tensor:
        return torch.round(weight / step) * step

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return grad_outputs[0], None


class RoundedWeight(nn.Module):
    """Maps a shadow weight (any shape) to the nearest multiples of `step`."""

    def __init__(self, step: float) -> None:
        super().__init__()
        self.step = step

    def forward(self, weight: Tensor) -> Tensor:
        """Map the shadow weight to multiples of the step, in its shape."""
        rounded: Tensor = _Round.apply(weight, self.step)  # type: ignore[no-untyped-call]
        return rounded

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the weight: a weight that is assigned becomes the shadow weight."""
        return weight


def round_weight(model: nn.Module, name: str, step: float) -> None:
    """Let the forward pass round the weight `name` of `model` to multiples of a step, in every place that holds it."""
    put_on(model, name, RoundedWeight(step))


def shadow_weight(model: nn.Module, name: str) -> nn.Parameter:
    """Return the shadow weight, the trained parameter behind a rounded weight."""
    weight = parametrizations(model, name).original
    assert isinstance(weight, nn.Parameter)
    return weight


def take_multiples(model: nn.Module, name: str) -> NDArray[np.float64]:
    """Remove the rounding; return the shadow weight in units of its step, in its shape.

    The rounded values remain as a plain parameter.
    """
    found = parametrizations(model, name)
    multiples: NDArray[np.float64] = (found.original.detach().double() / found[0].step).cpu().numpy()
    take_off(model, name)
    return multiples
