"""Count a network's parameters, and the multiply-accumulates (MACs) of one example."""

import math

import torch
from torch import Tensor, nn

from qacomp.batches.feed import Feed, as_feed, called, mapped, rows_of
from qacomp.models.plain_modules import in_eval_mode

_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
_TRANSPOSED = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def count_parameters(model: nn.Module) -> int:
    """Return the number of parameters, tied ones counted once; running statistics are buffers and don't count."""
    return sum(parameter.numel() for parameter in model.parameters())


def count_macs(model: nn.Module, example: tuple[int, ...] | Feed) -> int:
    """Count the multiply-accumulates of one example in convolutions and dense layers.

    example: its shape without the batch axis, or a feed, of which the first example is taken. Every run of such a layer
    in the model's forward pass counts. As in other counters, a padded zero costs a multiply and a bias doesn't. Batch
    norm, pooling, activations, attention, and whatever forward computes without such a layer, add nothing. The model's
    weights, device and mode are not changed.
    """
    total = 0

    def add(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        total += _layer_macs(layer, inputs[0], output)

    counted = (*_CONVOLUTIONS, *_TRANSPOSED, nn.Linear)
    hooks = [module.register_forward_hook(add) for module in model.modules() if isinstance(module, counted)]
    first = next(model.parameters(), torch.empty(0))
    try:
        with in_eval_mode(model), torch.no_grad():
            called(model, mapped(_first(example, first), lambda tensor: tensor.to(first.device)))
    finally:
        for hook in hooks:
            hook.remove()
    return total


def _first(example: tuple[int, ...] | Feed, like: Tensor) -> Feed:
    sizes = [size for size in example if isinstance(size, int)] if isinstance(example, tuple) else []
    feed: Feed = torch.zeros(1, *sizes, dtype=like.dtype) if sizes else rows_of(as_feed(example), slice(0, 1))
    return feed


def _layer_macs(layer: nn.Module, x: Tensor, output: Tensor) -> int:
    """Return the MACs of one run of a layer on a batch of one: outputs times the inputs that each of them sums."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    if isinstance(layer, nn.Linear):
        return output.numel() * x.shape[-1]
    kernel = math.prod(weight.shape[2:])
    if isinstance(layer, _TRANSPOSED):
        return x.numel() * weight.shape[1] * kernel  # each input is added to so many outputs
    # a slimmed convolution reads fewer channels than its weight has, a grouped one fewer than its input has
    return output.numel() * min(weight.shape[1], x.shape[1]) * kernel
