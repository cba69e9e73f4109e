"""Score a population of states on one batch: all in one forward pass, or one after the other.

On a GPU one forward pass over stacked copies of the batch scores the whole population. A CPU gains nothing by that,
since the stacked batch doesn't fit its caches; there each state is run by itself as a smaller network, without the
channels that it switches off.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from qacomp.batches.examples import Batch
from qacomp.batches.feed import arguments
from qacomp.training.pruning.counting import alive_units
from qacomp.training.pruning.evolution import Scores
from qacomp.training.pruning.gates import Gates
from qacomp.training.pruning.objectives import PruningObjective
from qacomp.training.pruning.units import States, parameter_masks
from qacomp.training.teaching.lesson import Criterion


def score_population(
    model: nn.Module, gates: Gates, states: States, x: Tensor, y: Tensor, objective: PruningObjective
) -> Scores:
    """Return the mean objective of each of the (S, D) states over the batch x (B, C, H, W), y (B,): (S,)."""
    score = score_small if x.device.type == "cpu" else score_stacked
    return score(model, gates, states, x, y, objective)


def score_stacked(
    model: nn.Module, gates: Gates, states: States, x: Tensor, y: Tensor, objective: PruningObjective
) -> Scores:
    """Score the states as `score_population` does, in one forward pass over (S * B, C, H, W)."""
    count = len(states)
    with torch.inference_mode(), gates.population(states):
        repeated = x.repeat(count, *[1] * (x.ndim - 1)) if count > 1 else x  # (S * B, C, H, W)
        if x.ndim == 4:
            repeated = repeated.contiguous(memory_format=torch.channels_last)
        logits = model(repeated).float().view(count, len(x), -1)  # (S, B, classes)
        scores = objective(logits, y.expand(count, -1)).mean(dim=1, dtype=torch.float64)  # (S,)
    return np.asarray(scores.cpu().numpy())


def score_serially(
    model: nn.Module, gates: Gates, states: States, x: Tensor, y: Tensor, objective: PruningObjective
) -> Scores:
    """Score the states (see `score_population`), each by a forward pass of the whole gated network: the reference."""
    return np.concatenate([score_stacked(model, gates, state[None], x, y, objective) for state in states])


def score_small(
    model: nn.Module, gates: Gates, states: States, x: Tensor, y: Tensor, objective: PruningObjective
) -> Scores:
    """Score the states (see `score_population`), each by a forward pass without the channels that it switches off."""
    gates.set_state(None)
    scores = []
    with torch.inference_mode(), gates.scoring():
        for state in states:
            logits = functional_call(model, small_parameters(model, gates, state), (x,)).float()  # (B, classes)
            scores.append(objective(logits, y).mean(dtype=torch.float64))
        return np.asarray(torch.stack(scores).cpu().numpy())


def score_by_loss(model: nn.Module, gates: Gates, states: States, batch: Batch, criterion: Criterion) -> Scores:
    """Return the loss of the training under each of the (S, D) states: (S,), of any inputs, outputs and targets."""
    gates.set_state(None)
    given, named = arguments(batch.x)
    scores = []
    with torch.inference_mode(), gates.scoring():
        for state in states:
            found = functional_call(model, small_parameters(model, gates, state), given, named)
            scores.append(criterion(found, batch.y).double())
        return np.asarray(torch.stack(scores).cpu().numpy())


def small_parameters(model: nn.Module, gates: Gates, state: NDArray[np.bool_]) -> dict[str, Tensor]:
    """Return the parameters without the channels that `state` (D,) switches off; dead channels that must stay are zero.

    A forward pass with them gives the outputs of the gated network, if batch norms use statistics of the batch.
    """
    units = gates.units
    left = units.graph.left(alive_units(units, state[None]).atoms[0])  # (atoms,)
    masks = parameter_masks(model, units, state)
    parameters: dict[str, Tensor] = {}
    for layer in units.graph.layers:
        outputs = torch.from_numpy(np.flatnonzero(left[layer.writes])).to(next(model.parameters()).device)
        inputs = torch.from_numpy(np.flatnonzero(np.repeat(left[layer.reads], layer.spread))).to(outputs.device)
        for owner in (layer.name, layer.norm):
            if owner is None:
                continue
            for name, value in model.get_submodule(owner).named_parameters(f"{owner}", recurse=False):
                kept = value * masks[name] if name in masks else value
                kept = kept.index_select(0, outputs)
                parameters[name] = kept.index_select(1, inputs) if kept.ndim > 1 else kept
    return parameters
