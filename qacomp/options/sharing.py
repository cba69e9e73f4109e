"""Options of sharing weights: which tensors, how many values, what a codebook serves."""

from collections.abc import Mapping
from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.codebook import check_codebook
from qacomp.options.codec import check_codec
from qacomp.options.declaration import NOT_NEGATIVE, Bounds, Option, by_layer, option
from qacomp.options.method import MethodChoice

_SHARING = "Sharing"
AUTO, AFTER, RATE = MethodChoice("auto"), MethodChoice("after"), MethodChoice("rate")


@dataclass(frozen=True, kw_only=True)
class SharingOptions:
    """Which weights are shared, and how."""

    k: int = option(
        16,
        Option(
            "Number of shared values in each layer: 8, or 8,conv1=16,fc*=4.",
            _SHARING,
            basic=True,
            bounds=Bounds(2, 65_536),
            needs=(needs.NOT_BY_RATE, needs.NO_LEVELS, needs.NO_QUANTIZER, needs.NO_LEARNED_BITS, needs.NO_GRID),
            metavar="K",
        ),
    )
    k_layers: Mapping[str, int] = by_layer("k", needs.NOT_BY_RATE, needs.NO_LEARNED_BITS, needs.NO_GRID)
    levels: tuple[int, ...] | None = option(
        None,
        Option(
            "Write a progressive file, in place of --k: 4,16,64 are the shared values of its levels.",
            _SHARING,
            basic=True,
            needs=(needs.NOT_BY_RATE,),
            metavar="K,K,...",
        ),
    )
    scope: str = option("all", Option("Which layers are shared.", _SHARING, choices=("all", "conv", "dense")))
    codebook: str = option(
        "tensor",
        Option(
            "What one codebook serves: a tensor, a channel, group:64 (so many weights of a channel), or a grid of 2, 4 "
            "or 8 bits for each channel (affine4) or for 32 inputs of it (affine4:32).",
            _SHARING,
            basic=True,
            check=check_codebook,
            needs=(needs.NOT_BY_RATE,),
            metavar="KIND",
        ),
    )
    include: tuple[str, ...] = option(
        (), Option("Share only these tensors, of any size: a name or a pattern.", _SHARING, basic=True, metavar="NAME")
    )
    exclude: tuple[str, ...] = option(
        (), Option("Keep these tensors exactly: a name or a pattern.", _SHARING, basic=True, metavar="NAME")
    )
    min_size: int = option(
        256,
        Option("Tensors with fewer values aren't shared.", _SHARING, bounds=NOT_NEGATIVE, needs=(needs.NO_INCLUDE,)),
    )
    min_agreement: float | None = option(
        None,
        Option(
            "Without data: the cosine that the outputs must reach. Tensors get more values than --k until they do; 0 "
            "turns that off.",
            _SHARING,
            bounds=Bounds(0, 1, open_high=True),
            shown="0.9999 from --k 256 on, where the model runs",
        ),
    )
    sharing: MethodChoice = option(
        AUTO,
        Option(
            "Share after the fine-tuning, or in its forward pass already (straight-through); auto: as the rest asks.",
            _SHARING,
            methods="qacomp.options.sharing_ways:SHARING_WAYS",
            needs=(needs.SHARED_IN_TRAINING,),
            idle=AFTER,
            shown="straight-through with --reg or --levels",
        ),
    )
    rounding: str = option(
        "auto",
        Option(
            "How k-means rounds: to the nearest value, or balanced, so that the errors of a channel cancel.",
            _SHARING,
            choices=("auto", "nearest", "balanced"),
            needs=(needs.FREE_ROUNDING,),
            idle="nearest",
            shown="balanced where nothing is fine-tuned",
        ),
    )
    batch_norm: str = option(
        "keep",
        Option("Statistics of batch norm after sharing.", _SHARING, choices=("keep", "re-estimate")),
    )
    stored_precision: str = option(
        "fp16",
        Option(
            "Precision of codebooks, biases and norms in the file, where it holds them.",
            _SHARING,
            choices=("fp16", "exact"),
        ),
    )
    codec: str | None = option(
        None,
        Option(
            "Try this codec of an installed package too; only a reader that has the package reads the file then.",
            _SHARING,
            registry="qacomp.formats.codecs:installed_codecs",
            check=check_codec,
            shown="those of the format",
            metavar="NAME",
        ),
    )
