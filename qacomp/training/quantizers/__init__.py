"""Uniform quantizers for training: the forward pass uses quantized weights, the optimizer full-precision ones."""

from qacomp.training.parametrizations.quantized import (
    FINEST,
    LearnedBits,
    is_quantized,
    quantize_network,
    quantized_weights,
    refit_scales,
    share_quantized,
    take_levels,
)
from qacomp.training.quantizers.activations import QuantizedActivation, quantize_activations
from qacomp.training.quantizers.base import (
    QUANTIZERS,
    Quantizer,
    QuantizerOptions,
    Scale,
    list_quantizers,
    quantizer_named,
    register_quantizer,
)
from qacomp.training.quantizers.plan import QuantizationPlan, layer_bits, plan_quantization

__all__ = [
    "FINEST",
    "QUANTIZERS",
    "LearnedBits",
    "QuantizationPlan",
    "QuantizedActivation",
    "Quantizer",
    "QuantizerOptions",
    "Scale",
    "is_quantized",
    "layer_bits",
    "list_quantizers",
    "plan_quantization",
    "quantize_activations",
    "quantize_network",
    "quantized_weights",
    "quantizer_named",
    "refit_scales",
    "register_quantizer",
    "share_quantized",
    "take_levels",
]
