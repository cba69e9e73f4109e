"""Choose λ of each layer so that the regularizer moves the weights of every layer equally far.

The papers use one λ for all layers. Their penalty is a mean over the layer, so a weight in a layer of 500 weights is
pulled a hundred times harder than one in a layer of 50,000: small layers are clustered within a few steps, large ones
hardly at all. The balanced λ is chosen from how far the optimizer can move a weight: over the whole training the
penalty alone would move the average weight by `pull` times its distance to the nearest representative. The learning
rate of the representatives follows from λ, balanced or given, since their gradient is λ times a sum over a cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qacomp.training.regularizers import Regularizer

_LEVEL_STEP = 0.05  # of the mean distance D: how far a representative may move in a first step


@dataclass(frozen=True)
class Balance:
    """One layer's λ, and what it follows from: all are 0 where the penalty doesn't act.

    strength: λ; distance: D, the mean distance of a weight from its representative; steepness: mean |dR/dw|;
    cluster: Σ |dR/dw| over an average cluster, the largest derivative of R by a representative.
    """

    strength: float
    distance: float = 0.0
    steepness: float = 0.0
    cluster: float = 0.0

    def lr_levels(self, strength: float) -> float:
        """Return the learning rate of the representatives that suits the λ `strength`; 0 for λ = 0.

        A representative whose whole cluster lies on one side of it moves by D/20 in a first step.
        """
        pull = strength * self.cluster
        return _LEVEL_STEP * self.distance / pull if pull > 0 else 0.0

    def leap_of_levels(self, strength: float, lr: float) -> float:
        """Return how far a first step with learning rate `lr` can move a representative, in multiples of D."""
        return lr * strength * self.cluster / self.distance if self.distance > 0 else 0.0

    def leap_of_weights(self, strength: float, lr: float) -> float:
        """Return how far λ = `strength` alone moves the average weight in a step of size `lr`, in multiples of D."""
        return lr * strength * self.steepness / self.distance if self.distance > 0 else 0.0


def balance(
    model: nn.Module,
    penalties: Mapping[str, Regularizer],
    pull: float,
    travel: float,
    masks: Mapping[str, Tensor] | None = None,
) -> dict[str, Balance]:
    """Return λ for each layer, by weight name, from the initial weights.

    travel: how far a constant gradient of 1, scaled by the schedule of λ, moves a weight over the whole training:
    Σ_t lr_t·(λ(t)/λ)/(1 − momentum). λ = pull · D / (mean |dR/dw| · travel), with D the mean distance to the nearest
    representative. masks: by weight name, bool, of the weight's shape; only weights where the mask is True count.
    """
    balanced = {}
    for name, penalty in penalties.items():
        weight, mask = model.get_parameter(name).detach(), (masks or {}).get(name)
        weight = (weight.clone() if mask is None else weight[mask]).requires_grad_()
        (slope,) = torch.autograd.grad(penalty(weight), weight)
        levels = penalty.representatives().detach().to(weight).sort().values  # (K,)
        flat = weight.detach().reshape(-1)  # (N,)
        nearest = levels[torch.bucketize(flat, (levels[1:] + levels[:-1]) / 2)]  # (N,)
        distance, steepness = float((flat - nearest).abs().mean()), float(slope.abs().mean())
        cluster = steepness * flat.numel() / levels.numel()
        strength = pull * distance / (steepness * travel) if steepness and travel else 0.0
        balanced[name] = Balance(strength, distance, steepness, cluster)
    return balanced
