"""Arrange the inputs of a PyTorch layer as columns, the vectors that each row of its weight is multiplied with."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from qacomp.rate.matrices import MatrixView, input_major, output_major

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d)
TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d)


def view_of(module: nn.Module, shape: tuple[int, ...]) -> MatrixView | None:
    """Return the view of a module's weight as matrices; None for a module of another kind than `columns` takes."""
    if isinstance(module, CONVOLUTIONS):
        return output_major(shape, module.groups)
    if isinstance(module, TRANSPOSED):
        return input_major(shape, module.groups)
    return output_major(shape) if isinstance(module, nn.Linear) else None


def columns(module: nn.Module, given: Tensor) -> Tensor:
    """Return the inputs of a module as (groups, n, positions), where n is the row length of its view (`view_of`)."""
    if isinstance(module, nn.Linear):
        return given.reshape(1, -1, given.shape[-1]).transpose(1, 2)
    assert isinstance(module, CONVOLUTIONS + TRANSPOSED)
    flat = len(module.kernel_size) == 1
    sizes = [_two(pair, flat) for pair in (module.kernel_size, module.stride, module.dilation)]
    images = given if given.dim() == len(module.kernel_size) + 2 else given[None]
    images = images[:, :, None] if flat else images
    kernel, stride, dilation = sizes
    if isinstance(module, CONVOLUTIONS):
        images = _padded(module, images)
    else:
        images = _spread(module, images, kernel, stride, dilation, flat)
        stride = (1, 1)
    patches = F.unfold(images, kernel, dilation=dilation, stride=stride)  # (batch, channels * kernel, positions)
    patches = patches.reshape(len(images), module.groups, -1, kernel[0] * kernel[1], patches.shape[-1])
    if isinstance(module, TRANSPOSED):
        patches = patches.flip(3)  # a transposed convolution reads its kernel backwards
    return patches.permute(1, 2, 3, 0, 4).reshape(module.groups, -1, len(images) * patches.shape[-1])


def _two(sizes: Sequence[int], flat: bool) -> tuple[int, int]:
    return (1, int(sizes[0])) if flat else (int(sizes[0]), int(sizes[1]))


def _padded(module: nn.Conv1d | nn.Conv2d, images: Tensor) -> Tensor:
    """Return the images with the module's own padding."""
    wide = list(module._reversed_padding_repeated_twice)
    if len(wide) == 2:
        wide += [0, 0]
    if not any(wide):
        return images
    return F.pad(images, wide, mode="constant" if module.padding_mode == "zeros" else module.padding_mode)


def _spread(
    module: nn.ConvTranspose1d | nn.ConvTranspose2d,
    images: Tensor,
    kernel: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    flat: bool,
) -> Tensor:
    """Return the images with zeros between and around their pixels.

    A plain convolution of them computes the transposed convolution.
    """
    batch, channels, height, width = images.shape
    spread = images.new_zeros(batch, channels, (height - 1) * stride[0] + 1, (width - 1) * stride[1] + 1)
    spread[:, :, :: stride[0], :: stride[1]] = images
    padding = (0, int(module.padding[0])) if flat else (int(module.padding[0]), int(module.padding[1]))
    around = [dilation[i] * (kernel[i] - 1) - padding[i] for i in (0, 1)]
    return F.pad(spread, [around[1], around[1], around[0], around[0]])


def second_moment(taken: Tensor) -> Tensor:
    """Return Σ x xᵀ over the positions of (groups, n, positions), float64 (groups, n, n)."""
    wide = taken.double()
    return torch.bmm(wide, wide.transpose(1, 2))
