"""Declare the parts of --preprocess, which replace the preprocessing that a checkpoint or an architecture states."""

from dataclasses import dataclass

from qacomp.options.declaration import POSITIVE, Bounds, Option, option

LARGEST_SIDE = 1 << 16  # pixels: no network reads larger images, and a larger one would fill the memory


@dataclass(frozen=True)
class PreprocessOptions:
    """The parts of --preprocess; one that is None stays as the checkpoint or the architecture states it.

    size: (height, width) in pixels; mean, std: of each channel for inputs in [0, 1], or one number for all channels.
    """

    size: tuple[int, int] | None = option(
        None, Option("Height and width of the input: 32 or 32x48.", bounds=Bounds(1, LARGEST_SIDE), metavar="SIZE")
    )
    mean: tuple[float, ...] | None = option(
        None, Option("Mean of each input channel, as fractions of 1: 0.485,0.456,0.406.", metavar="X,...")
    )
    std: tuple[float, ...] | None = option(
        None, Option("Standard deviation of each input channel: 0.229,0.224,0.225.", bounds=POSITIVE, metavar="X,...")
    )
