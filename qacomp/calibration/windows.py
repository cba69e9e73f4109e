"""The window of a convolution: which values of its input each position of the output is a product with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

Pick = Callable[[int], Tensor | None]
"""Gives the places that are taken, int64, of so many; None for all."""


@dataclass(frozen=True)
class Window:
    """How a convolution of one or two axes moves over its input; sizes are (height, width), of one axis (1, n).

    pads: zeros in front of and behind each axis, as the convolution names them: (top, bottom, left, right). Of a
    transposed one, `pads` are cut off its output, and `pads` behind may be negative: it is made larger there. mode: of
    `torch.nn.functional.pad`.
    """

    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    groups: int = 1
    transposed: bool = False
    mode: str = "constant"


def everything(_: int) -> None:
    """Return None: all places are taken."""


def window_columns(window: Window, images: Tensor, pick: Pick = everything) -> Tensor:
    """Return what each row of a weight is multiplied with, (groups, n, positions); n as in the rows of its view.

    images: (batch, channels, height, width). pick: of the positions of all outputs of all images, in this order.
    """
    padded = _spread(window, images) if window.transposed else _padded(window, images)
    stride = (1, 1) if window.transposed else window.stride
    batch, channels, height, width = padded.shape
    reach = [window.dilation[i] * (window.kernel[i] - 1) for i in (0, 1)]
    rows, columns = (height - reach[0] - 1) // stride[0] + 1, (width - reach[1] - 1) // stride[1] + 1
    count = max(0, batch * rows * columns)
    taken = pick(count)
    places = torch.arange(count) if taken is None else taken
    image, y, x = places // (rows * columns), places // columns % rows, places % columns
    starts = image * height * width + y * stride[0] * width + x * stride[1]  # (positions,)
    flat = padded.transpose(0, 1).reshape(channels, -1)
    offsets = [window.dilation[0] * i * width + window.dilation[1] * j for i, j in _places(window)]
    found = torch.stack([flat[:, starts + offset] for offset in offsets], 1)  # (channels, kernel, positions)
    return found.reshape(window.groups, -1, len(places))


def _places(window: Window) -> Sequence[tuple[int, int]]:
    """Return the places of the kernel's values, as the weight has them: a transposed one is read backwards."""
    places = [(i, j) for i in range(window.kernel[0]) for j in range(window.kernel[1])]
    return places[::-1] if window.transposed else places


def _padded(window: Window, images: Tensor) -> Tensor:
    top, bottom, left, right = window.pads
    return F.pad(images, [left, right, top, bottom], mode=window.mode) if any(window.pads) else images


def _spread(window: Window, images: Tensor) -> Tensor:
    """Return the images with zeros between and around their pixels: a plain convolution of them is the transposed."""
    batch, channels, height, width = images.shape
    stride, dilation = window.stride, window.dilation
    spread = images.new_zeros(batch, channels, (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1)
    spread[:, :, :: stride[0], :: stride[1]] = images
    whole = [dilation[i] * (window.kernel[i] - 1) for i in (0, 0, 1, 1)]
    top, bottom, left, right = (reach - pad for reach, pad in zip(whole, window.pads, strict=True))
    return F.pad(spread, [left, right, top, bottom])
