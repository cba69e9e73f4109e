"""Tell whether a network still has the weights that torch gave it: then nobody can learn anything from it."""

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase
from torch.nn.modules.conv import _ConvNd

_SURE = 6.0  # standard errors by which a mean may differ from that of the uniform distribution
_NORMS = (_NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)
_NO_SIGN = (nn.Embedding, nn.EmbeddingBag, nn.PReLU)  # their first values look like any others


def is_untouched(network: nn.Module) -> bool:
    """Return whether all weights are as torch's layers, or those with biases of zero, have them before any training.

    Torch draws matrices, kernels and their biases from a uniform distribution whose bounds follow from the shape: a
    single step of training moves some weights beyond them. Norms begin with ones and zeros. False where a parameter is
    of another kind, or where nothing tells.
    """
    signs = 0
    for module in network.modules():
        own = [parameter for parameter in module.parameters(recurse=False) if parameter.numel()]
        if not own or isinstance(module, _NO_SIGN):
            continue
        if not _untouched(module):
            return False
        signs += 1
    return signs > 0


@torch.no_grad()
def _untouched(module: nn.Module) -> bool:
    if isinstance(module, _NORMS):
        return _norm(module)
    if isinstance(module, nn.Linear | _ConvNd):
        bias = module.bias
        if bias is not None and not bool(bias.any()):
            return True
        bound = 1 / math.sqrt(max(1, module.weight[0].numel()))
        return _uniform(module.weight, bound) and (bias is None or _within(bias, bound))
    if isinstance(module, nn.RNNBase):
        bound = 1 / math.sqrt(module.hidden_size)
        return all(_uniform(parameter, bound) for parameter in module.parameters())
    if isinstance(module, nn.MultiheadAttention):
        return module.in_proj_bias is not None and not bool(module.in_proj_bias.any())
    return False


def _norm(module: nn.Module) -> bool:
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    first = (weight is None or bool((weight == 1).all())) and (bias is None or not bool(bias.any()))
    if isinstance(module, _BatchNorm) and module.num_batches_tracked is not None:
        return first and not bool(module.num_batches_tracked)
    return first


def _within(values: Tensor, bound: float) -> bool:
    return bool(values.abs().max() <= bound * (1 + 1e-6))


def _uniform(values: Tensor, bound: float) -> bool:
    """Return whether values may be drawn from [-bound, bound]: none is beyond, and the mean size is half the bound."""
    error = bound / math.sqrt(12 * values.numel())
    return _within(values, bound) and abs(float(values.abs().mean()) - bound / 2) < _SURE * error
