"""What rate-aware sharing needs of a model: second moments of its operators' inputs, and the change of its outputs."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from qacomp.rate.matrices import View


@dataclass(frozen=True)
class Moment:
    """The second moment of the inputs x of an operator that reads a weight. values: E[x xᵀ], (groups, n, n) float64.

    view: views the weight as matrices whose rows of n are multiplied with x. outputs: E[g gᵀ], (groups, rows, rows), of
    gradients g of the network's outputs at those of the operator; None where it isn't known. table: rows are looked up
    instead, and `values` are E[g gᵀ] of gradients at them.
    """

    view: View
    values: NDArray[np.float64]
    outputs: NDArray[np.float64] | None = None
    table: bool = False


class CalibratedModel(Protocol):
    """A model with calibration inputs; running it doesn't change it."""

    @property
    def text(self) -> str:
        """Return a text for the provenance that describes the inputs and their number."""
        ...

    @property
    def digest(self) -> str:
        """Return a digest of the inputs, in hex; empty where there are none."""
        ...

    @property
    def of_outputs(self) -> bool:
        """Return whether `distance` is one of outputs; otherwise it is that of the weights themselves."""
        ...

    @property
    def batches(self) -> int:
        """Return the number of batches over which the moments are computed."""
        ...

    def moments(self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]) -> Mapping[str, Moment]:
        """Return the moment of each weight whose operator is known.

        names: weight -> shape; advance: called after each batch.
        """
        ...

    def distance(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return how much the outputs change with these values of weights: Σ|y − ŷ|² / Σ|y − mean y|².

        0 where no output depends on them, such as those of a branch that isn't taken.
        """
        ...


class TwiceCalibratedModel(CalibratedModel, Protocol):
    """A model that has further inputs, on which what was found on the first ones is checked."""

    @property
    def of_words(self) -> bool:
        """Return whether the inputs are texts of words at random."""
        ...

    @property
    def tables(self) -> Collection[str]:
        """Return the tensors whose rows are looked up by the ids of words."""
        ...

    def distance_elsewhere(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return the same distance on inputs that the moments don't come from."""
        ...


@runtime_checkable
class MomentsByBlock(Protocol):
    """A model whose moments are taken block by block, so that a large one needs no more memory than that."""

    @property
    def text(self) -> str:
        """Return a text for the provenance that describes the inputs and their number."""
        ...

    @property
    def digest(self) -> str:
        """Return a digest of the inputs, in hex."""
        ...

    @property
    def batches(self) -> int:
        """Return the number of steps."""
        ...

    def each_moment(
        self, names: Mapping[str, tuple[int, ...]], advance: Callable[[], None]
    ) -> Iterator[Mapping[str, Moment]]:
        """Yield the moments of the weights of each block; advance: called after each."""
        ...


@runtime_checkable
class TunableModel(Protocol):
    """A model whose norms and biases can be tuned for rounded weights, towards the original's outputs."""

    @property
    def digest(self) -> str:
        """Return a digest of the inputs, in hex."""
        ...

    @property
    def of_words(self) -> bool:
        """Return whether the inputs are texts of words at random."""
        ...

    @property
    def vectors(self) -> Sequence[str]:
        """Return the names of the norms and biases."""
        ...

    @property
    def weights(self) -> int:
        """Return the number of weights beside them."""
        ...

    @property
    def tuning_steps(self) -> int:
        """Return how many steps a tuning takes."""
        ...

    def tuned(self, values: Mapping[str, NDArray[Any]], advance: Callable[[], None]) -> Mapping[str, NDArray[Any]]:
        """Return tuned norms and biases, float32, by name. values: of rounded weights; advance: called each step."""
        ...

    def distance_elsewhere(self, values: Mapping[str, NDArray[Any]]) -> float:
        """Return how much the outputs change with these values, on inputs that aren't tuned on."""
        ...
