"""Batches of a user's own: a DataLoader or any other iterable of batches."""

import functools
import hashlib
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor

from qacomp.batches.examples import Batch, Batches
from qacomp.batches.feed import count_of, mapped, tensors_of
from qacomp.batches.form import BatchForm
from qacomp.batches.seeding import seeded_pass
from qacomp.errors import DataError, QacompError

TENTH = 10  # a part that is split off gets one of so many batches or examples, as of a data spec
_MEASURED = [0]  # the entropy of passes that only measure


@dataclass(frozen=True)
class LoaderBatches:
    """Batches as the user's loader makes them: its order, sizes, workers and augmentation.

    kept: which batches belong to this part, by their number modulo ten; None: all of them.
    """

    loader: Any
    form: BatchForm
    kept: frozenset[int] | None = None

    @cached_property
    def count(self) -> int:
        """Return the number of batches; a loader without a length is iterated once for it."""
        try:
            length = len(self.loader)
        except TypeError:
            length = sum(1 for _ in self._pass(self.loader, _MEASURED))
        return sum(1 for number in range(length) if self._keeps(number))

    def steps(self, batch_size: int) -> int:
        """Return the number of batches in an epoch, whatever the batch size."""
        return self.count

    def training(self, batch_size: int, *, augment: str, entropy: list[int]) -> Iterator[Batch]:
        """Yield the loader's batches; a single example is left out if there are others, since batch norm needs two."""
        for batch in self._batches(self.loader, entropy):
            if self.count == 1 or count_of(batch.x) > 1:
                yield batch

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield the loader's batches."""
        return self._batches(self.loader, _MEASURED)

    def targets(self, entropy: list[int], most: int) -> list[bytes]:
        """Return a digest of the targets of each of the first `most` batches, in a pass with this entropy."""
        found = []
        for batch in itertools.islice(self._batches(self.loader, entropy), most):
            digest = hashlib.sha256()
            mapped(batch.y, functools.partial(_taken, digest))
            found.append(digest.digest())
        return found

    def _keeps(self, number: int) -> bool:
        return self.kept is None or number % TENTH in self.kept

    def _batches(self, loader: Any, entropy: list[int]) -> Iterator[Batch]:
        for number, raw in enumerate(self._pass(loader, entropy)):
            if self._keeps(number):
                yield self.form.batch(raw)

    def _pass(self, loader: Any, entropy: list[int]) -> Iterator[Any]:
        try:
            yield from seeded_pass(loader, entropy)
        except (QacompError, GeneratorExit):
            raise
        except Exception as error:  # a user's loader may raise anything
            text = " ".join(str(error).split())[:200]
            raise DataError(f"{self.form.spec}: the loader failed: {type(error).__name__}: {text}") from error


@dataclass(frozen=True)
class LoadedExamples:
    """Data that a user's own code makes. spec: its name in messages."""

    spec: str
    train: Batches
    val: Batches
    test: Batches
    num_classes: int | None = None
    notes: tuple[str, ...] = field(default=())

    @cached_property
    def test_count(self) -> int:
        """Return the number of test examples, after a pass over them."""
        return sum(count_of(batch.x) for batch in self.test.in_order(1024))

    def digest(self) -> str:
        """Return the SHA-256, in hex, of the first batch of each part; the rest of it isn't read for that."""
        found = hashlib.sha256(self.spec.encode())
        for part in (self.train, self.val, self.test):
            first = next(iter(part.in_order(64)), None)
            for tensor in () if first is None else tensors_of(first.x):
                found.update(str(tuple(tensor.shape)).encode())
                found.update(tensor.contiguous().cpu().numpy().tobytes())
        return found.hexdigest()


def _taken(digest: Any, tensor: Tensor) -> Tensor:
    digest.update(tensor.contiguous().cpu().numpy().tobytes())
    return tensor
