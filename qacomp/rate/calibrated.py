"""What rate-aware sharing asks of a model: the second moments of its operators' inputs, and how far outputs move."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from qacomp.rate.matrices import MatrixView


@dataclass(frozen=True)
class Moment:
    """What an operator that reads a weight does with it. values: E[x xᵀ] of its inputs, (groups, n, n) float64.

    view: how the weight is seen as matrices whose rows of n are multiplied with x.
    """

    view: MatrixView
    values: NDArray[np.float64]


class CalibratedModel(Protocol):
    """A model with inputs that it can be run on; it stays as it is."""

    @property
    def text(self) -> str:
        """Return what the inputs are and how many, for the provenance."""
        ...

    @property
    def batches(self) -> int:
        """Return in how many steps the moments are taken."""
        ...

    def moments(self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]) -> Mapping[str, Moment]:
        """Return the moment of each weight that has one; names: weight -> shape; advance: called after each batch."""
        ...

    def distance(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return how far the outputs move when these weights have other values: Σ|y − ŷ|² / Σ|y − mean y|²."""
        ...
