"""Mini-batches of a split. Their order and augmentation depend on the seed, the stage and the epoch only.

So a run that resumes at epoch n sees the same batches as a run that was never interrupted.
"""

from collections.abc import Iterator
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qacomp.datasets import Split
from qacomp.datasets.preprocessing import Preprocessing

_PAD = 4


def batch_count(split: Split, batch_size: int) -> int:
    """Return the steps of one epoch; a last batch of a single sample is dropped, since batch norm needs two."""
    full, rest = divmod(len(split.y), batch_size)
    return full + (rest > 1 or full == 0)


def epoch_seed(seed: int, stage: str, epoch: int) -> list[int]:
    """Return the seed of the random generator for one epoch of one stage."""
    return [seed, crc32(stage.encode()), epoch]


def training_batches(
    split: Split, preprocessing: Preprocessing, batch_size: int, *, augment: bool, entropy: list[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield shuffled (x, y): x float32 (B, C, H, W), y int64 (B,). `augment`: pad by 4, crop at random, flip."""
    rng = np.random.default_rng(entropy)
    order = rng.permutation(len(split.y))
    for step in range(batch_count(split, batch_size)):
        chosen = order[step * batch_size : (step + 1) * batch_size]  # (B,)
        x = preprocessing.apply(split.x[chosen])  # (B, C, H, W)
        if augment:
            x = _crop_and_flip(x, rng)
        yield torch.from_numpy(x), torch.from_numpy(split.y[chosen])


def _crop_and_flip(x: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Pad with zeros (the mean colour), crop at a random offset, mirror half of the images: (B, C, H, W), as x."""
    b, _, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (_PAD, _PAD), (_PAD, _PAD)))  # (B, C, H+8, W+8)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))  # (B, C, 9, 9, H, W)
    top, left = rng.integers(0, 2 * _PAD + 1, (2, b))
    out = windows[np.arange(b), :, top, left]  # (B, C, H, W)
    mirrored = rng.random(b) < 0.5
    out[mirrored] = out[mirrored, :, :, ::-1]
    return np.ascontiguousarray(out, dtype=np.float32)
