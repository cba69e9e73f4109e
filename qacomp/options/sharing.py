"""Declare the options of sharing weights: which tensors, how many shared values, and which codebooks."""

from collections.abc import Mapping
from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.codebook import check_codebook
from qacomp.options.codec import check_codec
from qacomp.options.declaration import NOT_NEGATIVE, Bounds, Option, by_layer, option
from qacomp.options.method import MethodChoice

_SHARING = "Sharing"
AUTO, AFTER, RATE = MethodChoice("auto"), MethodChoice("after"), MethodChoice("rate")
SHARED_VALUES = 16
"""Shared values of a layer where k-means shares the weights and --k isn't given."""


@dataclass(frozen=True, kw_only=True)
class SharingOptions:
    """Which weights are shared, and how."""

    k: int | None = option(
        None,
        Option(
            "Share by k-means, with so many shared values in each layer: 8, or 8,conv1=16,fc*=4. Without --k, and "
            "without other options of k-means, weights are shared by rate.",
            _SHARING,
            brief="Share by k-means, so many values: 8, or 8,conv1=16",
            bounds=Bounds(2, 65_536),
            needs=(needs.NOT_BY_RATE, needs.NO_LEVELS, needs.NO_QUANTIZER, needs.NO_LEARNED_BITS, needs.NO_GRID),
            shown=f"{SHARED_VALUES} where k-means shares the weights",
            metavar="K",
        ),
    )
    k_layers: Mapping[str, int] = by_layer("k", needs.NOT_BY_RATE, needs.NO_LEARNED_BITS, needs.NO_GRID)
    levels: tuple[int, ...] | None = option(
        None,
        Option(
            "Write a progressive file instead of using --k: 4,16,64 are the numbers of shared values of its levels.",
            _SHARING,
            brief="Progressive file with so many shared values: 4,16",
            needs=(needs.COUNTED_LEVELS,),
            metavar="K,K,...",
        ),
    )
    scope: str = option("all", Option("Kind of layers to share.", _SHARING, choices=("all", "conv", "dense")))
    codebook: str = option(
        "tensor",
        Option(
            "One codebook for each tensor, channel or group of weights of a channel (group:64); or affine grids of 2, "
            "4 or 8 bits for each channel (affine4) or for each 32 inputs of it (affine4:32).",
            _SHARING,
            brief="tensor, channel, group:64, or a grid affine4",
            check=check_codebook,
            needs=(needs.NOT_BY_RATE,),
            metavar="KIND",
        ),
    )
    include: tuple[str, ...] = option(
        (),
        Option(
            "Share only tensors with this name or pattern, of any size.",
            _SHARING,
            brief="Share only tensors of this name or pattern",
            metavar="NAME",
        ),
    )
    exclude: tuple[str, ...] = option(
        (),
        Option(
            "Store tensors with this name or pattern exactly.",
            _SHARING,
            brief="Store tensors of this name or pattern exactly",
            metavar="NAME",
        ),
    )
    min_size: int = option(
        256,
        Option(
            "Don't share tensors with fewer values than this.", _SHARING, bounds=NOT_NEGATIVE, needs=(needs.NO_INCLUDE,)
        ),
    )
    min_agreement: float | None = option(
        None,
        Option(
            "Lowest accepted cosine between the outputs and the original's: by rate the smallest file that keeps it; "
            "with --k and without data, tensors get more values than K until it is reached, and 0 turns this off.",
            _SHARING,
            bounds=Bounds(0, 1, open_high=True),
            needs=(needs.NO_TARGET, needs.AGREEMENT_BY_RATE, needs.NOT_TRAINED_BY_RATE),
            shown="0.9999 from --k 256 on, if the model can be run",
        ),
    )
    sharing: MethodChoice = option(
        AUTO,
        Option(
            "Share after the fine-tuning by k-means, in its forward pass (straight-through), or by rate; auto: by the "
            "other settings.",
            _SHARING,
            methods="qacomp.options.sharing_ways:SHARING_WAYS",
            needs=(needs.SHARED_IN_TRAINING,),
            idle=AFTER,
            shown="rate without options of k-means, straight-through with --reg or --levels, else after",
        ),
    )
    rounding: str = option(
        "auto",
        Option(
            "Round weights to the nearest shared value, or balanced, so that the errors of a channel cancel out.",
            _SHARING,
            choices=("auto", "nearest", "balanced"),
            needs=(needs.FREE_ROUNDING,),
            idle="nearest",
            shown="balanced if nothing is fine-tuned",
        ),
    )
    batch_norm: str = option(
        "keep",
        Option(
            "Keep or re-estimate batch norm statistics after sharing.",
            _SHARING,
            choices=("keep", "re-estimate"),
            needs=(needs.NORMS_KEPT,),
        ),
    )
    stored_precision: str = option(
        "fp16",
        Option(
            "Precision of codebooks, biases and norms in the file; fp16 only where it loses little. By rate biases and "
            "norms have fp12 then.",
            _SHARING,
            choices=("fp16", "exact"),
        ),
    )
    codec: str | None = option(
        None,
        Option(
            "Also try this codec of an installed package, which a reader then needs; no-zstd,no-lzma: without these. "
            "with-mixing: fewer bytes, longer to read; --sharing rate has it, unless no-mixing is named.",
            _SHARING,
            registry="qacomp.formats.codecs:installed_codecs",
            check=check_codec,
            shown="those of the format",
            metavar="NAME",
        ),
    )
