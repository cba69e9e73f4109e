"""Shared weights as a parametrization: weight = codebook[indices].

Autograd sums the gradients of each cluster's weights into its entry, which IS cumulative centroid tuning (Han et al.,
2016, section 3.2), for any module and any optimizer.
"""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.utils import parametrize

from qacomp.formats import SharedTensor
from qacomp.regularizers.nearest import sum_by_level
from qacomp.sharing.grid_weight import GridWeight


class Gather(torch.autograd.Function):
    """codebook[indices]; backward is one histogram, several times faster on a CPU than index_put_."""

    @staticmethod
    def forward(ctx: Any, codebook: Tensor, indices: Tensor) -> Tensor:
        """codebook: (K,), indices: int64 of any shape -> indices' shape."""
        ctx.save_for_backward(indices)
        ctx.k = codebook.numel()
        return codebook[indices]

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        """The codebook's gradient: the sum over each cluster, (K,)."""
        (indices,) = ctx.saved_tensors
        return sum_by_level(grad_outputs[0], indices, ctx.k), None


class SharedWeight(nn.Module):
    """Maps a codebook (K,) to the weight that its fixed `indices` (int64, the weight's shape) make of it.

    `zero`: the entry of pruned weights, which no training moves. `blocked`: the shape (..., k) of codebooks in blocks,
    which stand one behind the other in the codebook here, and the block's; None where there is but one.
    """

    indices: Tensor

    def __init__(
        self,
        indices: Tensor,
        zero: int | None = None,
        blocked: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    ) -> None:
        super().__init__()
        self.register_buffer("indices", indices)
        self.zero = zero
        self.blocked = blocked

    def forward(self, codebook: Tensor) -> Tensor:
        """(K,) -> weight's shape."""
        if self.zero is not None:
            free = torch.ones_like(codebook)
            free[self.zero] = 0.0
            codebook = codebook * free
        weight: Tensor = Gather.apply(codebook, self.indices)  # type: ignore[no-untyped-call]
        return weight

    def right_inverse(self, weight: Tensor) -> Tensor:
        """The codebook of a weight whose clusters each hold one value: (K,). Every cluster must be used."""
        k = int(self.indices.max()) + 1 if self.blocked is None else math.prod(self.blocked[0])
        codebook = weight.new_zeros(k)
        codebook[self.indices.reshape(-1)] = weight.reshape(-1)
        return codebook


def share_weight(
    module: nn.Module,
    name: str,
    codebook: NDArray[np.floating],
    indices: NDArray[np.integer],
    zero: int | None = None,
) -> None:
    """Replace `module.name` by codebook[indices]; the codebook becomes the only trainable part of it.

    `codebook` (K,), every entry used; `indices` of the weight's shape; `zero`: the entry that stays exactly zero.
    """
    weight = getattr(module, name)
    index = torch.from_numpy(indices.astype(np.int64)).to(weight.device)  # weight's shape
    entries = torch.from_numpy(np.ascontiguousarray(codebook)).to(weight)  # (K,)
    with torch.no_grad():
        weight.copy_(entries[index])
    parametrize.register_parametrization(module, name, SharedWeight(index, zero), unsafe=True)


def share_weight_in_blocks(module: nn.Module, name: str, shared: SharedTensor) -> None:
    """The same for codebooks in blocks."""
    assert shared.blocks is not None
    weight, shape = getattr(module, name), shared.codebook.shape
    places = SharedTensor(np.arange(shared.codebook.size).reshape(shape), shared.indices, (), shared.blocks)
    index = torch.from_numpy(places.dense()).to(weight.device)  # weight's shape, into the flat codebooks
    entries = torch.from_numpy(np.ascontiguousarray(shared.codebook).reshape(-1)).to(weight)
    with torch.no_grad():
        weight.copy_(entries[index])
    parametrization = SharedWeight(index, blocked=(shape, shared.blocks))
    parametrize.register_parametrization(module, name, parametrization, unsafe=True)


def shared_tensor(module: nn.Module, name: str) -> SharedTensor:
    """The codebook (float32, (K,), or that of the blocks or grids) and indices of a weight that was replaced here."""
    parametrization: Any = module.get_submodule(f"parametrizations.{name}")
    if isinstance(parametrization[0], GridWeight):
        return parametrization[0].shared(parametrization.original.detach())
    codebook = parametrization.original.detach().float().cpu().numpy().copy()
    indices = parametrization[0].indices.cpu().numpy()
    if parametrization[0].blocked is not None:
        shape, blocks = parametrization[0].blocked
        own = (indices % shape[-1]).astype(np.uint8 if shape[-1] <= 256 else np.uint16)
        return SharedTensor(codebook.reshape(shape), own, (), blocks)
    return SharedTensor(codebook, indices.astype(np.uint8 if codebook.size <= 256 else np.uint16))


def unshare(module: nn.Module, name: str) -> None:
    """Make the shared weight a plain parameter again, with the same values."""
    parametrize.remove_parametrizations(module, name, leave_parametrized=True)
