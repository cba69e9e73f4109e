"""Penalties computed a block of weights at a time: every pass over a block finds it in the processor's cache.

A penalty is a dozen elementwise operations; on a layer of millions of weights each of them would wait for memory, and
its gradient would be several tensors of that size. A kernel takes a block through all of them, sums the penalty, and
leaves dφ/dw where the caller wants it: in a tensor for autograd, or added to a gradient that already exists.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 32_000
"""Weights in a block: below the size from which torch splits one operation over threads, so that blocks can be."""
_CHUNK = 16 * BLOCK
"""Weights that a thread takes at a time. Chunks are summed in their order: the number of threads leaves no trace."""
_SMALLEST = 4_096
"""Layers below this size don't pay for a kernel's tables."""

BlockFunction = Callable[[Tensor, Tensor], tuple[float, Tensor | None]]
"""(weights (b,), slopes (b,) to fill with dφ/dw) -> (Σ φ, Σ dφ/dparameters (P,) or None), for b ≤ BLOCK."""


class Kernel(ABC):
    """A penalty φ of float32 weights in the processor's memory, ready to be evaluated."""

    @abstractmethod
    def worker(self) -> BlockFunction:
        """Return a function with scratch space of its own, for use by one thread."""


@dataclass(frozen=True)
class Sums:
    """Over all weights: `value` Σ φ, and `parameter_slopes` Σ dφ/dparameters, (P,) float64; None without parameters."""

    value: float
    parameter_slopes: Tensor | None


def suits(weight: Tensor) -> bool:
    """Return whether a kernel can take `weight`: float32, on the CPU, without gaps, large enough to gain."""
    fits = weight.device.type == "cpu" and weight.dtype == torch.float32 and weight.numel() >= _SMALLEST
    return fits and memory_order(weight) is not None


def first(scratch: tuple[Tensor, ...], count: int) -> tuple[Tensor, ...]:
    """Return the first `count` elements of each scratch tensor (BLOCK,); a whole block costs no slicing."""
    return scratch if count == BLOCK else tuple(tensor[:count] for tensor in scratch)


def memory_order(tensor: Tensor) -> Tensor | None:
    """Return a view of `tensor` (any shape) as (n,) in the order of its memory; None where it has gaps."""
    strides: tuple[int, ...] = tensor.stride()
    turned = tensor.permute(sorted(range(tensor.ndim), key=lambda axis: (-strides[axis], -tensor.shape[axis])))
    return turned.view(-1) if turned.is_contiguous() else None


def write_slopes(flat: Tensor, kernel: Kernel, slopes: Tensor) -> Sums:
    """Return the kernel's sums over `flat` (n,); dφ/dw goes to `slopes` (n,)."""

    def chunk(start: int, stop: int, function: BlockFunction) -> Sums:
        blocks = zip(torch.split(flat[start:stop], BLOCK), torch.split(slopes[start:stop], BLOCK), strict=True)
        return _total([Sums(*function(x, slope)) for x, slope in blocks])

    return _run(flat.numel(), kernel, chunk)


def add_slopes(flat: Tensor, kernel: Kernel, gradient: Tensor, scale: float) -> Sums:
    """Return the kernel's sums over `flat` (n,); add scale · dφ/dw to `gradient` (n,). Nothing of size n is made."""

    def chunk(start: int, stop: int, function: BlockFunction) -> Sums:
        scratch, parts = (torch.empty(BLOCK),), []
        for x, target in zip(
            torch.split(flat[start:stop], BLOCK), torch.split(gradient[start:stop], BLOCK), strict=True
        ):
            (slopes,) = first(scratch, x.numel())
            parts.append(Sums(*function(x, slopes)))
            target.add_(slopes, alpha=scale)
        return _total(parts)

    return _run(flat.numel(), kernel, chunk)


def _run(n: int, kernel: Kernel, chunk: Callable[[int, int, BlockFunction], Sums]) -> Sums:
    """Run `chunk` over all n weights, on as many threads as torch may use; return the sums."""
    ranges = [(a, min(a + _CHUNK, n)) for a in range(0, n, _CHUNK)]
    threads = min(torch.get_num_threads(), len(ranges))
    if threads == 1:
        function = kernel.worker()
        return _total([chunk(a, b, function) for a, b in ranges])
    with ThreadPoolExecutor(threads) as pool:
        return _total(list(pool.map(lambda r: chunk(r[0], r[1], kernel.worker()), ranges)))


def _total(parts: list[Sums]) -> Sums:
    parameter_slopes = [p.parameter_slopes for p in parts if p.parameter_slopes is not None]
    return Sums(
        sum(p.value for p in parts),
        torch.stack(parameter_slopes).sum(0, dtype=torch.float64) if parameter_slopes else None,
    )


class BlockMean(torch.autograd.Function):
    """Mean of a kernel's φ over a weight as an autograd function; the gradient is made in the forward pass.

    `parameters` (P,): the learned values that the kernel gives slopes for, or None.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, parameters: Tensor | None, kernel: Kernel) -> Tensor:
        """Return the mean as a scalar. `weight`: any shape, such as `suits` accepts."""
        n = weight.numel()
        slopes = torch.empty_like(weight)  # same memory order
        flat, flat_slopes = memory_order(weight.detach()), memory_order(slopes)
        assert flat is not None and flat_slopes is not None
        sums = write_slopes(flat, kernel, flat_slopes)
        found = sums.parameter_slopes
        means = None if parameters is None or found is None else (found / n).to(parameters)
        ctx.n = n
        ctx.save_for_backward(slopes, means)
        return weight.new_tensor(sums.value / n)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, Tensor | None, None]:
        """Return the gradients to (weight, parameters)."""
        slopes, parameter_slopes = ctx.saved_tensors
        return (
            slopes * (grad_outputs[0] / ctx.n),
            None if parameter_slopes is None else parameter_slopes * grad_outputs[0],
            None,
        )
