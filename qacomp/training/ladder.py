"""A precision ladder: a classifier whose sub-models use more and more shared values; the last is at full precision."""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _BatchNorm

from qacomp.batches.feed import Feed, arguments, called
from qacomp.errors import ConfigError
from qacomp.models.flexible import FlexibleModel, submodel_index
from qacomp.models.plain_modules import copied
from qacomp.models.weight_places import other_places
from qacomp.sharing.nested import layer_levels
from qacomp.sharing.selection import Selection
from qacomp.training.parametrizations.nested import NestedCodebooks, nested_codebooks
from qacomp.training.regularizers import Regularizer

FULL = "full"


class PrecisionLadder(nn.Module):
    """A flexible model over one network's weights: level i uses each layer's level-i codebook, the last sub-model none.

    The codebooks nest (see `qacomp.training.parametrizations.nested`). Each level has its own batch norms; all other
    parameters, biases too, are the network's. The gradients of every level pass straight through to the full-precision
    weights.
    """

    def __init__(self, network: nn.Module, codebooks: Mapping[str, NestedCodebooks], ks: Sequence[int]) -> None:
        """Take `codebooks` by weight name (`conv1.weight`); `ks`: shared values of each level, ascending."""
        super().__init__()
        self.submodel_names = (*(f"level{k}" for k in ks), FULL)
        self.network = network
        self.codebooks = nn.ModuleDict({_key(name): books for name, books in codebooks.items()})
        norms = {_key(path): m for path, m in network.named_modules() if isinstance(m, _BatchNorm)}
        self.norms = nn.ModuleList(nn.ModuleDict(copy.deepcopy(norms)) for _ in ks)
        self._also = other_places(network)

    def layer(self, name: str) -> NestedCodebooks:
        """Return the codebooks of the weight `name`."""
        return cast(NestedCodebooks, self.codebooks[_key(name)])

    def tensors(self, level: int) -> dict[str, Tensor]:
        """Return the tensors that replace the network's at a level, by state-dict name, differentiable.

        A tied weight is listed under the name of each module that holds it.
        """
        replaced: dict[str, Tensor] = {}
        for key in self.codebooks:
            name = _name(key)
            made = self.layer(name)(self.network.get_parameter(name), level)
            replaced |= dict.fromkeys((name, *self._also.get(name, ())), made)
        for key, norm in cast(nn.ModuleDict, self.norms[level]).items():
            prefix = f"{_name(key)}." if key else ""
            replaced |= {prefix + leaf: t for leaf, t in (*norm.named_parameters(), *norm.named_buffers())}
        return replaced

    def forward(self, *given: Tensor, **named: Tensor) -> Any:
        """Return the outputs at full precision: (N, classes) logits of a classifier."""
        return self.network(*given, **named)

    def forward_all(self, x: Feed) -> list[Any]:
        """Return the outputs of each level for a feed, the coarsest first, and of the full network."""
        return [*self.forward_levels(x), called(self.network, x)]

    def forward_levels(self, x: Feed) -> list[Any]:
        """Return the outputs of each level for a feed, the coarsest first."""
        levels, (given, named) = range(len(self.norms)), arguments(x)
        return [functional_call(self.network, self.tensors(i), given, named, tie_weights=False) for i in levels]

    def submodel(self, name: str) -> nn.Module:
        """Return a copy of the network with one level's weights and batch norms; ConfigError for an unknown name."""
        index = submodel_index(self.submodel_names, name)
        plain = copied(self.network)
        if index < len(self.norms):
            state = plain.state_dict()
            with torch.no_grad():
                for key, value in self.tensors(index).items():
                    state[key].copy_(value)
        return plain.train(self.training)

    def freeze(self) -> None:
        """Fix every layer's clusters: from now on the shared values are trained, and the weights behind them aren't."""
        for key in self.codebooks:
            weight = self.network.get_parameter(_name(key))
            self.layer(_name(key)).freeze(weight)
            weight.requires_grad_(False)


def build_ladder(
    network: nn.Module,
    selection: Selection,
    levels: Sequence[int],
    penalties: Mapping[str, Regularizer] | None = None,
    gains: Mapping[str, float] | None = None,
    masks: Mapping[str, Tensor] | None = None,
) -> PrecisionLadder:
    """Build a ladder over `network`, which it holds and trains, from k-means of the selected weights.

    levels: shared values of each level, ascending; a layer with its own K ends at that K. The mappings are by weight
    name. penalties: regularizers whose representatives are the layer's finest codebook; gains: factors on the gradients
    of those (see `NestedCodebooks`); masks: True for weights that may change, False for weights that stay zero, which
    take one of the shared values of each level. Raises ConfigError for a network that has sub-models already.
    """
    if isinstance(network, FlexibleModel):
        names = f"{network.submodel_names[0]} ... {network.submodel_names[-1]}"
        raise ConfigError(f"--levels: the network has sub-models of its own ({names}); compress it without --levels")
    penalties, gains, masks = penalties or {}, gains or {}, masks or {}
    codebooks = {}
    for layer in selection.layers:
        weight = network.get_parameter(layer.name)
        books = nested_codebooks(
            weight.detach().cpu().contiguous().numpy(),
            layer_levels([level - 1 if layer.name in masks and level > 2 else level for level in levels], layer.k),
            penalties.get(layer.name),
            gains.get(layer.name, 1.0),
            masks.get(layer.name),
        )
        codebooks[layer.name] = books.to(weight.device)
    return PrecisionLadder(network, codebooks, levels)


def _key(name: str) -> str:
    """Return a state-dict name with its dots replaced, since torch allows no dots in the names of modules."""
    return name.replace(".", "/")


def _name(key: str) -> str:
    return key.replace("/", ".")
