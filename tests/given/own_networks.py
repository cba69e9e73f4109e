"""Networks and data as PyTorch users write them: a CNN, a regression, two inputs, a segmentation, a text classifier."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_digits
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset


def loaders(*tensors: Tensor, batch: int = 32) -> dict[str, DataLoader[Any]]:
    """A shuffled loader of three quarters of the examples, and one of the others."""
    cut = len(tensors[0]) * 3 // 4
    parts = [TensorDataset(*(t[at] for t in tensors)) for at in (slice(0, cut), slice(cut, None))]
    generator = torch.Generator().manual_seed(3)
    return {"train": DataLoader(parts[0], batch, shuffle=True, generator=generator), "test": DataLoader(parts[1], 64)}


class DigitsCNN(nn.Module):
    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU(), nn.MaxPool2d(2))
        self.head = nn.Linear(16 * width, 10)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head(self.body(x).flatten(1))
        return found


def digits() -> DataLoader[Any]:
    """One loader of NCHW tensors in [-1, 1]; parts are split off."""
    x, y = load_digits(return_X_y=True)
    images = torch.tensor(x[:600], dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    generator = torch.Generator().manual_seed(3)
    return DataLoader(TensorDataset(images, torch.tensor(y[:600])), 32, shuffle=True, generator=generator)


class LeNet(nn.Module):
    """LeNet-5's layers, narrower, for 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        convolutions = [nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        convolutions += [nn.Conv2d(6, 16, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()]
        dense = [nn.Linear(64, 60), nn.ReLU(), nn.Linear(60, 42), nn.ReLU(), nn.Linear(42, 10)]
        self.body = nn.Sequential(*convolutions, *dense)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.body(x)
        return found


def more_digits() -> dict[str, Any]:
    """Loaders of 1,200 digits to train on, 200 to validate and 397 to test."""
    x, y = load_digits(return_X_y=True)
    images = torch.tensor(x, dtype=torch.float32).reshape(-1, 1, 8, 8) / 8 - 1
    parts = [
        TensorDataset(images[at], torch.tensor(y[at])) for at in (slice(1200), slice(1200, 1400), slice(1400, None))
    ]
    generator = torch.Generator().manual_seed(3)
    train = DataLoader(parts[0], 32, shuffle=True, generator=generator)
    return {"train": train, "val": DataLoader(parts[1], 256), "test": DataLoader(parts[2], 256)}


class Regression(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(10, 48), nn.ReLU(), nn.Linear(48, 1))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.layers(x).squeeze(1)
        return found


def diabetes() -> dict[str, Any]:
    """Arrays of float64: ten standardized figures of each person, and one float target."""
    x, y = load_diabetes(return_X_y=True, scaled=True)
    x, y = x * 20, (y - y.mean()) / y.std()
    return {"x_train": x[:350], "y_train": y[:350], "x_test": x[350:], "y_test": y[350:]}


def absolute_loss(outputs: Tensor, values: Tensor) -> Tensor:
    return (outputs - values).abs().mean()


def furthest(outputs: Tensor, values: Tensor) -> float:
    """The largest error: less is better."""
    return float((outputs - values).abs().max())


setattr(furthest, "higher_is_better", False)  # noqa: B010 (mypy knows no attributes of functions)


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image, self.table = nn.Conv2d(1, 8, 3, stride=2), nn.Linear(4, 16)
        self.head = nn.Linear(8 * 9 + 16, 3)

    def forward(self, picture: Tensor, figures: Tensor) -> tuple[Tensor, Tensor]:
        hidden = torch.cat([self.image(picture).flatten(1), self.table(figures)], 1).relu()
        return self.head(hidden), hidden


def pairs() -> dict[str, Any]:
    """Batches (picture, figures, label)."""
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 240)
    pictures = rng.normal(size=(240, 1, 8, 8)) + np.where(y == 2, 1.0, 0.0)[:, None, None, None]
    figures = rng.normal(size=(240, 4)) + np.where(y == 1, 1.5, 0.0)[:, None]
    return loaders(torch.tensor(pictures).float(), torch.tensor(figures).float(), torch.tensor(y))


class UNet(nn.Module):
    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.down = nn.Sequential(nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width), nn.ReLU())
        self.deep = nn.Sequential(nn.MaxPool2d(2), nn.Conv2d(width, 2 * width, 3, padding=1), nn.ReLU())
        self.up = nn.ConvTranspose2d(2 * width, width, 2, stride=2)
        self.out = nn.Conv2d(2 * width, 1, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        skip = self.down(x)
        found: Tensor = self.out(torch.cat([skip, self.up(self.deep(skip))], 1))
        return found


def squares() -> dict[str, Any]:
    """Noisy pictures (N, 1, 16, 16) of a square, and the square's mask, float (N, 1, 16, 16)."""
    rng = np.random.default_rng(0)
    masks = np.zeros((120, 1, 16, 16), np.float32)
    for mask, (top, left) in zip(masks, rng.integers(0, 9, (120, 2)), strict=True):
        mask[0, top : top + 7, left : left + 7] = 1
    pictures = masks + 0.6 * rng.normal(size=masks.shape)
    return loaders(torch.tensor(pictures).float(), torch.tensor(masks), batch=16)


def mask_loss(outputs: Tensor, masks: Tensor) -> Tensor:
    return F.binary_cross_entropy_with_logits(outputs, masks)


def dice(outputs: Tensor, masks: Tensor) -> float:
    """Twice the overlap over the sum of both areas."""
    found = (outputs > 0).float()
    return float(2 * (found * masks).sum() / (found.sum() + masks.sum()).clamp_min(1))


class TextClassifier(nn.Module):
    def __init__(self, words: int = 30) -> None:
        super().__init__()
        self.words = nn.Embedding(words, 16, padding_idx=0)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, labels: Tensor | None = None) -> dict[str, Tensor]:
        hidden = self.encoder(self.words(input_ids), src_key_padding_mask=attention_mask == 0)
        weights = attention_mask[:, :, None].float()
        return {"logits": self.head((hidden * weights).sum(1) / weights.sum(1)), "hidden": hidden}


class Texts:
    """Batches of word numbers, padded to the longest text of each batch, as a tokenizer's collator gives them."""

    def __init__(self, seed: int, batches: int) -> None:
        self.seed, self.batches = seed, batches

    def __len__(self) -> int:
        return self.batches

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        rng = np.random.default_rng(self.seed)
        for number in range(self.batches):
            lengths, y = rng.integers(5, 12 + number % 3, 24), rng.integers(0, 2, 24)
            ids = np.zeros((24, lengths.max()), np.int64)
            for row, (length, label) in zip(ids, zip(lengths, y, strict=True), strict=True):
                row[:length] = rng.integers(1, 20, length) + 10 * label * (rng.random(length) < 0.5)
            mask = np.arange(ids.shape[1]) < lengths[:, None]
            found = {"input_ids": ids, "attention_mask": mask.astype(np.int64), "labels": y}
            yield {name: torch.from_numpy(array) for name, array in found.items()}


def texts() -> dict[str, Any]:
    return {"train": Texts(0, 8), "val": Texts(1, 2), "test": Texts(2, 3)}
