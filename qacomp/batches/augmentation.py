"""Random changes of training images: crop, flip, cutout, and functions of the user's own."""

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets.custom import find_custom
from qacomp.errors import ConfigError, DataError

Images: TypeAlias = NDArray[np.float32]
Change: TypeAlias = Callable[[Images, np.random.Generator], Images]
"""Changes images (B, C, H, W), as the network takes them; all its random numbers come from the generator."""
_PAD = 4


def augmentation(text: str) -> tuple[Change, ...]:
    """Return the changes that --augment names, in their order: `crop,flip`, `cutout`, `module:function`; `none`: none.

    Raises ConfigError for an unknown one, and DataError if a function can't be imported.
    """
    if text == "none":
        return ()
    names = [name.strip() for name in text.replace("crop-flip", "crop,flip").split(",")]
    return tuple(_change(name) for name in names)


def changed(images: Images, changes: Sequence[Change], rng: np.random.Generator) -> Images:
    """Return the images (B, C, H, W) after all changes."""
    for change in changes:
        images = change(images, rng)
    return np.ascontiguousarray(images, dtype=np.float32)


def crop(x: Images, rng: np.random.Generator) -> Images:
    """Pad with zeros (the mean colour), and cut each image out again, at a random offset of up to 4 pixels."""
    b, _, h, w = x.shape
    padded = np.pad(x, ((0, 0), (0, 0), (_PAD, _PAD), (_PAD, _PAD)))  # (B, C, H+8, W+8)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(2, 3))  # (B, C, 9, 9, H, W)
    top, left = rng.integers(0, 2 * _PAD + 1, (2, b))
    return windows[np.arange(b), :, top, left]  # (B, C, H, W)


def flip(x: Images, rng: np.random.Generator) -> Images:
    """Turn half of the images around, left for right."""
    mirrored = rng.random(len(x)) < 0.5
    out = x.copy()
    out[mirrored] = x[mirrored, :, :, ::-1]
    return out


def cutout(x: Images, rng: np.random.Generator) -> Images:
    """Set a square around a random pixel of each image to zero; it may stick out (DeVries and Taylor 2017).

    Its side is half of the image's shorter one, as the paper has it on CIFAR-10.
    """
    b, _, h, w = x.shape
    half = max(1, min(h, w) // 4)
    centres = [rng.integers(0, side, (b, 1)) for side in (h, w)]
    rows, columns = (
        (np.arange(side) >= at - half) & (np.arange(side) < at + half) for side, at in zip((h, w), centres, strict=True)
    )  # (B, H) and (B, W)
    return np.where((rows[:, :, None] & columns[:, None, :])[:, None], np.float32(0), x)


_OWN: dict[str, Change] = {"crop": crop, "flip": flip, "cutout": cutout}


def _change(name: str) -> Change:
    if name in _OWN:
        return _OWN[name]
    module, colon, function = name.partition(":")
    if not colon:
        raise ConfigError(f"--augment: there is no {name!r}; give {', '.join(_OWN)}, module:function, or none")
    return _checked(name, find_custom(module, function))


def _checked(name: str, change: Change) -> Change:
    """Return a user's function; it raises DataError if it fails, or gives images of another shape, or NaN."""

    def apply(x: Images, rng: np.random.Generator) -> Images:
        try:
            found = np.asarray(change(x, rng))
        except Exception as error:
            raise DataError(
                f"--augment {name} failed: {type(error).__name__}: {' '.join(str(error).split())}"
            ) from error
        if found.shape != x.shape or found.dtype.kind != "f":
            raise DataError(
                f"--augment {name}: gives {found.dtype} {list(found.shape)} for float32 {list(x.shape)}; it must "
                "return floats of the same shape"
            )
        if not np.isfinite(found).all():
            raise DataError(f"--augment {name}: its images hold NaN or infinity")
        return found.astype(np.float32)

    return apply
