"""Which layers a quantizer gets and with how many bits, from the selected layers and the settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from qacomp.errors import ConfigError
from qacomp.options.method import MethodLike
from qacomp.sharing.selection import Selection, value_for
from qacomp.training.quantizers.base import check_bits, quantizer_named


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
    """Return bits for each layer: `bits`, or what `overrides` (layer name or pattern -> bits) say.

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


def layer_bits(names: Sequence[str], bits: int | Sequence[int], *, ends: int | str = "same") -> dict[str, int]:
    """Return bits by weight name, for the weights `names` in the order of the layers.

    `bits`: for all, or one number a layer. `ends`: what the first and the last layer get, `same` as the others, a
    number of bits, or `full` precision: then they are left out of the result. Raises ConfigError.
    """
    each = [bits] * len(names) if isinstance(bits, int) else list(bits)
    if len(each) != len(names):
        raise ConfigError(f"{len(each)} numbers of bits for {len(names)} layers; give one, or one for each layer")
    chosen = {name: check_bits(b, name) for name, b in zip(names, each, strict=True)}
    if ends == "same" or not names:
        return chosen
    if ends == "full":
        return {name: b for name, b in chosen.items() if name not in (names[0], names[-1])}
    if not isinstance(ends, int):
        raise ConfigError(f"bits of the first and last layer: {ends!r}; must be same, full or a number")
    return chosen | {names[0]: check_bits(ends, names[0]), names[-1]: check_bits(ends, names[-1])}
