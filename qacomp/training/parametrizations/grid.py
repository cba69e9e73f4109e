"""A parametrization of weights on affine grids: the integers are fixed, a factor on each grid's scale is trained."""

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from qacomp.formats import SharedTensor
from qacomp.models.weight_places import parametrizations, put_on, split_name
from qacomp.sharing.affine import WIDE_BITS, codebooks, grid_numbers, plain_scale


class GridWeight(nn.Module):
    """Maps factors, one for each block, to the weight (q − zero point) · scale · factor, where q are fixed integers.

    steps: q − zero point, in the weight's shape; scale, zero: of each grid, in the factors' shape (number of blocks
    along each axis); blocks: size of a block along each axis of the weight.
    """

    steps: Tensor
    scale: Tensor
    zero: Tensor

    def __init__(self, shared: SharedTensor, like: Tensor) -> None:
        """Take the grids of `shared`; the buffers get the device and dtype of `like`."""
        super().__init__()
        found = grid_numbers(shared)
        assert found is not None and shared.blocks is not None
        scale, zero = (torch.from_numpy(numbers.astype(np.float32)).to(like) for numbers in found)
        self.blocks, self.entries = shared.blocks, shared.codebook.shape[-1]
        self.bits = {4: 2, 16: 4}.get(self.entries, WIDE_BITS)  # a grid of another size, as of a trellis, is wide
        self.register_buffer("steps", torch.from_numpy(shared.indices.astype(np.float32)).to(like))
        self.register_buffer("scale", scale)
        self.register_buffer("zero", zero)
        self.steps -= self._spread(zero)

    def forward(self, factors: Tensor) -> Tensor:
        """Map the factors (blocks along each axis) to the weight."""
        return self.steps * self._spread(self.scale * factors)

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the factors that give the weight as it was shared: all 1."""
        return weight.new_ones(self.scale.shape)

    def shared(self, factors: Tensor) -> SharedTensor:
        """Return the indices, and the codebooks of the grids with scale · factor, rounded by `plain_scale`."""
        scale = plain_scale((self.scale * factors).abs().float().cpu().numpy(), self.bits)
        indices = (self.steps + self._spread(self.zero)).cpu().numpy().astype(np.uint8)
        books = codebooks(scale, self.zero.cpu().numpy().astype(np.uint8), self.bits)[..., : self.entries]
        return SharedTensor(books, indices, (), self.blocks)

    def _spread(self, numbers: Tensor) -> Tensor:
        """Repeat `numbers` (one for each grid) over the blocks, so that they broadcast with the weight."""
        for axis, (size, block) in enumerate(zip(self.steps.shape, self.blocks, strict=True)):
            if block > 1 and numbers.shape[axis] > 1:
                numbers = numbers.repeat_interleave(block, dim=axis).narrow(axis, 0, size)
        return numbers


def share_weight_on_grid(model: nn.Module, name: str, shared: SharedTensor) -> None:
    """Replace the weight `name` by `shared`, whose codebooks are on grids; then only the scales can be trained."""
    weight = getattr(*split_name(model, name))
    part = GridWeight(shared, weight.detach())
    with torch.no_grad():
        weight.copy_(torch.from_numpy(shared.dense()))
    put_on(model, name, part, unsafe=True)


def is_wide(model: nn.Module, name: str) -> bool:
    """Return whether the shared weight `name` is on grids of too many bits for their values to be stored in fp16."""
    part: Any = parametrizations(model, name)[0]
    return isinstance(part, GridWeight) and part.bits >= WIDE_BITS
