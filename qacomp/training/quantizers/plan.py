"""Which layers a quantizer gets and with how many bits, from the selected layers and the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from qacomp.options.method import MethodLike
from qacomp.sharing.selection import Selection, value_for
from qacomp.training.quantizers.base import quantizer_named
from qacomp.training.quantizers.bits import layer_bits


@dataclass(frozen=True)
class QuantizationPlan:
    """`selection`: the quantized layers, each with its K = the levels of its bits, and why others are left out.

    `bits`: state-dict key -> 1 .. 8.
    """

    selection: Selection
    bits: dict[str, int]


def plan_quantization(
    selection: Selection, quantizer: MethodLike, bits: int, overrides: Mapping[str, int]
) -> QuantizationPlan:
    """Bits for every layer of `selection`: `bits`, or what `overrides` (layer name or pattern -> bits) say.

    By the quantizer's `ends`, the first and the last layer get bits as the others do (`same`), stay as they are
    (`full`), or get the given number (`8`), unless `overrides` name them. Raises ConfigError, also for a pattern that
    fits no layer.
    """
    names = [layer.name for layer in selection.layers]
    own = value_for((layer.names for layer in selection.layers), overrides, "--bits")
    method, sample = quantizer_named(quantizer), torch.ones(1)
    ends = method.options.ends
    each = [own.get(name, bits) for name in names]
    planned = layer_bits(names, each, ends=int(ends) if ends.isdigit() else ends)
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
