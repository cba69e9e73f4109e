"""Batches of the images of a data spec: arrays in memory, preprocessed for the network batch by batch.

Order and augmentation depend on the seed, the stage and the epoch only. So a run that resumes at epoch n sees the same
batches as a run that was never interrupted.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from qacomp.batches.augmentation import augmentation, changed
from qacomp.batches.examples import Batch
from qacomp.datasets import Dataset, Split
from qacomp.datasets.preprocessing import Preprocessing


@dataclass(frozen=True)
class ImageBatches:
    """Images with labels, and the preprocessing that turns them into a network's inputs (B, C, H, W) float32."""

    split: Split
    preprocessing: Preprocessing

    def steps(self, batch_size: int) -> int:
        """Return the steps of one epoch; a last batch of a single sample is dropped, since batch norm needs two."""
        return batch_count(self.split, batch_size)

    def training(self, batch_size: int, *, augment: str, entropy: list[int]) -> Iterator[Batch]:
        """Yield shuffled batches: x float32 (B, C, H, W), y int64 (B,)."""
        changes, rng = augmentation(augment), np.random.default_rng(entropy)
        order = rng.permutation(len(self.split.y))
        for step in range(self.steps(batch_size)):
            chosen = order[step * batch_size : (step + 1) * batch_size]  # (B,)
            x = changed(self.preprocessing.apply(self.split.x[chosen]), changes, rng)  # (B, C, H, W)
            yield Batch(torch.from_numpy(x), torch.from_numpy(self.split.y[chosen]))

    def in_order(self, batch_size: int) -> Iterator[Batch]:
        """Yield batches in the stored order: x float32 (B, C, H, W), y int64 (B,)."""
        for start in range(0, len(self.split), batch_size):
            part = slice(start, start + batch_size)
            x = self.preprocessing.apply(self.split.x[part])
            yield Batch(torch.from_numpy(x), torch.from_numpy(self.split.y[part]))


@dataclass(frozen=True)
class ImageExamples:
    """A dataset of images with the preprocessing of a network."""

    dataset: Dataset
    preprocessing: Preprocessing

    @property
    def spec(self) -> str:
        """Return the spec of the dataset."""
        return self.dataset.spec

    @property
    def num_classes(self) -> int:
        """Return the number of classes."""
        return self.dataset.num_classes

    @property
    def train(self) -> ImageBatches:
        """Return the training part."""
        return ImageBatches(self.dataset.train, self.preprocessing)

    @property
    def val(self) -> ImageBatches:
        """Return the validation part."""
        return ImageBatches(self.dataset.val, self.preprocessing)

    @property
    def test(self) -> ImageBatches:
        """Return the test part."""
        return ImageBatches(self.dataset.test, self.preprocessing)

    @property
    def test_count(self) -> int:
        """Return the number of test images."""
        return len(self.dataset.test)

    def digest(self) -> str:
        """Return the SHA-256, in hex, of the training labels."""
        return hashlib.sha256(self.dataset.train.y.tobytes()).hexdigest()


def batch_count(split: Split, batch_size: int) -> int:
    """Return the steps of one epoch; a last batch of a single sample is dropped, since batch norm needs two."""
    full, rest = divmod(len(split.y), batch_size)
    return full + (rest > 1 or full == 0)
