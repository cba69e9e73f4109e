"""Read the weights of a graph from a container, one at a time, by the names of the graph's values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any, TypeAlias

from numpy.typing import NDArray

from qacomp.formats import Container, NotSharedError, SharedTensor


class StoredWeights(Mapping[str, "NDArray[Any] | SharedTensor"]):
    """A container's tensors at a level (None: the finest); each one is read when it is used, and not kept in memory.

    names: name of the graph's value -> name in the container.
    """

    def __init__(self, container: Container, names: Mapping[str, str], level: int | None) -> None:
        self.container, self.names, self.level = container, names, level

    def __getitem__(self, value: str) -> NDArray[Any] | SharedTensor:
        name = self.names[value]
        try:
            return self.container.shared(name, level=self.level)
        except NotSharedError:
            return self.container.tensor(name, level=self.level)

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)

    def __contains__(self, value: object) -> bool:
        return value in self.names

    def is_shared(self, value: str) -> bool:
        """Return whether a tensor is shared, from the header alone."""
        return self.container.info(self.names[value]).k is not None


Weights: TypeAlias = Mapping[str, "NDArray[Any] | SharedTensor"]


def only_shared(weights: Weights, without: Collection[str] = ()) -> Mapping[str, SharedTensor]:
    """Return the weights that are shared, except for the names in `without`."""
    if isinstance(weights, StoredWeights):
        names = {v: n for v, n in weights.names.items() if v not in without and weights.is_shared(v)}
        return StoredWeights(weights.container, names, weights.level)  # type: ignore[return-value] # all are shared
    return {name: w for name, w in weights.items() if name not in without and isinstance(w, SharedTensor)}
