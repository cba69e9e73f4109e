"""Turn stored images into a network's input; needs only numpy, so that a device can evaluate ONNX without torch."""

import math
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import CheckpointError, DataError
from qacomp.options.preprocess import LARGEST_SIDE

_CHUNK_BYTES = 64 << 20  # float32 values of one chunk, so that a large data set needs little memory besides its output
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow's convert("L")


@dataclass(frozen=True)
class Preprocessing:
    """Size, channels and normalization of a network's input.

    size: (height, width) in pixels; channels: 1 (grey) or 3 (RGB); mean, std: one value for each channel, for inputs
    in [0, 1].
    """

    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """Return (C, H, W) of one input."""
        return (self.channels, *self.size)

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON types; `from_dict` reads them back."""
        return {
            "size": [int(side) for side in self.size],
            "channels": int(self.channels),
            "mean": [float(value) for value in self.mean],
            "std": [float(value) for value in self.std],
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Preprocessing":
        """Read what `to_dict` wrote. Raise `CheckpointError` for unknown or missing fields, or values out of range."""
        if not isinstance(values, Mapping):
            raise CheckpointError(f"preprocessing must be a mapping, not {type(values).__name__}")
        fields = ("size", "channels", "mean", "std")
        if missing := [name for name in fields if name not in values]:
            raise CheckpointError(f"preprocessing lacks {', '.join(missing)}")
        if unknown := sorted(_shown(name) for name in values if name not in fields)[:8]:
            raise CheckpointError(
                f"preprocessing has unknown fields {', '.join(unknown)}; a newer qacomp may have written the file"
            )
        made = cls(
            size=_pair(values["size"]),
            channels=_integer("channels", values["channels"]),
            mean=_numbers("mean", values["mean"]),
            std=_numbers("std", values["std"]),
        )
        made.validate()
        return made

    def validate(self) -> None:
        """Raise `CheckpointError` for a field whose value is out of range."""
        if any(not 1 <= side <= LARGEST_SIDE for side in self.size):
            raise CheckpointError(
                f"preprocessing: size {_shown(self.size)} must be two sides of 1 to {LARGEST_SIDE} pixels"
            )
        if self.channels not in (1, 3):
            raise CheckpointError(f"preprocessing: {_shown(self.channels)} channels; images have 1 (grey) or 3 (RGB)")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) != self.channels:
                raise CheckpointError(f"preprocessing: {name} has {len(numbers)} values for {self.channels} channels")
            if not all(math.isfinite(value) for value in numbers):
                raise CheckpointError(f"preprocessing: {name} {_shown(numbers)} holds a value that is not finite")
        if any(value <= 0 for value in self.std):
            raise CheckpointError(f"preprocessing: std {_shown(self.std)} must be positive")

    def apply(self, images: NDArray[Any]) -> NDArray[np.float32]:
        """Turn stored images into network inputs.

        images: (N, H, W) or (N, H, W, C) with C 1 or 3, uint8 or floats in [0, 1].
        Returns (N, channels, *size) float32: scaled to [0, 1], channels converted (grey repeated, RGB to BT.601 luma),
        resized bilinearly with a triangle filter (antialiased when shrinking, as Pillow's BILINEAR), then normalized.
        Raises `DataError` for other layouts and dtypes.
        """
        if images.ndim not in (3, 4) or (images.ndim == 4 and images.shape[-1] not in (1, 3)):
            raise DataError(f"images must be (N, H, W) or (N, H, W, 1 or 3), not {images.shape}")
        if images.dtype != np.uint8 and not np.issubdtype(images.dtype, np.floating):
            raise DataError(f"images must be uint8 or floating in [0, 1], not {images.dtype}")
        if images.shape[1] == 0 or images.shape[2] == 0:
            raise DataError(f"images of {images.shape[1]} by {images.shape[2]} pixels are empty")
        stored = images[..., None] if images.ndim == 3 else images  # (N, H, W, C)
        out = np.empty((stored.shape[0], *self.input_shape), dtype=np.float32)
        largest = max(math.prod(stored.shape[1:]), math.prod(self.input_shape))
        step = max(1, _CHUNK_BYTES // (4 * largest))
        for start in range(0, stored.shape[0], step):
            out[start : start + step] = self._apply_chunk(stored[start : start + step])
        return out

    def _apply_chunk(self, stored: NDArray[Any]) -> NDArray[np.float32]:
        pixels = stored.astype(np.float32)  # (n, H, W, C)
        if stored.dtype == np.uint8:
            pixels /= np.float32(255)
        if pixels.shape[-1] == 3 and self.channels == 1:
            pixels = (pixels @ _LUMA)[..., None]
        planes = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))  # (n, C, H, W)
        if planes.shape[2:] != self.size:
            planes = _resize(planes, self.size)
        if planes.shape[1] != self.channels:
            planes = np.repeat(planes, self.channels, axis=1)
        shape = (1, self.channels, 1, 1)
        planes -= np.asarray(self.mean, dtype=np.float32).reshape(shape)
        planes /= np.asarray(self.std, dtype=np.float32).reshape(shape)
        return planes


def _resize(planes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Resize (n, C, H, W) to (n, C, *size) by two matrix products, with a small matrix of weights for each axis."""
    rows = _triangle_filter(planes.shape[2], size[0])  # (size[0], H)
    columns = _triangle_filter(planes.shape[3], size[1])  # (size[1], W)
    resized: NDArray[np.float32] = np.matmul(np.matmul(rows, planes), columns.T)
    return resized


def _triangle_filter(stored: int, wanted: int) -> NDArray[np.float32]:
    """Return the weights (wanted, stored) of bilinear interpolation at half-pixel centres; wider when shrinking."""
    scale = stored / wanted
    support = max(scale, 1.0)
    centres = (np.arange(wanted) + 0.5) * scale
    distance = np.abs(np.arange(stored)[None, :] + 0.5 - centres[:, None])
    weights = np.maximum(0.0, 1.0 - distance / support)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights.astype(np.float32)


def _integer(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise CheckpointError(f"preprocessing: {name} must be an integer, not {_shown(value)}")
    return value


def _pair(value: object) -> tuple[int, int]:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise CheckpointError(f"preprocessing: size must be [height, width], not {_shown(value)}")
    return (_integer("size", value[0]), _integer("size", value[1]))


def _numbers(name: str, value: object) -> tuple[float, ...]:
    if not isinstance(value, list | tuple):
        raise CheckpointError(f"preprocessing: {name} must be a list of numbers, not {_shown(value)}")
    if any(isinstance(entry, bool) or not isinstance(entry, int | float) for entry in value):
        raise CheckpointError(f"preprocessing: {name} must be a list of numbers, not {_shown(value)}")
    try:
        return tuple(float(entry) for entry in value)
    except OverflowError:
        raise CheckpointError(f"preprocessing: {name} holds a number too large for a float") from None


def _shown(value: object) -> str:
    """Return a value out of a file as text of at most 80 characters."""
    return reprlib.repr(value)[:80]
