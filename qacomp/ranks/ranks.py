"""This process among those that share a training. Alone, every function here gives back what it got."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    from qacomp.ranks.talk import Talk

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """Number `rank` of `size` processes that run the same program on the same data. talk: None for one process."""

    rank: int = 0
    size: int = 1
    talk: Talk | None = None

    @property
    def first(self) -> bool:
        """Return whether this process is the one that writes, prints and measures."""
        return self.rank == 0

    def from_first(self, make: Callable[[], T]) -> T:
        """Return what `make` gives in the first process, which alone calls it; the others wait. Raises RanksError.

        A value of another process has its tensors on the CPU.
        """
        if self.talk is None:
            return make()
        if not self.first:
            received: T = self.talk.receive()
            return received
        made = make()
        self.talk.send(made)
        return made

    def gathered(self, numbers: Sequence[int]) -> list[tuple[int, ...]]:
        """Return the numbers that each process gives, in the order of the processes. Raises RanksError."""
        return [tuple(numbers)] if self.talk is None else self.talk.gather(numbers)

    def total(self, tensor: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes, in place. Raises RanksError."""
        return tensor if self.talk is None else self.talk.add_up(tensor)

    def mean(self, values: NDArray[np.float64], count: int) -> NDArray[np.float64]:
        """Return the mean of values (N,) over the examples of all processes. count: this process's. Raises RanksError.

        It is the same number in every process, to the last bit.
        """
        if self.talk is None:
            return values
        own = np.append(values * count, float(count))
        sums = np.array(self.gathered(own.view(np.int64).tolist()), np.int64).view(np.float64).sum(axis=0)  # (N + 1,)
        means: NDArray[np.float64] = sums[:-1] / sums[-1]
        return means

    def rows(self, count: int) -> slice:
        """Return this process's part of `count` examples: parts differ by one at most, in the order of processes."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def check_same(self, marks: Sequence[int], differs: Callable[[int], Exception]) -> None:
        """Raise `differs(number)` if the process with that number gives other marks than the first one."""
        first, *others = self.gathered(marks)
        for number, other in enumerate(others, 1):
            if other != first:
                raise differs(number)


ALONE = Ranks()
"""The only process."""
