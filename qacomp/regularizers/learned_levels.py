"""Representatives u that are network parameters: what R_M and R_E have in common."""

from typing import Self

import torch
from torch import Tensor, nn

from qacomp.regularizers.base import Regularizer
from qacomp.sharing.kmeans import kmeans


class LearnedLevels(Regularizer):
    """K representatives of one layer, trained by back-propagation beside the weights.

    They start at the layer's k-means centroids: a bell-shaped layer has few weights near the ends of a uniform grid.
    """

    def __init__(self, levels: Tensor) -> None:
        super().__init__()
        self.u = nn.Parameter(levels)  # (K,)

    @classmethod
    def for_weights(cls, weight: Tensor, k: int) -> Self:
        """u from k-means of the layer's weights; fewer than K where the weights have fewer distinct values."""
        centroids = kmeans(weight.detach().cpu().numpy().reshape(-1), k).codebook
        return cls(torch.from_numpy(centroids).to(weight))

    def levels(self) -> Tensor:
        """(K,) ascending. Training may let representatives cross, so they are sorted, differentiably."""
        return self.u.sort().values
