"""Batch norm over the examples of all processes, on any device: torch's SyncBatchNorm runs on GPUs only.

Every call of `batch_norm` is meant, in modules of torch and in those of others. Mean and variance of the parts are
gathered and combined in float64, so they, and running statistics, are the same numbers in every process.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from qacomp.ranks.ranks import Ranks


class SynchronizedNorms(TorchFunctionMode):
    """A block in which batch norm in training mode uses the statistics of all processes' examples together."""

    def __init__(self, ranks: Ranks) -> None:
        super().__init__()
        self.ranks = ranks

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Iterable[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Call a function of torch, batch norm in training mode over all processes."""
        if func is not F.batch_norm:
            return func(*args, **(kwargs or {}))
        call = _Call(*args, **(kwargs or {}))
        return call.over(self.ranks) if call.training else func(*args, **(kwargs or {}))


class _Call:
    """The arguments of one call of `torch.nn.functional.batch_norm`, with torch's names and defaults."""

    def __init__(
        self, input: Tensor, running_mean: Tensor | None, running_var: Tensor | None, *more: Any, **named: Any
    ):
        self.x, self.mean, self.var = input, running_mean, running_var
        rest = dict(zip(("weight", "bias", "training", "momentum", "eps"), more, strict=False)) | named
        self.weight: Tensor | None = rest.get("weight")
        self.bias: Tensor | None = rest.get("bias")
        self.training: bool = rest.get("training", False)
        self.momentum: float = rest.get("momentum", 0.1)
        self.eps: float = rest.get("eps", 1e-5)

    def over(self, ranks: Ranks) -> Tensor:
        """Return the normalized input, and update the running statistics."""
        count, mean, var = _statistics(self.x.detach(), ranks)
        if self.mean is not None and self.var is not None:
            with torch.no_grad():
                self.mean.lerp_(mean.to(self.mean), self.momentum)
                self.var.lerp_((var * (count / (count - 1))).to(self.var), self.momentum)
        scale = (var + self.eps).rsqrt()
        x = _wide(self.x)
        found: Tensor = _Normalize.apply(x, (mean.to(x.dtype), scale.to(x.dtype), count), ranks)  # type: ignore[no-untyped-call]
        wide = found if self.weight is None else found * _along(self.weight.to(found.dtype), found)
        wide = wide if self.bias is None else wide + _along(self.bias.to(found.dtype), found)
        return wide.to(self.x.dtype)


def _statistics(x: Tensor, ranks: Ranks) -> tuple[int, Tensor, Tensor]:
    """Return the number of values of a channel over all processes, their mean and their variance: (C,) float64."""
    channels, dims = x.shape[1], _others(x)
    own = x.numel() // channels
    wide = _wide(x)
    mean = wide.mean(dims)
    spread = (wide - _along(mean, wide)).square().sum(dims)  # (C,)
    table = torch.zeros(ranks.size, 1 + 2 * channels, dtype=torch.float64, device=x.device)
    table[ranks.rank] = torch.cat([mean.new_full((1,), own), mean, spread]).double()
    table = ranks.total(table)
    counts, means, spreads = table[:, :1], table[:, 1 : 1 + channels], table[:, 1 + channels :]
    count = int(counts.sum())
    if count < 2:
        raise ValueError(f"Expected more than 1 value per channel when training, got input size {tuple(x.shape)}")
    whole = (counts * means).sum(0) / count
    var = (spreads + counts * (means - whole).square()).sum(0) / count
    return count, whole, var


class _Normalize(torch.autograd.Function):
    """(x − mean) · scale; mean and scale depend on the x of every process."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, found: tuple[Tensor, Tensor, int], ranks: Ranks) -> Tensor:
        """Return the normalized x. found: mean (C,), 1/√(variance + ε) (C,), values of a channel in all processes."""
        mean, scale, count = found
        normal = (x - _along(mean, x)) * _along(scale, x)
        ctx.save_for_backward(normal, scale)
        ctx.count, ctx.ranks = count, ranks
        return normal

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient of x: dL/dx = scale · (g − mean(g) − normal · mean(g · normal))."""
        (g,) = gradients
        normal, scale = ctx.saved_tensors
        dims = _others(g)
        sums = ctx.ranks.total(torch.stack([g.sum(dims), (g * normal).sum(dims)]).double()) / ctx.count
        mean, along = sums.to(g.dtype)
        return _along(scale, g) * (g - _along(mean, g) - normal * _along(along, g)), None, None


def _wide(x: Tensor) -> Tensor:
    """Return half precision as float32, as torch's own batch norm computes; other tensors as they are."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def _others(x: Tensor) -> list[int]:
    return [0, *range(2, x.ndim)]


def _along(values: Tensor, x: Tensor) -> Tensor:
    """Return values (C,) in a shape that broadcasts over x (N, C, ...)."""
    return values.reshape(1, -1, *[1] * (x.ndim - 2))
