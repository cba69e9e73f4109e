"""Which layers a quantizer gets and with how many bits, from the selected layers and the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from qacomp.errors import ConfigError
from qacomp.sharing.selection import Selection, value_for
from qacomp.training.quantizers.base import quantizer_named
from qacomp.training.quantizers.bits import layer_bits

ENDS = ("same", "full")


@dataclass(frozen=True)
class QuantizationPlan:
    """`selection`: the quantized layers, each with its K = the levels of its bits, and why others are left out.

    `bits`: state-dict key -> 1 .. 8.
    """

    selection: Selection
    bits: dict[str, int]


def plan_quantization(
    selection: Selection, quantizer: str, bits: int, overrides: Mapping[str, int], ends: str
) -> QuantizationPlan:
    """Bits for every layer of `selection`: `bits`, or what `overrides` (layer name or pattern -> bits) say.

    `ends`: the first and the last layer get bits as the others do (`same`), stay as they are (`full`), or get the given
    number (`8`), unless `overrides` name them. Raises ConfigError, also for a pattern that fits no layer.
    """
    names = [layer.name for layer in selection.layers]
    own = value_for((layer.names for layer in selection.layers), overrides, "--bits")
    edges = int(ends) if ends.isdigit() else ends
    if edges not in ENDS and not isinstance(edges, int):
        raise ConfigError(f"ends = {ends!r}: must be {', '.join(ENDS)} or a number of bits")
    planned = layer_bits(names, [own.get(name, bits) for name in names], ends=edges)
    planned |= layer_bits(list(own), list(own.values()))
    method, sample = quantizer_named(quantizer), torch.ones(1)
    skipped = dict(selection.skipped)
    layers = []
    for layer in selection.layers:
        if layer.name in planned:
            layers.append(replace(layer, k=method.levels(sample, planned[layer.name]).numel()))
        else:
            skipped[layer.name] = "first or last layer, kept in full precision (--ends full)"
    return QuantizationPlan(
        Selection(tuple(layers), skipped), {name: planned[name] for name in names if name in planned}
    )
