"""Pack a trained precision ladder into the tensors and the graph of a progressive container."""

import numpy as np
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from qacomp.exporting.operating_points import level_tensor
from qacomp.formats import SharedTensor
from qacomp.graphs.batch_norm import constant_names, fold_statistics, foldable_batch_norms
from qacomp.models.weight_places import tied_names, under_all_names
from qacomp.sharing.selection import Selection
from qacomp.sources.network import Network
from qacomp.stages.network_precision import agreed, rounded_names, spreads
from qacomp.stages.pack_network import Package, TensorLike, store_precision
from qacomp.training.ladder import FULL, PrecisionLadder


def pack_ladder(
    network: Network, ladder: PrecisionLadder, selection: Selection, levels: list[int], precision: str
) -> Package:
    """Fold the batch norms of every level, round to the stored precision, and export the graph.

    The ladder's clusters must be fixed. The finest level's tensors have the network's names; the batch-norm tensors of
    a coarser level follow them, named by `level_tensor`. They all belong to level 0 of the container, so that a file
    that is cut off after any level holds them.
    """
    ladder = ladder.cpu().eval()
    tied = tied_names(ladder.network)
    shared = {layer.name: ladder.layer(layer.name).shared_tensor() for layer in selection.layers}
    shared = under_all_names(shared, tied)
    names = [name for name in ladder.submodel_names if name != FULL]
    plain = {name: ladder.submodel(name) for name in names}
    finest = plain[names[-1]]
    batch_norms = foldable_batch_norms(finest)
    states: list[dict[str, TensorLike]] = []
    roundings: list[dict[str, str]] = []
    for level, model in enumerate(plain.values()):
        norms = spreads(model)
        fold_statistics(model)
        states.append(_level_state(model, shared, level))
        roundings.append(agreed(rounded_names(states[-1] | shared, norms, precision, precision), tied))
    rounded = dict(roundings[-1])
    stored: dict[str, TensorLike] = {name: shared.get(name, value) for name, value in states[-1].items()}
    own = {
        f"{path}.{leaf}".removeprefix(".")
        for path, module in finest.named_modules(remove_duplicate=False)
        if isinstance(module, _BatchNorm)
        for leaf in module.state_dict()
    }
    for k, state, found in zip(levels, states[:-1], roundings[:-1], strict=False):
        stored |= {level_tensor(k, name): value for name, value in state.items() if name in own}
        rounded |= {level_tensor(k, name): what for name, what in found.items() if name in own}
    for model, state, found in zip(plain.values(), states, roundings, strict=True):
        held = {name for name in state if name in (found if name in own else rounded)}
        store_precision(model, state, dict.fromkeys(held, precision))
    graph = network.graphs.weightless(finest, network.inputs, states[-1])
    return Package(stored, graph, batch_norms, plain, rounded=rounded, precisions=dict.fromkeys(rounded, precision))


def _level_state(model: nn.Module, shared: dict[str, SharedTensor], level: int) -> dict[str, TensorLike]:
    """Return a level's tensors in the order of the state dict, without the constants that `fold_statistics` set."""
    constants = set(constant_names(model))
    state: dict[str, TensorLike] = {}
    for name, value in model.state_dict().items():
        if name in shared:
            state[name] = shared[name].at_level(level)
        elif name not in constants:
            state[name] = np.array(value.detach().cpu().numpy())
    return state
