"""Options that name a wish: a file's size, or what the model may lose."""

from dataclasses import dataclass

from qacomp.options import needs
from qacomp.options.declaration import Option, option
from qacomp.options.file_size import check_file_size

QUALITIES = ("high", "balanced", "small")


@dataclass(frozen=True, kw_only=True)
class QualityOptions:
    """How small or how good the file shall be, where sharing is rate-aware."""

    target_size: str | None = option(
        None,
        Option(
            "Size of the file: 100KB, 100000, 12x (smaller than fp32) or 1.5bpw (bits a weight).",
            "Quality",
            basic=True,
            check=check_file_size,
            needs=(needs.RATE_AWARE,),
            metavar="SIZE",
        ),
    )
    quality: str = option(
        "auto",
        Option(
            "How much the outputs may change: high, balanced or small.",
            "Quality",
            basic=True,
            choices=("auto", *QUALITIES),
            needs=(needs.RATE_AWARE, needs.NO_TARGET),
            shown="balanced with --sharing rate",
        ),
    )
    calibration: str | None = option(
        None,
        Option(
            "Data whose inputs the steps are chosen on, such as npz:FILE; labels aren't used.",
            "Quality",
            basic=True,
            needs=(needs.RATE_AWARE,),
            shown="inputs that the network makes for itself",
            metavar="SPEC",
        ),
    )
