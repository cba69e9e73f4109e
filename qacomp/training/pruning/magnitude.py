"""Magnitude pruning, Deep Compression's first step (Han et al., 2016), on a gradual schedule (Zhu and Gupta, 2017).

Weights are pruned one by one, by |w| within each layer or over the whole network, or in units, by the mean |w| of a
filter or of a dense layer's input. What is pruned stays at zero while the rest is retrained.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.optim import Optimizer

from qacomp.training.objective import Objective
from qacomp.training.pruning.counting import ParameterCount
from qacomp.training.pruning.keep_rate import uniform_share
from qacomp.training.pruning.units import Units, apply_masks, parameter_masks

RAMP = (0.0, 0.6)  # of the training: before it everything is kept, after it the final share
_UPDATES = 40


def pruned_share(final: float, progress: float) -> float:
    """Return s(t) = s_f·(1 − (1 − t)³) along the ramp: fast at first, while there is much to spare."""
    start, stop = RAMP
    t = min(1.0, max(0.0, (progress - start) / (stop - start)))
    return final * (1 - (1 - t) ** 3)


Score = Callable[[Tensor], Tensor]  # a layer's weights -> how much each of them matters, of the same shape


def weight_masks(
    model: nn.Module, units: Units, rate: float, scope: str, score: Score = torch.abs
) -> dict[str, Tensor]:
    """Return masks (bool, of the parameter's shape) that keep the weights of the largest scores, 1 − `rate` of them.

    `scope`: `layer` keeps that share in each, `global` over all. Every layer keeps a weight. An output whose weights
    are all pruned loses its bias, or its batch norm's scale and shift: what is left would be a constant.
    """
    weights = {g.layer.name: score(model.get_parameter(f"{g.layer.name}.weight").detach()) for g in units.groups}
    pooled = torch.cat([w.reshape(-1) for w in weights.values()]) if scope == "global" else None
    masks: dict[str, Tensor] = {}
    for group in units.groups:
        layer, weight = group.layer, weights[group.layer.name]
        threshold = _threshold(weight.reshape(-1) if pooled is None else pooled, rate)
        mask = weight > torch.minimum(threshold, weight.max() * (1 - 1e-6))
        masks[f"{layer.name}.weight"] = mask
        reading = mask.flatten(1).any(dim=1)  # (outputs,)
        if not group.fixed and layer.name not in units.graph.output:
            known = dict(model.named_parameters())
            masks |= {name: reading for name in layer.vectors if name in known}
    return masks


def _threshold(magnitudes: Tensor, rate: float) -> Tensor:
    """Return the largest score that is pruned; −1 where nothing is."""
    count = round(rate * magnitudes.numel())
    return magnitudes.kthvalue(count).values if count else magnitudes.new_tensor(-1.0)


def unit_magnitudes(model: nn.Module, units: Units, scope: str) -> dict[str, NDArray[np.float64]]:
    """Return the mean |w| of each unit by layer; for `global` over the layer's mean, so that layers compare."""
    scores = {}
    for group in units.groups:
        weight = model.get_parameter(f"{group.layer.name}.weight").detach().abs().double()
        mean = weight.mean(dim=0) if group.layer.dense else weight.flatten(1).mean(dim=1)  # (units,)
        scores[group.layer.name] = (mean / mean.mean() if scope == "global" else mean).cpu().numpy()
    return scores


MaskFunction = Callable[[nn.Module, float], dict[str, Tensor]]  # (model, rate) -> masks


def mask_function(model: nn.Module, units: Units, unit: str, scope: str) -> MaskFunction:
    """Return what finds masks at a rate: of single weights (`weight`) or of whole units (`filter`)."""
    if unit == "weight":
        return lambda model, rate: weight_masks(model, units, rate, scope)
    count = ParameterCount(model, units)

    def by_unit(model: nn.Module, rate: float) -> dict[str, Tensor]:
        scores = unit_magnitudes(model, units, scope)
        return parameter_masks(model, units, uniform_share(count, scores, 1 - rate, together=scope == "global"))

    return by_unit


class MaskSchedule(nn.Module):
    """Masks that grow along the training. A module, so that a resumed run goes on."""

    def __init__(self, find: MaskFunction, rate: float) -> None:
        super().__init__()
        self.find, self.rate = find, rate
        self.updates = 0
        self.masks: dict[str, Tensor] = {}

    def update(self, model: nn.Module, progress: float) -> None:
        """Prune further where the schedule says so; `progress`: the fraction of the training that is done."""
        due = 1 + int(min(1.0, progress / RAMP[1]) * _UPDATES)
        if due > self.updates:
            self.updates = due
            self.masks = self.find(model, pruned_share(self.rate, (due - 1) / _UPDATES * RAMP[1]))
            apply_masks(model, self.masks)

    def get_extra_state(self) -> dict[str, Any]:
        """Return what a resumed training needs."""
        return {"updates": self.updates, "masks": dict(self.masks)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on where `get_extra_state` was taken."""
        self.updates, self.masks = state["updates"], dict(state["masks"])


@dataclass(frozen=True)
class MagnitudeObjective(Objective):
    """The task's loss, while the schedule prunes."""

    schedule_of_masks: MaskSchedule | None = None

    def add_penalty_gradients(self, model: nn.Module, progress: float) -> Tensor:
        """Prune as far as the schedule is, before the optimizer's step."""
        assert self.schedule_of_masks is not None
        self.schedule_of_masks.update(model, progress)
        return super().add_penalty_gradients(model, progress)

    def modules(self) -> nn.ModuleDict:
        """Return the penalties and the masks."""
        modules = super().modules()
        modules["masks"] = self.schedule_of_masks  # type: ignore[assignment]
        return modules


def keep_pruned(model: nn.Module, schedule: MaskSchedule, optimizer: Optimizer) -> None:
    """Set what is pruned back to zero after each step of the optimizer."""

    def after(*_: Any) -> None:
        with torch.no_grad():
            for name, mask in schedule.masks.items():
                parameter = model.get_parameter(name)
                parameter.mul_(mask.to(parameter.device))  # a resumed run's masks come from the file

    optimizer.register_step_post_hook(after)
