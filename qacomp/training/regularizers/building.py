"""Build the regularizers of all selected layers for one method."""

from collections.abc import Mapping

from torch import Tensor

from qacomp.options.method import MethodLike
from qacomp.training.regularizers.base import REGULARIZERS, QuantizedLayer, Regularizer


def build_regularizers(
    method: MethodLike,
    weights: Mapping[str, Tensor],
    ks: Mapping[str, int],
    quantized: Mapping[str, QuantizedLayer] | None = None,
) -> dict[str, Regularizer]:
    """Return the regularizer of each weight by its name, on the weight's device, in training mode.

    method: text such as "exp:init=uniform", or an object with its hyper-parameters; ks: representatives by weight name;
    quantized: how --quantizer quantizes a layer, by weight name. Raises ConfigError for an unknown method, or a wrong
    hyper-parameter.
    """
    choice = REGULARIZERS.choice(method)
    options = REGULARIZERS.options(choice)
    penalties = REGULARIZERS.find(choice.name).for_layers(weights, ks, options, quantized or {})
    for name, penalty in penalties.items():
        penalty.divide(options.slices)
        penalty.to(weights[name].device)
    return penalties
