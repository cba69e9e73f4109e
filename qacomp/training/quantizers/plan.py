"""Plan which layers are quantized, and with how many bits, from the selected layers and the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from qacomp.errors import ConfigError
from qacomp.options.method import MethodLike
from qacomp.sharing.selection import Selection, value_for
from qacomp.training.quantizers.base import check_bits, quantizer_named


@dataclass(frozen=True)
class QuantizationPlan:
    """`selection`: the quantized layers, K of each = its number of levels, and the reasons why others are left out.

    `bits`: state-dict key -> bits, 1 .. 8.
    """

    selection: Selection
    bits: dict[str, int]


def plan_quantization(
    selection: Selection,
    quantizer: MethodLike,
    bits: int,
    overrides: Mapping[str, int],
    network: Sequence[str] | None = None,
) -> QuantizationPlan:
    """Return the plan: each layer gets `bits`, or those in `overrides` (layer name or pattern -> bits).

    The quantizer's `ends` decides for the first and the last layer, unless `overrides` names them: bits like the others
    (`same`), full precision (`full`), or a number of bits (`8`). network: the weights of all layers of the network in
    their order, selected or not, whose first and last are the ends; None: the selection's own. Raises ConfigError for
    bits out of range and for a pattern that matches no layer.
    """
    names = [layer.name for layer in selection.layers]
    own = value_for((layer.names for layer in selection.layers), overrides, "--bits")
    method, sample = quantizer_named(quantizer), torch.ones(1)
    ends = method.options.ends
    each = [own.get(name, bits) for name in names]
    places = names if network is None else network
    planned = layer_bits(names, each, ends=int(ends) if ends.isdigit() else ends, network=places)
    planned |= layer_bits(list(own), list(own.values()))
    skipped = dict(selection.skipped)
    layers = []
    for layer in selection.layers:
        if layer.name in planned:
            layers.append(replace(layer, k=method.levels(sample, planned[layer.name]).numel()))
        else:
            skipped[layer.name] = "first or last layer, kept in full precision (ends=full)"
    return QuantizationPlan(
        Selection(tuple(layers), skipped), {name: planned[name] for name in names if name in planned}
    )


def layer_bits(
    names: Sequence[str],
    bits: int | Sequence[int],
    *,
    ends: int | str = "same",
    network: Sequence[str] | None = None,
) -> dict[str, int]:
    """Return the bits of each weight, by name; `names` are in the order of the layers.

    bits: for all layers, or one number for each. ends: `same` gives the first and the last layer bits like the others,
    a number gives them that many bits, and `full` leaves them out of the result. network: the layers whose first and
    last are the ends, by default `names`; an end outside `names` gets no bits. Raises ConfigError for bits out of range
    or a wrong number of them.
    """
    each = [bits] * len(names) if isinstance(bits, int) else list(bits)
    if len(each) != len(names):
        raise ConfigError(f"{len(each)} numbers of bits for {len(names)} layers; give one, or one for each layer")
    chosen = {name: check_bits(b, name) for name, b in zip(names, each, strict=True)}
    places = names if network is None else network
    if ends == "same" or not places:
        return chosen
    outer = (places[0], places[-1])
    if ends == "full":
        return {name: b for name, b in chosen.items() if name not in outer}
    if not isinstance(ends, int):
        raise ConfigError(f"bits of the first and last layer: {ends!r}; must be same, full or a number")
    return chosen | {name: check_bits(ends, name) for name in outer if name in chosen}
