"""Balance rounding errors so that they cancel within a channel: outputs change less, without any data.

A unit's output has the error Σ e·x, where e = c − w are the errors of its channel's weights and x are its inputs. After
a ReLU inputs have a mean. If inputs are independent, with mean m and variance s², the squared error is s²·(Σe² +
γ·(Σe)²) on average, with γ = m²/s². Rounding to the nearest value minimises the first term only. The second term nearly
vanishes if a few weights about half-way between two values get the other one. Nagel et al. (2019, Data-free
quantization, section 4.2) correct the same shift in the biases, which not every layer has. In a convolution of images
the inputs of one filter plane are neighbouring pixels, which are alike, so errors are cancelled within planes first.
"""

import math

import numpy as np
from numpy.typing import NDArray

RECTIFIED = 1 / (math.pi - 1)
"""γ of a normal variable after a ReLU, with mean 1/√(2π) and variance ½ − 1/(2π)."""
_NEIGHBOURS = 1.0
"""γ of pixels with a correlation ρ of ½: ρ / (1 − ρ)."""
_AT_ONCE = 1 << 18  # weights processed at once, which take about a hundred bytes each


def balanced(
    values: NDArray[np.floating], codebook: NDArray[np.floating], indices: NDArray[np.unsignedinteger], axis: int
) -> NDArray[np.unsignedinteger]:
    """Return indices, in the shape of `values` and the dtype of `indices`, whose errors cancel in each output channel.

    values: finite, any shape, with output channels along `axis`; codebook: (K,) ascending; indices: those of the
    nearest entries. Σe² + γ·(Σe)² of a channel never grows. Weights move to the entry next to theirs, those with the
    least loss first; zeros at an entry of exactly zero stay there. For four axes (a convolution), each plane (height,
    width) is balanced first.
    """
    if values.ndim == 4:
        planes = values.shape[0] * values.shape[1], values.shape[2] * values.shape[3]
        first = _balanced(values.reshape(planes), codebook, indices.reshape(planes), 0, _NEIGHBOURS)
        indices = first.reshape(values.shape)
    return _balanced(values, codebook, indices, axis, RECTIFIED)


def _balanced(
    values: NDArray[np.floating],
    codebook: NDArray[np.floating],
    indices: NDArray[np.unsignedinteger],
    axis: int,
    gamma: float,
) -> NDArray[np.unsignedinteger]:
    rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1)  # (channels, n)
    chosen = np.moveaxis(indices, axis, 0).reshape(rows.shape).copy()
    book = codebook.astype(np.float64)
    step = max(1, _AT_ONCE // max(1, rows.shape[1]))
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        chosen[part] = _balanced_rows(rows[part].astype(np.float64), book, chosen[part], gamma)
    moved = np.moveaxis(values, axis, 0).shape
    return np.ascontiguousarray(np.moveaxis(chosen.reshape(moved), 0, axis))


def _balanced_rows(
    rows: NDArray[np.float64], book: NDArray[np.float64], chosen: NDArray[np.unsignedinteger], gamma: float
) -> NDArray[np.unsignedinteger]:
    error = book[chosen] - rows  # (channels, n)
    total = error.sum(axis=1, keepdims=True)  # (channels, 1)
    way = -np.sign(total).astype(np.int64)
    other = np.clip(chosen.astype(np.int64) + way, 0, len(book) - 1)  # (channels, n)
    change = book[other] - book[chosen]
    change[(rows == 0) & (error == 0)] = 0
    cost = change * (change + 2 * error)  # growth of Σe²
    price = np.divide(cost, np.abs(change), out=np.full_like(cost, np.inf), where=change != 0)
    order = np.argsort(price, axis=1, kind="stable")
    changes = np.cumsum(np.take_along_axis(change, order, 1), axis=1)
    losses = np.cumsum(np.take_along_axis(cost, order, 1), axis=1) + gamma * changes * (changes + 2 * total)
    best = np.argmin(losses, axis=1)[:, None]  # (channels, 1): number of weights to move, if the loss gets negative
    count = np.where(np.take_along_axis(losses, best, 1) < 0, best + 1, 0)
    goes = np.zeros(rows.shape, bool)
    np.put_along_axis(goes, order, np.arange(rows.shape[1]) < count, 1)
    goes &= change != 0
    result: NDArray[np.unsignedinteger] = np.where(goes, other, chosen).astype(chosen.dtype)
    return result
