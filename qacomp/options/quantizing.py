"""Declare the options of the quantizers, which replace codebooks of shared values."""

from collections.abc import Mapping
from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import Bounds, Option, by_layer, option
from qacomp.options.method import NO_METHOD, MethodChoice

_QUANTIZER = "Quantizer, instead of shared values"


@dataclass(frozen=True, kw_only=True)
class QuantizingOptions:
    """How weights and activations are quantized in the forward pass."""

    quantizer: MethodChoice = option(
        NO_METHOD,
        Option(
            "Quantize the weights in the forward pass of the fine-tuning: dorefa or wrpn.",
            _QUANTIZER,
            brief="Train with quantized weights: dorefa or wrpn",
            methods="qacomp.training.quantizers.base:QUANTIZERS",
        ),
    )
    bits: int = option(
        4,
        Option(
            "Bits of a quantized weight: 4, or 4,conv1=5.",
            _QUANTIZER,
            brief="Bits of a quantized weight: 4, or 4,conv1=5",
            bounds=Bounds(1, 8),
            needs=(needs.GIVEN_BITS,),
            metavar="BITS",
        ),
    )
    bits_layers: Mapping[str, int] = by_layer("bits", needs.GIVEN_BITS)
