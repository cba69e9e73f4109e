"""Kernels compute a penalty block by block, so that a block stays in the processor's cache for all operations on it.

A penalty is a dozen elementwise operations. On a layer of millions of weights each of them would wait for memory, and
the gradient would need several tensors of that size. A kernel runs all operations on one block, sums the penalty φ, and
writes dφ/dw where the caller wants it: to a tensor for autograd, or added to an existing gradient.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

BLOCK = 32_000
"""Weights in a block. torch runs an operation of this size on one thread, so that blocks can run on several."""
_CHUNK = 16 * BLOCK
"""Weights that a thread takes at a time. Chunks are summed in order, so that results don't depend on the threads."""
_SMALLEST = 4_096
"""Weights; smaller layers gain less from a kernel than its tables cost."""

BlockFunction = Callable[[Tensor, Tensor], tuple[float, Tensor | None]]
"""(weights (b,), slopes (b,) to fill with dφ/dw) -> (Σ φ, Σ dφ/dparameters (P,) or None), for b ≤ BLOCK."""


class Kernel(ABC):
    """A penalty φ with fixed parameters, to be evaluated on blocks of float32 weights on the CPU."""

    @abstractmethod
    def worker(self) -> BlockFunction:
        """Return a function with its own scratch memory, for use by one thread."""


@dataclass(frozen=True)
class Sums:
    """Sums over all weights. `value`: Σ φ; `parameter_slopes`: Σ dφ/dparameters, (P,), None without parameters."""

    value: float
    parameter_slopes: Tensor | None


def suits(weight: Tensor) -> bool:
    """Return whether a kernel can take `weight`: float32, on the CPU, dense in memory, large enough to be faster."""
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
    """Write dφ/dw to `slopes` (n,); return the kernel's sums over the weights `flat` (n,)."""

    def chunk(start: int, stop: int, function: BlockFunction) -> Sums:
        blocks = zip(torch.split(flat[start:stop], BLOCK), torch.split(slopes[start:stop], BLOCK), strict=True)
        return _total([Sums(*function(x, slope)) for x, slope in blocks])

    return _run(flat.numel(), kernel, chunk)


def add_slopes(flat: Tensor, kernel: Kernel, gradient: Tensor, scale: float) -> Sums:
    """Add scale · dφ/dw to `gradient` (n,); return the kernel's sums over the weights `flat` (n,).

    No other tensor of size n is made.
    """

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
    """Run `chunk` on all chunks of n weights, on as many threads as torch may use; return the total sums."""
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
    """The mean of a kernel's φ over a weight as an autograd function; the forward pass computes the gradient too.

    parameters: (P,), the learned values whose derivatives the kernel returns, or None.
    """

    @staticmethod
    def forward(ctx: Any, weight: Tensor, parameters: Tensor | None, kernel: Kernel) -> Tensor:
        """Return the mean as a scalar. weight: any shape; `suits` must accept it."""
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
        """Return the gradients of (weight, parameters)."""
        slopes, parameter_slopes = ctx.saved_tensors
        return (
            slopes * (grad_outputs[0] / ctx.n),
            None if parameter_slopes is None else parameter_slopes * grad_outputs[0],
            None,
        )
