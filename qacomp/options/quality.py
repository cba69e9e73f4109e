"""Declare the options of rate-aware sharing: the size of the file, or how much the outputs or the metric may change."""

from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import NOT_NEGATIVE, Option, option
from qacomp.options.file_size import check_file_sizes

QUALITIES = ("high", "balanced", "small")
QUALITY = "balanced"
"""The quality where weights are shared by rate and neither a quality nor a size is asked for."""


@dataclass(frozen=True, kw_only=True)
class QualityOptions:
    """The target of rate-aware sharing: a size, a quality or a limit."""

    target_size: str | None = option(
        None,
        Option(
            "Size of the file: 100KB, 100000, 12x (smaller than fp32) or 1.5bpw (bits per weight). 50KB,100KB: a "
            "progressive file, whose first 50 KB are a smaller model (level1).",
            "Quality",
            brief="File size to reach: 100KB, 12x (smaller), 1.5bpw",
            check=check_file_sizes,
            needs=(needs.RATE_AWARE,),
            metavar="SIZE",
        ),
    )
    quality: str = option(
        "auto",
        Option(
            "Quality of the outputs: high (least change), balanced, or small (smallest file).",
            "Quality",
            brief="Instead of a size: high, balanced or small",
            choices=("auto", *QUALITIES),
            needs=(needs.RATE_AWARE, needs.NO_TARGET, needs.NO_LIMIT),
            shown=f"{QUALITY} where weights are shared by rate",
        ),
    )
    max_drop: float | None = option(
        None,
        Option(
            "The smallest file that loses at most so many points of accuracy on the validation part of --data; of "
            "another --metric, so much of it.",
            "Quality",
            brief="Instead of both: most points of accuracy to lose",
            bounds=NOT_NEGATIVE,
            needs=(needs.RATE_AWARE, needs.NO_TARGET),
            metavar="POINTS",
        ),
    )
    calibration: str | None = option(
        None,
        Option(
            "Calibration data on whose inputs step sizes are chosen, such as npz:FILE, or, for a folder, text:FILE or "
            "words (at random, no data); labels aren't used.",
            "Quality",
            brief="Inputs for choosing step sizes, such as npz:FILE",
            needs=(needs.RATE_AWARE,),
            shown="inputs generated from the network itself",
            metavar="SPEC",
        ),
    )
