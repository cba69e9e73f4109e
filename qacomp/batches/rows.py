"""Batches of a map-style dataset: one that gives an example for each number, and whose length is known."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Subset

from qacomp.batches.examples import Batch
from qacomp.batches.form import BatchForm
from qacomp.batches.loaders import LoaderBatches


@dataclass(frozen=True)
class RowBatches:
    """Examples `numbers` of a dataset, collated to batches of the size that the settings ask for."""

    dataset: Any
    numbers: Sequence[int]
    form: BatchForm

    def steps(self, batch_size: int) -> int:
        """Return the steps of one epoch; a last batch of a single example is dropped, since batch norm needs two."""
        full, rest = divmod(len(self.numbers), batch_size)
        return full + (rest > 1 or full == 0)

    def training(self, batch_size: int, *, augment: str, entropy: list[int]) -> Iterator[Batch]:
        """Yield shuffled batches."""
        order = np.random.default_rng(entropy).permutation(np.asarray(self.numbers))
        batches = LoaderBatches(self._loader(order.tolist(), batch_size), self.form)
        for _, batch in zip(
            range(self.steps(batch_size)), batches.training(batch_size, augment=augment, entropy=entropy), strict=False
        ):
            yield batch

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield batches in the dataset's order."""
        return LoaderBatches(self._loader(self.numbers, batch_size), self.form).in_order(batch_size)

    def _loader(self, numbers: Sequence[int], batch_size: int) -> "DataLoader[Any]":
        return DataLoader(Subset(self.dataset, list(numbers)), batch_size=batch_size)
