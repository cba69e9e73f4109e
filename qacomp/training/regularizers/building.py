"""Every selected layer's regularizer, from one description."""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from qacomp.training.regularizers.base import DEFAULT_OPTIONS, Regularizer, regularizer_class
from qacomp.training.regularizers.options import RegularizerOptions
from qacomp.training.regularizers.uniform_range import pooled_weights, uniform_range


def build_regularizers(
    name: str,
    weights: Mapping[str, Tensor],
    ks: Mapping[str, int],
    options: RegularizerOptions = DEFAULT_OPTIONS,
    *,
    strengths: Mapping[str, float] | None = None,
    bits: Mapping[str, float] | None = None,
    units: Mapping[str, float] | None = None,
) -> dict[str, Regularizer]:
    """The regularizer `name` for each weight: weight name -> penalty, on the weight's device, in training mode.

    `ks`: levels by weight name. `strengths`: a layer's relative strength, `bits`: its SinReQ bits, `units`: its
    quantizer's unit, where they differ from the options. A `global` range is fitted to all the weights together.
    Raises ConfigError.
    """
    options.check()
    cls = regularizer_class(name)
    pooled = pooled_weights(weights.values()) if cls.inset is not None and options.range == "global" else None
    penalties = {}
    for key, weight in weights.items():
        own = options
        if strengths and key in strengths:
            own = replace(own, relative_strength=strengths[key])
        if bits and key in bits:
            own = replace(own, bits=bits[key])
        if units and key in units:
            own = replace(own, unit=units[key])
        if pooled is not None and cls.inset is not None:
            own = replace(own, range=uniform_range(pooled, ks[key], inset=cls.inset))
        penalty = cls.for_weights(weight, ks[key], own.check())
        penalty.options = own
        if own.slices > 1:
            penalty.register_buffer("turn", torch.zeros((), dtype=torch.int64))  # so that a resumed training goes on
        penalties[key] = penalty.to(weight.device)
    return penalties
