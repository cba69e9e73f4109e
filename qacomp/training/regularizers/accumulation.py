"""The penalty of a whole network: as one differentiable scalar, or as gradients added directly to the weights'."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from qacomp.training.regularizers.base import Regularizer
from qacomp.training.regularizers.blocks import add_slopes, memory_order, suits


def trained_weight(model: nn.Module, name: str) -> Tensor:
    """Return the trained parameter of the weight `name`: the weight itself, or the original of its parametrization."""
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    originals = getattr(module, "parametrizations", {})
    return originals[leaf].original if leaf in originals else module.get_parameter(leaf)


def total_penalty(model: nn.Module, penalties: Mapping[str, Regularizer]) -> Tensor:
    """Return R(W) = Σ_layers λ_layer · mean penalty, a differentiable scalar. penalties: weight name -> regularizer."""
    terms = [p.strength * p(trained_weight(model, name)) for name, p in penalties.items()]
    return torch.stack(terms).sum() if terms else torch.zeros(())


def extra_penalty(penalties: Mapping[str, Regularizer]) -> Tensor | None:
    """Return the sum of the loss terms that λ doesn't multiply (SinReQ's penalty on bits); None if there are none."""
    terms = [extra for p in penalties.values() if (extra := p.extra_penalty()) is not None]
    return torch.stack(terms).sum() if terms else None


def accumulate_penalties(
    model: nn.Module,
    penalties: Mapping[str, Regularizer],
    strength: float,
    living: Mapping[str, Tensor] | None = None,
) -> Tensor:
    """Add the gradients of strength · R(W) and of the extra penalty to `.grad`; return R(W), a detached scalar.

    Call it after the task loss's backward. The result is that of `(strength * total_penalty(...) + extra).backward()`,
    but no tensor of the weights' size is made. In training mode each call uses only the next of a layer's `slices`.
    living: masks by weight name (bool, in the weight's shape), False for pruned weights, which the mean leaves out.
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
    """Add strength · gradient to `.grad`; return the layer's mean penalty, or an unbiased estimate from one slice."""
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
    """Return (start, stop) of the slice of the layer's n weights whose turn it is; outside training (0, n)."""
    slices = min(penalty.slices, n)
    turn = getattr(penalty, "turn", None)
    if slices == 1 or turn is None or not penalty.training:
        return 0, n
    i = int(turn) % slices
    turn += 1
    return i * n // slices, (i + 1) * n // slices
