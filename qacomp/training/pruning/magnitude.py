"""Magnitude pruning, Deep Compression's first step (Han et al., 2016), on a gradual schedule (Zhu and Gupta, 2017).

Single weights are pruned by |w|, ranked within each layer or over the whole network; or units are pruned, by the mean
|w| of a filter or of a dense layer's input. Pruned weights stay at zero while the rest is retrained.
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

RAMP = (0.0, 0.6)  # fractions of the training's steps: pruning starts at the first, and is complete at the second
_UPDATES = 40  # updates of the masks during the ramp


def pruned_share(final: float, progress: float) -> float:
    """Return the pruned share s(t) = s_f·(1 − (1 − t)³) along the ramp.

    final: s_f; progress: fraction of the training's steps done so far. The share rises fast at first, when many weights
    are redundant.
    """
    start, stop = RAMP
    t = min(1.0, max(0.0, (progress - start) / (stop - start)))
    return final * (1 - (1 - t) ** 3)


Score = Callable[[Tensor], Tensor]  # a layer's weights -> the importance of each, in the same shape


def weight_masks(
    model: nn.Module, units: Units, rate: float, scope: str, score: Score = torch.abs
) -> dict[str, Tensor]:
    """Return masks (bool, in the parameter's shape) that keep the share 1 − `rate` of weights with the largest scores.

    scope: `layer` keeps that share in each layer, `global` over all layers. Every layer keeps at least one weight. An
    output whose weights are all pruned also loses its bias, or its batch norm's scale and shift, since it would be a
    constant otherwise.
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
    """Return the largest score that is pruned, a scalar; −1 if nothing is pruned."""
    count = round(rate * magnitudes.numel())
    return magnitudes.kthvalue(count).values if count else magnitudes.new_tensor(-1.0)


def unit_magnitudes(model: nn.Module, units: Units, scope: str) -> dict[str, NDArray[np.float64]]:
    """Return the mean |w| of each unit, (units,) by layer name; for scope `global` divided by the layer's mean."""
    scores = {}
    for group in units.groups:
        weight = model.get_parameter(f"{group.layer.name}.weight").detach().abs().double()
        mean = weight.mean(dim=0) if group.layer.dense else weight.flatten(1).mean(dim=1)  # (units,)
        scores[group.layer.name] = (mean / mean.mean() if scope == "global" else mean).cpu().numpy()
    return scores


MaskFunction = Callable[[nn.Module, float], dict[str, Tensor]]  # (model, rate) -> masks


def mask_function(model: nn.Module, units: Units, unit: str, scope: str) -> MaskFunction:
    """Return the function that makes masks for a rate; unit: prune single weights (`weight`) or units (`filter`)."""
    if unit == "weight":
        return lambda model, rate: weight_masks(model, units, rate, scope)
    count = ParameterCount(model, units)

    def by_unit(model: nn.Module, rate: float) -> dict[str, Tensor]:
        scores = unit_magnitudes(model, units, scope)
        return parameter_masks(model, units, uniform_share(count, scores, 1 - rate, together=scope == "global"))

    return by_unit


class MaskSchedule(nn.Module):
    """Masks that prune more and more during training. A module, so that its state is saved for resuming."""

    def __init__(self, find: MaskFunction, rate: float) -> None:
        super().__init__()
        self.find, self.rate = find, rate
        self.updates = 0
        self.masks: dict[str, Tensor] = {}

    def update(self, model: nn.Module, progress: float) -> None:
        """Make new masks and apply them if an update is due; progress: fraction of the training's steps done so far."""
        due = 1 + int(min(1.0, progress / RAMP[1]) * _UPDATES)
        if due > self.updates:
            self.updates = due
            self.masks = self.find(model, pruned_share(self.rate, (due - 1) / _UPDATES * RAMP[1]))
            apply_masks(model, self.masks)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the state for resuming: the number of updates, and the masks."""
        return {"updates": self.updates, "masks": dict(self.masks)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore the state that `get_extra_state` returned."""
        self.updates, self.masks = state["updates"], dict(state["masks"])


@dataclass(frozen=True)
class MagnitudeObjective(Objective):
    """The plain objective; in each step the schedule prunes too."""

    schedule_of_masks: MaskSchedule | None = None

    def add_penalty_gradients(self, model: nn.Module, progress: float) -> Tensor:
        """Update the masks, then add the penalties' gradients; called before the optimizer's step."""
        assert self.schedule_of_masks is not None
        self.schedule_of_masks.update(model, progress)
        return super().add_penalty_gradients(model, progress)

    def modules(self) -> nn.ModuleDict:
        """Return the regularizers and the masks, whose state is saved for resuming."""
        modules = super().modules()
        modules["masks"] = self.schedule_of_masks  # type: ignore[assignment]
        return modules


def keep_pruned(model: nn.Module, schedule: MaskSchedule, optimizer: Optimizer) -> None:
    """Set pruned weights back to zero after each step of the optimizer."""

    def after(*_: Any) -> None:
        with torch.no_grad():
            for name, mask in schedule.masks.items():
                parameter = model.get_parameter(name)
                parameter.mul_(mask.to(parameter.device))  # a resumed run's masks come from the file

    optimizer.register_step_post_hook(after)
