"""Split validation and test parts off a user's training data, by a fixed seed."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader, IterableDataset, RandomSampler, SequentialSampler, Subset

from qacomp.batches.arrays import ArrayBatches
from qacomp.batches.examples import Batches
from qacomp.batches.form import BatchForm
from qacomp.batches.loaders import TENTH, LoaderBatches
from qacomp.batches.rows import RowBatches
from qacomp.datasets.split import SPLIT_SEED
from qacomp.errors import DataError

_COMPARED = 4
"""Batches whose targets two passes must have in common: small batches of few classes may be equal by chance."""


@dataclass(frozen=True)
class Whole:
    """One thing that a user gave as data. given: arrays, a loader, a map-style dataset, or an iterable of batches."""

    given: Any
    form: BatchForm

    def batches(self) -> Batches:
        """Return all of it as one part."""
        if isinstance(self.given, ArrayBatches):
            return self.given
        if is_rows(self.given):
            return RowBatches(self.given, range(len(self.given)), self.form)
        return LoaderBatches(self.given, self.form)

    def split(self, names: Sequence[str]) -> dict[str, Batches]:
        """Return the training part and the parts `names`, each a tenth. Raises DataError if it can't be split."""
        given, form = self.given, self.form
        if isinstance(given, ArrayBatches):
            return _numbered(form.spec, given.count, names, given.rows)
        if isinstance(given, DataLoader) and not isinstance(given.dataset, IterableDataset):
            return self._loader(given, names)
        if is_rows(given):
            return _numbered(form.spec, len(given), names, lambda numbers: RowBatches(given, numbers.tolist(), form))
        return self._by_number(names)

    def _loader(self, loader: "DataLoader[Any]", names: Sequence[str]) -> dict[str, Batches]:
        sampler = loader.sampler
        shuffled = isinstance(sampler, RandomSampler)
        whole = isinstance(sampler, RandomSampler) and not sampler.replacement and sampler._num_samples is None
        if not whole and not isinstance(sampler, SequentialSampler):
            raise DataError(
                f"{self.form.spec}: the loader has a {type(sampler).__name__}, so no validation part can be split off; "
                'give {"train": loader, "val": loader}'
            )

        def part(numbers: NDArray[np.int64]) -> Batches:
            shuffle = shuffled and len(numbers) == largest
            return LoaderBatches(_over(loader, numbers, shuffle), self.form)

        count = len(loader.dataset)  # type: ignore[arg-type]
        largest = count - len(names) * _share(self.form.spec, count, len(names))
        return _numbered(self.form.spec, count, names, part)

    def _by_number(self, names: Sequence[str]) -> dict[str, Batches]:
        """Keep whole batches, by their number: every tenth one for each part. Raises DataError if the order changes."""
        passes = [LoaderBatches(self.given, self.form).targets([number], _COMPARED) for number in range(2)]
        if passes[0] != passes[1]:
            raise DataError(
                f"{self.form.spec}: its batches have other targets at each pass, so examples kept for validation would "
                'be trained on too; give {"train": ..., "val": ...}, or a Dataset with a length, or a fixed order'
            )
        places = {name: TENTH - 1 - i for i, name in enumerate(names)}
        others = frozenset(range(TENTH)) - frozenset(places.values())
        parts = {name: LoaderBatches(self.given, self.form, frozenset({place})) for name, place in places.items()}
        train = LoaderBatches(self.given, self.form, others)
        if any(part.count == 0 for part in (train, *parts.values())):
            raise DataError(
                f"{self.form.spec}: fewer than {TENTH} batches, too few to take some for validation; give more, or "
                '{"train": ..., "val": ...}'
            )
        return {"train": train, **parts}


def is_rows(given: Any) -> bool:
    """Return whether `given` is a map-style dataset: examples by number, with a length. A list holds batches."""
    if isinstance(given, DataLoader | IterableDataset | list | tuple | ArrayBatches):
        return False
    return hasattr(given, "__getitem__") and hasattr(given, "__len__")


def _share(spec: str, count: int, parts: int) -> int:
    share = max(1, round(count / TENTH))
    if count - parts * share < 2:
        raise DataError(f"{spec}: {count} examples are too few to take some for validation; give more")
    return share


def _numbered(
    spec: str, count: int, names: Sequence[str], part: Callable[[NDArray[np.int64]], Batches]
) -> dict[str, Batches]:
    share = _share(spec, count, len(names))
    order = np.random.default_rng(SPLIT_SEED).permutation(count)
    parts = {name: part(np.sort(order[i * share : (i + 1) * share])) for i, name in enumerate(names)}
    return {"train": part(np.sort(order[len(names) * share :])), **parts}


def _over(loader: "DataLoader[Any]", numbers: NDArray[np.int64], shuffle: bool) -> "DataLoader[Any]":
    """Return a loader like the given one, over the examples with these numbers."""
    workers: dict[str, Any] = {}
    if loader.num_workers:
        workers = {"prefetch_factor": loader.prefetch_factor, "persistent_workers": loader.persistent_workers}
    return DataLoader(
        Subset(loader.dataset, numbers.tolist()),
        batch_size=loader.batch_size,
        shuffle=shuffle,
        num_workers=loader.num_workers,
        collate_fn=loader.collate_fn,
        pin_memory=loader.pin_memory,
        drop_last=loader.drop_last and shuffle,
        timeout=loader.timeout,
        worker_init_fn=loader.worker_init_fn,
        generator=loader.generator,
        **workers,
    )
