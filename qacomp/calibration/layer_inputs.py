"""Arrange the inputs of a PyTorch layer as columns, the vectors that each row of its weight is multiplied with."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from qacomp.calibration.windows import Pick, Window, everything, window_columns
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


def columns(module: nn.Module, given: Tensor, pick: Pick = everything) -> Tensor:
    """Return the inputs of a module as (groups, n, positions), where n is the row length of its view (`view_of`)."""
    if isinstance(module, nn.Linear):
        return rows_as_columns(given, pick)
    assert isinstance(module, CONVOLUTIONS + TRANSPOSED)
    images = given if given.dim() == len(module.kernel_size) + 2 else given[None]
    return window_columns(_window(module), images if images.dim() == 4 else images[:, :, None], pick)


def grouped_outputs(module: nn.Module, made: Tensor) -> Tensor:
    """Return the outputs of a module, or gradients at them, as (groups, values of a group, positions).

    Of a convolution the values are channels, as the rows of its view are.
    """
    groups = 1
    if isinstance(module, CONVOLUTIONS + TRANSPOSED):
        made = made.movedim(1 if made.dim() == len(module.kernel_size) + 2 else 0, -1)
        groups = module.groups
    return made.reshape(-1, groups, made.shape[-1] // groups).permute(1, 2, 0)


def rows_as_columns(given: Tensor, pick: Pick = everything) -> Tensor:
    """Return vectors along the last axis as (1, n, positions)."""
    rows = given.reshape(-1, given.shape[-1])
    taken = pick(len(rows))
    return (rows if taken is None else rows[taken]).T[None]


def _window(module: nn.Module) -> Window:
    assert isinstance(module, CONVOLUTIONS + TRANSPOSED)
    transposed = isinstance(module, TRANSPOSED)
    kernel, stride, dilation = (_two(s) for s in (module.kernel_size, module.stride, module.dilation))
    if transposed:
        (top, left), (lower, right) = (_two([int(n) for n in s], 0) for s in (module.padding, module.output_padding))
        pads = (top, top - lower, left, left - right)
    else:
        ends = [*module._reversed_padding_repeated_twice, 0, 0]  # left, right, top, bottom
        pads = (ends[2], ends[3], ends[0], ends[1])
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    return Window(kernel, stride, dilation, pads, module.groups, transposed, mode)


def _two(sizes: Sequence[int], fill: int = 1) -> tuple[int, int]:
    """Return sizes of two axes: of one, those of an image that is one pixel high."""
    return (fill, int(sizes[0])) if len(sizes) == 1 else (int(sizes[0]), int(sizes[1]))


def second_moment(taken: Tensor) -> Tensor:
    """Return Σ x xᵀ over the positions of (groups, n, positions), float64 (groups, n, n)."""
    wide = taken.double()
    return torch.bmm(wide, wide.transpose(1, 2))


def serving_rows(moment: Tensor) -> Tensor:
    """Return the mean moment (..., n, n) of a weight that is read by row too, as an embedding that a head is tied to.

    What is added for its rows is as large as the mean of what the head reads, so the weight serves both.
    """
    rows = torch.eye(moment.shape[-1], dtype=moment.dtype, device=moment.device)
    return moment + rows * moment.diagonal(dim1=-2, dim2=-1).mean(-1)[..., None, None]
