"""Pack a tuned network into a container's tensors and graph, with exactly the values that a reader will get."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from qacomp.formats import SharedTensor, stored_values
from qacomp.graphs.batch_norm import fold_statistics, foldable_batch_norms
from qacomp.graphs.submodels import only_output, output_names, weight_names
from qacomp.models.flexible import FlexibleModel
from qacomp.models.weight_places import tied_names, under_all_names
from qacomp.sharing.selection import Selection
from qacomp.sources.network import Network
from qacomp.stages.network_precision import CODEBOOK, agreed, rounded_names, spreads
from qacomp.training.parametrizations.grid import is_wide
from qacomp.training.parametrizations.shared import shared_tensor, unshare

TensorLike: TypeAlias = NDArray[Any] | SharedTensor


@dataclass(frozen=True)
class Package:
    """A packed network. `tensors`: by state-dict name; `graph`: the ONNX model without their data.

    `batch_norms`: eps of each folded batch norm, by path; `submodels`: plain networks by operating point, smallest
    first, with the values of the file (empty if there is only one network); `cuts`: first tensor of each run of tensors
    that the same sub-models read; `rounded`: tensors whose codebook or vector is rounded, with a description;
    `precisions`: the precision of each of them; all others are stored exactly.
    """

    tensors: dict[str, TensorLike]
    graph: bytes
    batch_norms: dict[str, float]
    submodels: dict[str, nn.Module] = field(default_factory=dict)
    cuts: tuple[str, ...] = ()
    rounded: dict[str, str] = field(default_factory=dict)
    precisions: dict[str, str] = field(default_factory=dict)

    @property
    def exact(self) -> frozenset[str]:
        """Return the names of the tensors that are stored exactly."""
        return frozenset(self.tensors) - frozenset(self.rounded)


@dataclass(frozen=True)
class StoredNetwork:
    """The tensors of a file, and how they are rounded; see `Package`, which has the graph too."""

    tensors: dict[str, TensorLike]
    batch_norms: dict[str, float]
    rounded: dict[str, str]
    precisions: dict[str, str]


def stored_network(network: Network, selection: Selection, precision: str, vectors: str | None = None) -> StoredNetwork:
    """Fold batch norms and round to the stored precision; nothing is exported.

    Every layer of the selection must have been shared. `network.model` is changed: it moves to the CPU and gets exactly
    the values of the file. precision: of codebooks; vectors: precision of biases and norms, None: that of codebooks.
    """
    model = network.model.cpu()
    tensors: dict[str, TensorLike] = {}
    wide = set()
    for layer in selection.layers:
        if is_wide(model, layer.name):
            wide.add(layer.name)
        tensors[layer.name] = shared_tensor(model, layer.name)
        unshare(model, layer.name)
    tied = tied_names(model)
    tensors = under_all_names(tensors, tied)
    batch_norms = foldable_batch_norms(model)
    norms = spreads(model)
    constants = set(fold_statistics(model))
    for name, value in model.state_dict().items():
        if name not in constants and name not in tensors:
            tensors[name] = value.detach().cpu().numpy()
    tensors = {name: tensors[name] for name in model.state_dict() if name in tensors}
    vectors = vectors or precision
    found = {n: what for n, what in rounded_names(tensors, norms, precision, vectors).items() if n not in wide}
    rounded = agreed(found, {name: first for name, first in tied.items() if name in tensors})
    precisions = {name: precision if what == CODEBOOK else vectors for name, what in rounded.items()}
    store_precision(model, tensors, precisions)
    return StoredNetwork(tensors, batch_norms, rounded, precisions)


def pack_network(network: Network, selection: Selection, precision: str, vectors: str | None = None) -> Package:
    """Return the tensors of `stored_network`, whose arguments these are, with the exported graph of `network`."""
    stored = stored_network(network, selection, precision, vectors)
    model, tensors, norms = network.model, stored.tensors, stored.batch_norms
    if isinstance(model, FlexibleModel):
        graph = network.graphs.weightless(model, network.inputs, tensors, all_submodels=True)
        submodels = {name: model.submodel(name) for name in model.submodel_names}
        ordered, cuts = _by_readers(tensors, graph)
        return Package(ordered, graph, norms, submodels, cuts, stored.rounded, stored.precisions)
    graph = network.graphs.weightless(model, network.inputs, tensors)
    return Package(tensors, graph, norms, rounded=stored.rounded, precisions=stored.precisions)


def _by_readers(tensors: dict[str, TensorLike], graph: bytes) -> tuple[dict[str, TensorLike], tuple[str, ...]]:
    """Return the tensors grouped by the sub-models that read them, and the first name of each group.

    So the tensors of one group can be fetched without the others.
    """
    outputs = {name: weight_names(only_output(graph, name)) for name in output_names(graph)}
    runs: dict[frozenset[str], list[str]] = {}
    for name in tensors:
        runs.setdefault(frozenset(output for output, weights in outputs.items() if name in weights), []).append(name)
    return {name: tensors[name] for run in runs.values() for name in run}, tuple(run[0] for run in runs.values())


def store_precision(model: nn.Module, tensors: dict[str, TensorLike], precisions: Mapping[str, str]) -> None:
    """Set the model's values, in place, to those that a reader will get, each rounded to its precision."""
    state = model.state_dict()
    with torch.no_grad():
        for name, value in tensors.items():
            stored = precisions.get(name, "exact")
            if isinstance(value, SharedTensor):
                read = replace(value, codebook=stored_values(value.codebook, stored)).dense()
            else:
                read = stored_values(value, stored)
            state[name].copy_(torch.from_numpy(np.array(read)))
