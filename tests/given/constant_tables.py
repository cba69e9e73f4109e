"""Constants as exporters write them: grids of cells, priors, rotary tables, masks; and random weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

RNG = np.random.default_rng(0)


def weights(*shape: int, size: float = 0.1) -> NDArray[Any]:
    return (RNG.standard_normal(shape) * size).astype(np.float32)


def pixel_grid() -> NDArray[Any]:
    """(1, 2, 180) centres of cells of 8 and of 16 pixels, level after level, as YOLO adds them."""
    levels = [np.stack(np.meshgrid(np.arange(s * 2), np.arange(s)), -1).reshape(-1, 2) * (64 / s) for s in (8, 4, 2)]
    return (np.concatenate(levels).T[None] + 4).astype(np.float32)


def priors() -> NDArray[Any]:
    """(1, 416, 4): four boxes a cell, centre and size, as an SSD's head decodes them."""
    cells = [
        (x / n + 0.5 / n, y / n + 0.5 / n, w / n, h / n)
        for n in (10, 2)
        for y in range(n)
        for x in range(n)
        for w, h in ((1, 1), (1.4, 1.4), (2, 0.5), (0.5, 2))
    ]
    return np.array(cells, np.float32)[None]


def angles(length: int, width: int) -> NDArray[Any]:
    return np.arange(length)[:, None] / 10000 ** (np.arange(0, width, 2) / width)  # (length, width / 2)


def rotary(length: int = 64, width: int = 32) -> tuple[NDArray[Any], NDArray[Any]]:
    both = np.concatenate([angles(length, width)] * 2, axis=1)
    return np.cos(both).astype(np.float32), np.sin(both).astype(np.float32)


def alibi_mask(size: int = 64) -> NDArray[Any]:
    places = np.arange(size)
    far = -np.abs(places[:, None] - places) * 0.0625
    return np.asarray(far + np.triu(np.full((size, size), -1e9), 1), np.float32)
