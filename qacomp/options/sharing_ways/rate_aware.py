"""Declare `--sharing rate`: uniform grids with the step sizes that give the smallest file at a quality.

With --target-size they give the best model of that size.
"""

from dataclasses import dataclass

from qacomp.options.declaration import Option, option
from qacomp.options.sharing_ways.registry import SharingWay, register_sharing_way


@register_sharing_way("rate")
@dataclass(frozen=True)
class RateAwareWay(SharingWay):
    """The hyper-parameters of rate-aware sharing (`qacomp.rate`)."""

    tuned: bool = option(
        True, Option("Train shared values, norms and biases briefly towards the original's outputs, without labels.")
    )
    trellis: str = option(
        "auto",
        Option(
            "Round weights on a trellis of eight states, for fewer bytes; readers of format 1.5 have it. Weights near "
            "those of --base are rounded as there. auto: of smaller networks, where it pays, and of smaller "
            "transformers with --calibration.",
            choices=("false", "auto", "true"),
        ),
    )
