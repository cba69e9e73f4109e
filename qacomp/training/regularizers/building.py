"""Every selected layer's regularizer, from one choice of a method."""

from collections.abc import Mapping

from torch import Tensor

from qacomp.options.method import MethodLike
from qacomp.training.regularizers.base import REGULARIZERS, QuantizedLayer, Regularizer


def build_regularizers(
    method: MethodLike,
    weights: Mapping[str, Tensor],
    ks: Mapping[str, int],
    *,
    slices: int = 1,
    quantized: Mapping[str, QuantizedLayer] | None = None,
) -> dict[str, Regularizer]:
    """Return the regularizer of each weight by its name, on the weight's device, in training mode.

    method: such as "exp:init=uniform", or an object of its hyper-parameters; ks: levels by weight name; slices: a
    training step looks at one of so many parts of a layer; quantized: what --quantizer does to a layer, by weight name.
    Raises ConfigError for a method or hyper-parameter that can't be.
    """
    choice = REGULARIZERS.choice(method)
    options = REGULARIZERS.options(choice)
    penalties = REGULARIZERS.find(choice.name).for_layers(weights, ks, options, quantized or {})
    for name, penalty in penalties.items():
        penalty.divide(slices)
        penalty.to(weights[name].device)
    return penalties
