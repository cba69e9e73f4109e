"""Shared weights as a parametrization: weight = codebook[indices].

Autograd sums the gradients of a cluster's weights into its codebook entry. That is exactly cumulative centroid tuning
(Han et al., 2016, section 3.2), for any module and any optimizer.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.formats import SharedTensor
from qacomp.models.weight_places import parametrizations, put_on, split_name, take_off
from qacomp.training.parametrizations.grid import GridWeight
from qacomp.training.regularizers.nearest import sum_by_level


class Gather(torch.autograd.Function):
    """codebook[indices]; backward is a weighted histogram, several times faster on a CPU than index_put_."""

    @staticmethod
    def forward(ctx: Any, codebook: Tensor, indices: Tensor) -> Tensor:
        """Return codebook[indices]. codebook: (K,), indices: int64 of any shape."""
        ctx.save_for_backward(indices)
        ctx.k = codebook.numel()
        return codebook[indices]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the codebook, (K,): the sum of the gradients in each cluster."""
        (indices,) = ctx.saved_tensors
        return sum_by_level(grad_outputs[0], indices, ctx.k), None


class SharedWeight(nn.Module):
    """Maps a codebook (K,) to the weight codebook[indices]; `indices` are fixed, int64, in the weight's shape.

    fixed: mask (K,), True for entries that are zero and stay zero in training. blocked: for codebooks in blocks, their
    shape (..., k) and the shape of a block; the codebook here is then all of them, flattened. None: one codebook.
    """

    indices: Tensor
    fixed: Tensor | None

    def __init__(
        self,
        indices: Tensor,
        fixed: Tensor | None = None,
        blocked: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("indices", indices)
        self.register_buffer("fixed", fixed, persistent=False)
        self.blocked = blocked

    def forward(self, codebook: Tensor) -> Tensor:
        """Map the codebook (K,) to the weight."""
        if self.fixed is not None:
            codebook = codebook.masked_fill(self.fixed, 0.0)
        weight: Tensor = Gather.apply(codebook, self.indices)  # type: ignore[no-untyped-call]
        return weight

    def right_inverse(self, weight: Tensor) -> Tensor:
        """Return the codebook (K,) of a weight in which all weights of a cluster are equal and no cluster is empty."""
        k = int(self.indices.max()) + 1 if self.blocked is None else math.prod(self.blocked[0])
        codebook = weight.new_zeros(k)
        codebook[self.indices.reshape(-1)] = weight.reshape(-1)
        return codebook


def share_weight(
    model: nn.Module,
    name: str,
    codebook: NDArray[np.floating],
    indices: NDArray[np.integer],
    zero: int | None = None,
) -> None:
    """Replace the weight `name`, in every module of `model` that holds it, by codebook[indices]; train the codebook.

    codebook: (K,), every entry used; indices: in the weight's shape; zero: index of the entry that stays exactly zero.
    """
    weight = getattr(*split_name(model, name))
    index = torch.from_numpy(indices.astype(np.int64)).to(weight.device)  # weight's shape
    entries = torch.from_numpy(np.ascontiguousarray(codebook)).to(weight)  # (K,)
    with torch.no_grad():
        weight.copy_(entries[index])
    fixed = None if zero is None else torch.arange(entries.numel(), device=weight.device) == zero
    put_on(model, name, SharedWeight(index, fixed), unsafe=True)


def share_weight_in_blocks(model: nn.Module, name: str, shared: SharedTensor) -> None:
    """Replace a weight by the block codebooks and indices of `shared`, in place; entries of exactly zero stay zero."""
    assert shared.blocks is not None
    weight, shape = getattr(*split_name(model, name)), shared.codebook.shape
    places = SharedTensor(np.arange(shared.codebook.size).reshape(shape), shared.indices, (), shared.blocks)
    index = torch.from_numpy(places.dense()).to(weight.device)  # weight's shape, into the flat codebooks
    entries = torch.from_numpy(np.ascontiguousarray(shared.codebook).reshape(-1)).to(weight)
    with torch.no_grad():
        weight.copy_(entries[index])
    fixed = entries == 0
    part = SharedWeight(index, fixed if bool(fixed.any()) else None, (shape, shared.blocks))
    put_on(model, name, part, unsafe=True)


def shared_tensor(model: nn.Module, name: str) -> SharedTensor:
    """Return the codebook and indices of a shared weight; codebook float32, (K,), or that of its blocks or grids."""
    parametrization: Any = parametrizations(model, name)
    if isinstance(parametrization[0], GridWeight):
        return parametrization[0].shared(parametrization.original.detach())
    codebook = parametrization.original.detach().float().cpu().numpy().copy()
    indices = parametrization[0].indices.cpu().numpy()
    if parametrization[0].blocked is not None:
        shape, blocks = parametrization[0].blocked
        own = (indices % shape[-1]).astype(np.uint8 if shape[-1] <= 256 else np.uint16)
        return SharedTensor(codebook.reshape(shape), own, (), blocks)
    return SharedTensor(codebook, indices.astype(np.uint8 if codebook.size <= 256 else np.uint16))


def unshare(model: nn.Module, name: str) -> None:
    """Make the shared weight `name` a plain parameter again, with the same values."""
    take_off(model, name)
