"""The interface of data: parts that are iterated batch by batch, again and again."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable
from zlib import crc32

if TYPE_CHECKING:
    from qacomp.batches.feed import Feed


@dataclass(frozen=True)
class Batch:
    """Inputs of a network for some examples, and their targets: class labels, values, or whatever the loss takes."""

    x: "Feed"
    y: Any


class Batches(Protocol):
    """One part of the data. Each call iterates over all of it anew; nothing but a batch has to be in memory."""

    def steps(self, batch_size: int) -> int:
        """Return the number of batches that `training` yields."""
        ...

    def training(self, batch_size: int, *, augment: str, entropy: list[int]) -> Iterator[Batch]:
        """Yield an epoch's batches. Order and random changes depend on `entropy` only.

        augment: random changes of images, see `augmentation`. batch_size: of data that isn't in batches already.
        """
        ...

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield all examples, unchanged, for measuring."""
        ...


@runtime_checkable
class Examples(Protocol):
    """Data for training and measuring. num_classes: None if it isn't known, or the data has no classes."""

    @property
    def spec(self) -> str: ...  # noqa: D102
    @property
    def num_classes(self) -> int | None: ...  # noqa: D102
    @property
    def train(self) -> Batches: ...  # noqa: D102
    @property
    def val(self) -> Batches:
        """Return the part on which the best epoch is chosen."""
        ...

    @property
    def test(self) -> Batches:
        """Return the part on which results are measured."""
        ...

    @property
    def test_count(self) -> int:
        """Return the number of test examples."""
        ...

    def digest(self) -> str:
        """Return a SHA-256, in hex, that differs for other data: a training resumes only on the same data."""
        ...


def epoch_seed(seed: int, stage: str, epoch: int) -> list[int]:
    """Return the seed of the random generator for one epoch of one stage."""
    return [seed, crc32(stage.encode()), epoch]
