"""Folders of images: train/<class>/* and test/<class>/*."""

import os
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets.registry import register_dataset
from qacomp.datasets.split import Source, Split
from qacomp.errors import DataError

_SUFFIXES = (".png", ".jpg", ".jpeg")
_LARGEST_BYTES = 8 << 30


@register_dataset("images", argument="DIR", files="*/*/*")
def load_images(argument: str) -> Source:
    """Read folders of PNG or JPEG files, train/<class>/* and test/<class>/* (optionally val/<class>/*).

    Classes are numbered in the order of the sorted folder names of train. Images are resized (bilinear) to the most
    common size of the training part, and are RGB unless all are grey.
    """
    root = Path(os.path.expanduser(argument))
    if not root.is_dir():
        raise DataError(
            f"images: {argument} {'is not a folder' if root.exists() else 'does not exist'}; give the folder with "
            "train/ and test/"
        )
    parts = {name: root / name for name in ("train", "val", "test") if name != "val" or (root / name).is_dir()}
    for folder in parts.values():
        if not folder.is_dir():
            raise DataError(f"images: {folder} does not exist; {argument} must hold train/<class>/ and test/<class>/")
    classes = sorted(entry.name for entry in parts["train"].iterdir() if _visible(entry) and entry.is_dir())
    if len(classes) < 2:
        raise DataError(f"images: {parts['train']} has {len(classes)} class folders; at least 2 are needed")
    files = {name: _listed(folder, classes) for name, folder in parts.items()}
    looks = [_look(path) for listed in files.values() for path, _ in listed]
    counted = Counter(size for size, _ in looks[: len(files["train"])])
    size = min(counted, key=lambda one: (-counted[one], one))  # (width, height); ties to the smaller
    mode = "L" if all(grey for _, grey in looks) else "RGB"
    needed = len(looks) * size[0] * size[1] * len(mode)
    if needed > _LARGEST_BYTES:
        raise DataError(
            f"images: {len(looks)} images of {size[0]}x{size[1]} need {needed >> 20} MiB of memory, more than the "
            f"limit of {_LARGEST_BYTES >> 20} MiB; store them in a size near the network's input"
        )
    splits = {name: _load(listed, size, mode) for name, listed in files.items()}
    return Source(splits["train"], splits["test"], splits.get("val"), num_classes=len(classes))


def _visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _listed(folder: Path, classes: list[str]) -> list[tuple[Path, int]]:
    unknown = [entry.name for entry in folder.iterdir() if _visible(entry) and entry.name not in classes]
    if folders := sorted(name for name in unknown if (folder / name).is_dir()):
        raise DataError(f"images: {folder} has the class folder {folders[0]!r}, which train/ lacks; add or remove it")
    listed = [
        (path, label)
        for label, name in enumerate(classes)
        if (folder / name).is_dir()
        for path in sorted((folder / name).iterdir())
        if _visible(path) and path.suffix.lower() in _SUFFIXES
    ]
    if strange := [path for path, _ in listed if not path.is_file()]:  # reading a pipe would block
        raise DataError(f"images: {strange[0]} is not a regular file; remove it from the folder")
    if not listed:
        raise DataError(f"images: {folder} holds no {', '.join(_SUFFIXES)} files in class folders")
    return listed


def _look(path: Path) -> tuple[tuple[int, int], bool]:
    """Return ((width, height), whether the image is grey) from the file's header."""
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Pillow only warns of a decompression bomb
            with Image.open(path, formats=("PNG", "JPEG")) as image:
                if image.mode.startswith(("I", "F")):
                    raise DataError(f"images: {path} has more than 8 bits per channel; convert it to 8 bits")
                return image.size, image.mode in ("1", "L", "LA")
    except (OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise DataError(f"images: {path} is not a readable PNG or JPEG file; remove or replace it") from error


def _load(listed: list[tuple[Path, int]], size: tuple[int, int], mode: str) -> Split:
    shape = (len(listed), size[1], size[0]) if mode == "L" else (len(listed), size[1], size[0], 3)
    images: NDArray[np.uint8] = np.empty(shape, dtype=np.uint8)
    for index, (path, _) in enumerate(listed):
        images[index] = _pixels(path, size, mode)
    return Split(images, np.array([label for _, label in listed], dtype=np.int64))


def _pixels(path: Path, size: tuple[int, int], mode: str) -> NDArray[np.uint8]:
    from PIL import Image

    try:
        with Image.open(path, formats=("PNG", "JPEG")) as image:
            pixels = image.convert(mode)
            if pixels.size != size:
                pixels = pixels.resize(size, Image.Resampling.BILINEAR)
            return np.asarray(pixels)
    except (OSError, ValueError, SyntaxError) as error:
        raise DataError(
            f"images: {path} can't be decoded ({' '.join(str(error).split())}); remove or replace it"
        ) from error
