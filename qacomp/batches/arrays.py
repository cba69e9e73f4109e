"""Batches of arrays or tensors in memory, of any shape and dtype, fed as they are."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qacomp.batches.examples import Batch
from qacomp.batches.feed import count_of, rows_of, told
from qacomp.batches.form import BatchForm
from qacomp.errors import DataError


@dataclass(frozen=True)
class ArrayBatches:
    """Examples in memory: inputs and targets with the same number of rows."""

    whole: Batch

    @property
    def count(self) -> int:
        """Return the number of examples."""
        return count_of(self.whole.x)

    def steps(self, batch_size: int) -> int:
        """Return the steps of one epoch; a last batch of a single example is dropped, since batch norm needs two."""
        full, rest = divmod(self.count, batch_size)
        return full + (rest > 1 or full == 0)

    def training(self, batch_size: int, *, augment: str, entropy: list[int]) -> Iterator[Batch]:
        """Yield shuffled batches."""
        order = torch.from_numpy(np.random.default_rng(entropy).permutation(self.count))
        for step in range(self.steps(batch_size)):
            yield self._at(order[step * batch_size : (step + 1) * batch_size])

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield batches in order."""
        for start in range(0, self.count, batch_size):
            yield self._at(slice(start, start + batch_size))

    def rows(self, numbers: NDArray[np.int64]) -> "ArrayBatches":
        """Return the examples with these numbers."""
        return ArrayBatches(self._at(torch.from_numpy(numbers)))

    def _at(self, where: Any) -> Batch:
        return Batch(rows_of(self.whole.x, where), rows_of(self.whole.y, where))


def array_batches(spec: str, x: Any, y: Any, form: BatchForm) -> ArrayBatches:
    """Return examples of inputs x (an array, or several in a tuple or by name) and targets y.

    Raises DataError, with shapes and dtypes, if their numbers of rows differ.
    """
    if isinstance(x, list):
        x = np.asarray(x)
    y = np.asarray(y) if isinstance(y, list) else y
    whole = form.batch((x, y))
    if whole.y is None or not hasattr(whole.y, "__len__") or len(whole.y) != count_of(whole.x):
        raise DataError(f"{spec}: inputs {told(x)} and targets {told(y)} must have the same number of rows")
    return ArrayBatches(whole)


def array_parts(spec: str, arrays: Mapping[str, Any], form: BatchForm) -> dict[str, ArrayBatches]:
    """Return the parts of x_train, y_train, x_test, y_test and optionally x_val, y_val; see `array_batches`."""
    missing = [name for name in ("x_train", "y_train", "x_test", "y_test") if name not in arrays]
    if missing:
        raise DataError(f"{spec} lacks {', '.join(missing)}; it has {', '.join(map(str, arrays)) or 'nothing'}")
    if ("x_val" in arrays) != ("y_val" in arrays):
        raise DataError(f"{spec} has one of x_val and y_val without the other; give both or none")
    parts = [part for part in ("train", "val", "test") if f"x_{part}" in arrays]
    return {p: array_batches(f"{spec}: {p}", arrays[f"x_{p}"], arrays[f"y_{p}"], form) for p in parts}
