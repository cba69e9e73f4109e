"""Representatives u that are network parameters: what R_M and R_E have in common."""

from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from qacomp.options.declaration import Option, option
from qacomp.options.regularizer_options import RegularizerOptions
from qacomp.sharing.kmeans import kmeans
from qacomp.training.regularizers.base import QuantizedLayer, Regularizer
from qacomp.training.regularizers.nearest import NearestKernel, NearestPenalty


@dataclass(frozen=True)
class LearnedLevelsOptions(RegularizerOptions):
    """Hyper-parameters of the penalties with learned representatives."""

    init: str = option(
        "kmeans",
        Option(
            "Where the shared values start: at the k-means centroids, at K quantiles, or evenly between the extremes.",
            choices=("kmeans", "quantile", "uniform"),
        ),
    )

    @property
    def levels_learned(self) -> bool:
        """Return True: they are the penalty's own parameters."""
        return True


class LearnedLevels(Regularizer):
    """K representatives of one layer, trained by back-propagation beside the weights: φ(w − nearest u).

    By default they start at the layer's k-means centroids: a bell-shaped layer has few weights near the ends of a
    uniform grid, and quantiles leave its tails without a representative.
    """

    exponential: ClassVar[bool]

    def __init__(self, levels: Tensor) -> None:
        super().__init__()
        self.u = nn.Parameter(levels)  # (K,)

    @classmethod
    def for_weights(
        cls, weight: Tensor, k: int, options: LearnedLevelsOptions, quantized: QuantizedLayer | None = None
    ) -> Self:
        """Return the penalty whose u starts as `options.init` says."""
        return cls(cls.start(weight, k, options))

    @staticmethod
    def start(weight: Tensor, k: int, options: LearnedLevelsOptions) -> Tensor:
        """Return where u starts: (K,) of weight's dtype; fewer where the weights have fewer distinct values."""
        return torch.from_numpy(initial_levels(weight.detach().cpu().numpy(), k, options.init)).to(weight)

    def reference(self, weight: Tensor) -> Tensor:
        """Return the mean of φ over `weight` (any shape): scalar."""
        value: Tensor = NearestPenalty.apply(weight, self.representatives(), self.exponential)  # type: ignore[no-untyped-call]
        return value

    def kernel(self) -> NearestKernel | None:
        """Return φ by blocks."""
        return NearestKernel(self.representatives(), self.exponential) if self.u.dtype == torch.float32 else None

    def kernel_parameters(self) -> Tensor:
        """Return the sorted representatives: (K,)."""
        return self.representatives()

    def representatives(self) -> Tensor:
        """Return u sorted: (K,) ascending, differentiable. Training may let representatives cross."""
        return self.u.sort().values


def initial_levels(weights: NDArray[np.floating], k: int, init: str) -> NDArray[np.floating]:
    """Return at most k starting representatives, ascending and distinct, in the weights' dtype.

    `kmeans`: the centroids. `quantile`: the (i + ½)/K quantiles. `uniform`: evenly from the least weight to
    the largest.
    """
    flat = weights.reshape(-1)
    if init == "kmeans":
        return kmeans(flat, k).codebook
    if init == "quantile":
        return np.unique(np.quantile(flat, (np.arange(k) + 0.5) / k, method="nearest").astype(flat.dtype))
    return np.unique(np.linspace(flat.min(), flat.max(), k, dtype=flat.dtype))
