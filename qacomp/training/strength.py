"""How strongly each layer is regularized: one λ for all as in the papers, or a λ a layer that pulls each equally far.

The papers' penalty is a mean over the layer, so under one λ a weight of a layer of 500 is pulled a hundred times harder
than one of a layer of 50,000: small layers are clustered within a few steps, large ones hardly at all. A balanced λ is
chosen from how far the optimizer could carry a weight: over the whole training the pull of the penalty alone would
move the average weight `pull` times its distance to its nearest level. The representatives' learning rate follows from
it, since their gradient is λ times the sum over a cluster.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qacomp.training.regularizers import Regularizer

_LEVEL_STEP = 0.05


@dataclass(frozen=True)
class Balance:
    """One layer's λ, and the learning rate of its representatives u that suits it."""

    strength: float
    lr_levels: float


def balance(
    model: nn.Module,
    penalties: Mapping[str, Regularizer],
    pull: float,
    travel: float,
    masks: Mapping[str, Tensor] | None = None,
) -> dict[str, Balance]:
    """Return λ and the learning rate of u for each layer, by weight name, from the weights at the start.

    `travel`: how far a constant gradient of 1 under λ(t)'s warm-up moves a weight over the whole training,
    Σ_t lr_t·(λ(t)/λ)/(1 − momentum). λ = pull · D / (mean |dR/dw| · travel), D the mean distance to the nearest level.
    A representative whose whole cluster lies on one side of it moves by D/20 in a first step. Only the weights in a
    layer's mask (bool, of its shape) count, where it has one.
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
