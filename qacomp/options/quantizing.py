"""Options of the quantizers, which take the place of shared values."""

from collections.abc import Mapping
from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import Bounds, Option, by_layer, option

_QUANTIZER = "Quantizer, in place of shared values"


@dataclass(frozen=True, kw_only=True)
class QuantizingOptions:
    """How weights and activations are quantized in the forward pass."""

    quantizer: str = option(
        "none",
        Option(
            "Quantize the weights in the forward pass of the fine-tuning: dorefa or wrpn.",
            _QUANTIZER,
            basic=True,
            registry="qacomp.training.quantizers:list_quantizers",
            metavar="NAME",
        ),
    )
    bits: int = option(
        4,
        Option(
            "Bits of the quantizer: 4, or 4,conv1=5.",
            _QUANTIZER,
            basic=True,
            bounds=Bounds(1, 8),
            needs=(needs.GIVEN_BITS,),
            metavar="BITS",
        ),
    )
    bits_layers: Mapping[str, int] = by_layer("bits", needs.GIVEN_BITS)
    ends: str = option(
        "same",
        Option("Bits of the first and last layer: same, full (precision), or a number.", _QUANTIZER, metavar="BITS"),
    )
    quantizer_scale: str = option(
        "layer",
        Option(
            "Levels in each layer's own units, or in [−1, 1] as in the papers.",
            _QUANTIZER,
            choices=("layer", "unit"),
            needs=(needs.QUANTIZER,),
        ),
    )
    activations: int | None = option(
        None, Option("Bits of the ReLUs' outputs.", _QUANTIZER, shown="not quantized", metavar="BITS")
    )
