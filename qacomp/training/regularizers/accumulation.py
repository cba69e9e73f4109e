"""The penalties of a whole network: as one differentiable value, or added straight to the weights' gradients."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qacomp.training.regularizers.base import Regularizer
from qacomp.training.regularizers.blocks import add_slopes, memory_order, suits


def trained_weight(model: nn.Module, name: str) -> Tensor:
    """Return the leaf that the optimizer moves for the weight `name`: itself, or a parametrization's original."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    originals = getattr(module, "parametrizations", {})
    return originals[leaf].original if leaf in originals else module.get_parameter(leaf)


def total_penalty(model: nn.Module, penalties: Mapping[str, Regularizer]) -> Tensor:
    """Return R(W) = Σ_layers strength · mean penalty, differentiable: scalar. `penalties`: weight name -> penalty."""
    terms = [p.strength * p(trained_weight(model, name)) for name, p in penalties.items()]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def extra_penalty(penalties: Mapping[str, Regularizer]) -> Tensor | None:
    """Return Σ of the layers' terms that λ doesn't multiply (SinReQ's learned bits); None without any."""
    terms = [extra for p in penalties.values() if (extra := p.extra_penalty()) is not None]
    return torch.stack(terms).sum() if terms else None


def accumulate_penalties(
    model: nn.Module,
    penalties: Mapping[str, Regularizer],
    strength: float,
    living: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Add the gradients of strength · R(W) and of the extra penalty to `.grad`, and return R(W): detached scalar.

    The same as `(strength * total_penalty(...) + extra).backward()`, without a tensor of the weights' size: call it
    after the task loss's backward. Here a layer's `slices` count: in training mode each call looks at its next part.
    `living`: masks (bool, of the weight's shape) by weight name; a layer's mean is taken over the weights in its mask,
    since those that are pruned have a value of their own.
    """
    values = []
    for name, penalty in penalties.items():
        factor = penalty.strength
        weight, mask = trained_weight(model, name), (living or {}).get(name)
        if mask is None:
            values.append(factor * _accumulate(weight, penalty, strength * factor))
            continue
        part = weight.detach()[mask].requires_grad_()  # (n,)
        values.append(factor * _accumulate(part, penalty, strength * factor))
        assert part.grad is not None
        gradient = weight.grad if weight.grad is not None else torch.zeros_like(weight)
        gradient[mask] += part.grad
        weight.grad = gradient
    extra = extra_penalty(penalties)
    if extra is not None:
        extra.backward()  # type: ignore[no-untyped-call]
    return torch.stack(values).sum() if values else torch.zeros(())


def _accumulate(weight: Tensor, penalty: Regularizer, strength: float) -> Tensor:
    """Add strength · gradient to the leaves' `.grad`; return the layer's mean penalty (or its slice's, unbiased)."""
    if weight.grad is None:
        weight.grad = torch.zeros_like(weight)
    if penalty.training:
        penalty.observe(weight)
    flat, gradient = memory_order(weight.detach()), memory_order(weight.grad)
    if flat is None or gradient is None or weight.stride() != weight.grad.stride():
        value = penalty(weight)
        (strength * value).backward()
        result: Tensor = value.detach()
        return result
    start, stop = _slice(penalty, flat.numel())
    part = flat[start:stop]
    share = penalty.slices * part.numel() / flat.numel() if part.numel() < flat.numel() else 1.0
    kernel = penalty.kernel() if suits(part) else None
    if kernel is None:
        leaf = part.clone().requires_grad_()
        value = penalty.reference(leaf) * share
        (strength * value).backward()  # type: ignore[no-untyped-call]
        assert leaf.grad is not None
        gradient[start:stop].add_(leaf.grad)
        return value.detach()
    scale = share / part.numel()
    sums = add_slopes(part, kernel, gradient[start:stop], strength * scale)
    parameters = penalty.kernel_parameters()
    if parameters is not None and sums.parameter_slopes is not None:
        parameters.backward((sums.parameter_slopes * (strength * scale)).to(parameters))  # type: ignore[no-untyped-call]
    return weight.new_tensor(sums.value * scale)


def _slice(penalty: Regularizer, n: int) -> tuple[int, int]:
    """Return the part of the layer's n weights whose turn it is; all of them outside training."""
    slices = min(penalty.slices, n)
    turn = getattr(penalty, "turn", None)
    if slices == 1 or turn is None or not penalty.training:
        return 0, n
    i = int(turn) % slices
    turn += 1
    return i * n // slices, (i + 1) * n // slices
