"""Uniform quantizers for training: full-precision shadow weights, quantized in the forward pass."""

from qacomp.quantizers.activations import QuantizedActivation, quantize_activations
from qacomp.quantizers.base import Quantizer, list_quantizers, quantizer_named, register_quantizer
from qacomp.quantizers.bits import layer_bits
from qacomp.quantizers.weights import freeze_to_shared, quantize_network, quantized_weights

__all__ = [
    "QuantizedActivation",
    "Quantizer",
    "freeze_to_shared",
    "layer_bits",
    "list_quantizers",
    "quantize_activations",
    "quantize_network",
    "quantized_weights",
    "quantizer_named",
    "register_quantizer",
]
