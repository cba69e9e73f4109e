"""Choose λ of each layer so that the regularizer moves the weights of every layer equally far.

The papers use one λ for all layers. Their penalty is a mean over the layer, so a weight in a layer of 500 weights is
pulled a hundred times harder than one in a layer of 50,000: small layers are clustered within a few steps, large ones
hardly at all. The balanced λ is chosen from how far the optimizer can move a weight: over the whole training the
penalty alone would move the average weight by `pull` times its distance to the nearest representative. The learning
rate of the representatives follows from λ, since their gradient is λ times a sum over a cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qacomp.training.regularizers import Regularizer

_LEVEL_STEP = 0.05  # of the mean distance D: how far a representative may move in a first step


@dataclass(frozen=True)
class Balance:
    """`strength`: λ of one layer; `lr_levels`: the learning rate of its representatives that suits this λ."""

    strength: float
    lr_levels: float


def balance(
    model: nn.Module,
    penalties: Mapping[str, Regularizer],
    pull: float,
    travel: float,
    masks: Mapping[str, Tensor] | None = None,
) -> dict[str, Balance]:
    """Return λ and the learning rate of the representatives for each layer, by weight name, from the initial weights.

    travel: how far a constant gradient of 1, scaled by the schedule of λ, moves a weight over the whole training:
    Σ_t lr_t·(λ(t)/λ)/(1 − momentum). λ = pull · D / (mean |dR/dw| · travel), with D the mean distance to the nearest
    representative. The learning rate lets a representative whose whole cluster lies on one side of it move by D/20 in a
    first step. masks: by weight name, bool, of the weight's shape; only weights where the mask is True count.
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
        if steepness == 0 or travel == 0 or pull == 0:
            balanced[name] = Balance(0.0, 0.0)
            continue
        strength = pull * distance / (steepness * travel)
        cluster_slope = steepness * flat.numel() / levels.numel()  # Σ |dR/dw| over an average cluster
        balanced[name] = Balance(strength, _LEVEL_STEP * distance / (strength * cluster_slope))
    return balanced
