"""Penalties with learned representatives u, which are trained as parameters: the common base of R_M and R_E."""

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
            "Initial shared values: k-means centroids, K quantiles, or evenly spaced from smallest to largest weight.",
            choices=("kmeans", "quantile", "uniform"),
        ),
    )

    @property
    def levels_learned(self) -> bool:
        """Return True: the representatives are parameters of the penalty."""
        return True


class LearnedLevels(Regularizer):
    """The penalty φ(w − nearest u); the K representatives u of a layer are trained together with its weights.

    By default u starts at the layer's k-means centroids. Weights are bell-shaped: a uniform grid would have few of them
    near its ends, and quantiles would leave the tails without a representative.
    """

    exponential: ClassVar[bool]

    def __init__(self, levels: Tensor) -> None:
        super().__init__()
        self.u = nn.Parameter(levels)  # (K,)

    @classmethod
    def for_weights(
        cls, weight: Tensor, k: int, options: LearnedLevelsOptions, quantized: QuantizedLayer | None = None
    ) -> Self:
        """Return the penalty with u initialized as `options.init` says."""
        return cls(cls.start(weight, k, options))

    @staticmethod
    def start(weight: Tensor, k: int, options: LearnedLevelsOptions) -> Tensor:
        """Return the initial u: (K,) of the weight's dtype, or fewer if the weights have fewer distinct values."""
        return torch.from_numpy(initial_levels(weight.detach().cpu().numpy(), k, options.init)).to(weight)

    def reference(self, weight: Tensor) -> Tensor:
        """Return the mean of φ over `weight` (any shape): scalar."""
        value: Tensor = NearestPenalty.apply(weight, self.representatives(), self.exponential)  # type: ignore[no-untyped-call]
        return value

    def kernel(self) -> NearestKernel | None:
        """Return the kernel of φ for float32 representatives, else None."""
        return NearestKernel(self.representatives(), self.exponential) if self.u.dtype == torch.float32 else None

    def kernel_parameters(self) -> Tensor:
        """Return the sorted representatives: (K,)."""
        return self.representatives()

    def representatives(self) -> Tensor:
        """Return u sorted: (K,) ascending, differentiable. It is sorted since training may change the order."""
        return self.u.sort().values


def initial_levels(weights: NDArray[np.floating], k: int, init: str) -> NDArray[np.floating]:
    """Return at most k initial representatives, ascending and distinct, in the weights' dtype.

    init: `kmeans` gives the k-means centroids, `quantile` the (i + ½)/K quantiles, `uniform` evenly spaced values from
    the smallest weight to the largest.
    """
    flat = weights.reshape(-1)
    if init == "kmeans":
        return kmeans(flat, k).codebook
    if init == "quantile":
        return np.unique(np.quantile(flat, (np.arange(k) + 0.5) / k, method="nearest").astype(flat.dtype))
    return np.unique(np.linspace(flat.min(), flat.max(), k, dtype=flat.dtype))
