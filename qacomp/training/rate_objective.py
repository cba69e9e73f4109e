"""A training objective with a rate: the weights of a rounded network take no more bytes than they may.

The dead zones of the weights are widened so that the bytes fall from those of plain rounding to the goal in the first
part of the training, and stay there. A small price on bits pulls on the weights as long as plain rounding takes more
bytes than that; a larger price would throw them about. In the last part zeros stay zero and there is no price, so that
the other weights can settle. The bytes are still held there: what is cut off after the training isn't learned around.

Bits are estimated often; from time to time the container's coder measures how many bytes an estimated bit takes.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields

import torch
from torch import Tensor, nn

from qacomp.training.dead_zones import Coder, DeadZones
from qacomp.training.objective import Objective
from qacomp.training.parametrizations.rounding import rounding_of, settle, shadow_weight
from qacomp.training.rate_state import RateState, TensorRate

_PRICE = 0.3  # with labels: about a tenth to the whole of a usual task loss
_SETTLED = 0.7  # fraction of the training after which a weight that is zero then doesn't come back


@dataclass(frozen=True)
class RateObjective(Objective):
    """An objective that sets the dead zones of rounded weights. tensors: by weight name; goal: bytes at the end.

    coder: counts the bytes of integers in a container; state: of the search, saved for resuming; price: of all bits
    together, in units of the loss.
    """

    tensors: Mapping[str, TensorRate] = field(default_factory=dict)
    goal: float = 0.0
    coder: Coder = field(default=lambda integers: 0)
    state: RateState = field(default_factory=RateState)
    price: float = _PRICE

    @classmethod
    def of(cls, plain: Objective, tensors: Mapping[str, TensorRate], goal: float, coder: Coder) -> "RateObjective":
        """Return the objective `plain` with a rate added."""
        own = {f.name: getattr(plain, f.name) for f in fields(plain)}
        return cls(**own, tensors=tensors, goal=goal, coder=coder)

    def modules(self) -> nn.ModuleDict:
        """Return the sensitivities and the state of the search, which are saved for resuming."""
        tensors = {name.replace(".", "/"): tensor for name, tensor in self.tensors.items()}
        return nn.ModuleDict({"tensors": nn.ModuleDict(tensors), "state": self.state})

    def add_penalty_gradients(self, model: nn.Module, progress: float) -> Tensor:
        """Set the dead zones anew if that is due, and add the gradients of the price; return the price of all bits.

        progress: fraction of the training's steps done so far.
        """
        for name, tensor in self.tensors.items():
            gradient = shadow_weight(model, name).grad
            if gradient is not None:
                tensor.see(gradient)
        if progress >= _SETTLED and not self.state.settled:
            for name in self.tensors:
                settle(model, name)
            self.state.settled.fill_(True)
        if self.state.due(progress):
            DeadZones(model, self.tensors).set(self.state, self.goal, self.coder, progress)
        if self.state.settled or not self.state.pressed:
            return torch.zeros(())
        self._push(model)
        return torch.tensor(self.price)

    def _push(self, model: nn.Module) -> None:
        """Add the gradient of the price of bits to the weights' gradients."""
        bits = sum(float(tensor.bits) for tensor in self.tensors.values())
        for name, tensor in self.tensors.items():
            weight = shadow_weight(model, name)
            if weight.grad is not None and bits > 0:
                step = rounding_of(model, name).step
                weight.grad.add_(tensor.slope(weight.detach() / step), alpha=self.price / bits / step)
