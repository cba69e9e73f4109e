"""Add up the gradients of all processes, so that each holds that of the global batch."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from qacomp.ranks.ranks import Ranks

_BUCKET = 1 << 22  # values that travel together, 16 MB of float32: large enough to use a fast link fully


def add_up_gradients(parameters: Iterable[Tensor], loss: Tensor, ranks: Ranks) -> Tensor:
    """Replace each gradient by its sum over all processes, in place, and return that of the loss, a scalar.

    A parameter without a gradient anywhere keeps none. Every process passes the same parameters in the same order.
    """
    known = list({id(p): p for p in parameters if p.requires_grad}.values())
    device = loss.device
    there = torch.tensor([float(p.grad is not None) for p in known] + [0.0], device=device)
    there[-1] = loss.detach()
    *used, whole = ranks.total(there).unbind()
    kept = [p for p, count in zip(known, used, strict=True) if float(count) > 0]
    for bucket in _buckets(kept):
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in bucket]
        flat = ranks.total(torch.cat([g.reshape(-1) for g in gradients]))
        sizes = [g.numel() for g in gradients]
        for parameter, gradient, part in zip(bucket, gradients, torch.split(flat, sizes), strict=True):
            parameter.grad = gradient.copy_(part.view(gradient.shape))
    return whole


def _buckets(parameters: Iterable[Tensor]) -> Iterator[list[Tensor]]:
    """Yield runs of parameters of one dtype and device, up to about `_BUCKET` values each."""
    bucket: list[Tensor] = []
    for parameter in parameters:
        alike = bucket and (parameter.dtype, parameter.device) == (bucket[0].dtype, bucket[0].device)
        if bucket and not (alike and sum(p.numel() for p in bucket) + parameter.numel() <= _BUCKET):
            yield bucket
            bucket = []
        bucket.append(parameter)
    if bucket:
        yield bucket
