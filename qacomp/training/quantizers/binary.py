"""One bit a weight: its sign times the layer's mean magnitude (Rastegari et al., XNOR-Net, 2016, eq. 6)."""

import torch
from torch import Tensor


def binary_levels(weight: Tensor) -> Tensor:
    """−mean |w| and mean |w|: (2,)."""
    scale = weight.abs().mean()
    return torch.stack([-scale, scale])


def binary_indices(weight: Tensor) -> Tensor:
    """1 where the weight is at least zero, else 0: int64 of weight's shape."""
    return (weight >= 0).long()
