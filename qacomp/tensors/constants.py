"""Tensors whose values say that they are constants, not weights: grids, masks, tables of functions, rows in order.

Trained weights never look like that. Only a part of a large tensor is looked at. Needs no torch.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, bfloat16_to_float32

_LONG, _LINES = 1024, 64  # so much of an axis, and so many lines along it, are looked at
_SHORTEST = 8  # steps along an axis; four random numbers are in line more often than one might think
_SHARE = 0.6  # of the steps that are like the step before: at the ends of a grid's rows they aren't
_HEAD = 128  # a line of up to so many values is looked at by itself first
_STRIDES = (1, 2, 3, 4, 5, 6, 8, 9)  # boxes of a cell in a detector's priors
_EXTREME = 1e4  # times all other values
_ROUNDED, _ROUNDED_MORE = 2e-3, 2e-2  # of a line's largest value: a table may be stored in half precision, or bfloat16
_NAMES = {
    "anchors", "anchor_grid", "priors", "prior_boxes", "inv_freq", "freqs_cis", "cos_cached", "sin_cached", "cos_cache",
    "sin_cache", "position_ids", "relative_position_index", "alibi", "alibi_slopes", "attn_mask", "causal_mask",
    "fb", "mel_basis", "mel_filters", "mel_fb", "filterbank", "window", "dct_mat",
}  # fmt: skip
_NAMES_OF_REPEATED = {"grid", "mask"}  # where values repeat themselves, which learned ones don't

Floats = NDArray[np.float64]


def constant_kind(array: NDArray[Any]) -> str | None:
    """Return what constant a float array (or BFLOAT16) of any shape is, in words; None where it may be a weight.

    An array with NaN is none; a mask may hold infinities.
    """
    if array.ndim == 0 or not array.size:
        return None
    if (found := mask_kind(array)) is not None:
        return found
    if not np.isfinite(_floats(array)).all():
        return None
    return grid_kind_of(array) or _table_kind(array)


def constant_name(name: str, array: NDArray[Any]) -> str | None:
    """Return the last part of a tensor's name where that is a constant's; only for tensors that no graph describes."""
    leaf = name.rpartition(".")[2].lower()
    if leaf in _NAMES:
        return leaf
    repeated = leaf in _NAMES_OF_REPEATED and 2 * np.unique(_floats(array)).size <= array.size
    return leaf if repeated else None


def mask_kind(array: NDArray[Any]) -> str | None:
    """Return the kind of mask, or None: of zeros and ones, or many times one value, far beyond all others."""
    values = array.reshape(-1)
    sample = _floats(values[:: max(1, values.size // (_LONG * _LINES))])
    low, high = float(sample.min()), float(sample.max())  # NaN where one is
    if low == 0 and high == 1 and np.isin(_floats(values), (0.0, 1.0)).all():
        return "a mask of zeros and ones"
    if not max(-low, high) >= _EXTREME:
        return None
    distinct = np.unique(sample)
    for extreme, others in ((float(distinct[0]), distinct[1:]), (float(distinct[-1]), distinct[:-1])):
        rest = float(np.abs(others).max()) if others.size else 0.0
        often = np.count_nonzero(sample == extreme) >= max(2, sample.size // 64)
        if abs(extreme) >= _EXTREME and abs(extreme) >= _EXTREME * rest and often and np.isfinite(rest):
            return "a mask with an extreme value"
    return None


def grid_kind_of(array: NDArray[Any]) -> str | None:
    """Return the kind of grid, or None: values in equal steps along some axis, as in anchor and position grids."""
    for lines in _all_lines(array):
        first, slack = lines[:_HEAD, 0].tolist(), 1e-6 * float(np.abs(lines).max())
        for stride in _STRIDES:
            if len(lines) < max(_SHORTEST, 4 * stride):
                break
            if (len(lines) > _HEAD or _starts_in_steps(first, stride, slack)) and _in_steps(lines, stride):
                return "a grid of equal steps"
    return None


def _table_kind(array: NDArray[Any]) -> str | None:
    """Return the kind of table, or None: every line along some axis is a sine, a geometric sequence, or in order."""
    for lines in _all_lines(array):
        if len(lines) >= 2 * _SHORTEST and not _is_flat(lines):
            if _follow_recurrences(lines, _ROUNDED_MORE if array.dtype == BFLOAT16 else _ROUNDED):
                return "a table of sines or powers"
            if _in_order(lines):
                return "a table of values in order"
    return None


def _all_lines(array: NDArray[Any]) -> Iterator[Floats]:
    """Return for each axis a part of the lines along it: (values, lines)."""
    for axis in range(array.ndim):
        if array.shape[axis] < _SHORTEST:
            continue
        part = tuple(slice(0, _LONG if place == axis else _LINES) for place in range(array.ndim))
        lines = np.moveaxis(_floats(array[part]), axis, 0)
        lines = lines.reshape(len(lines), -1)
        yield lines[:, :: max(1, lines.shape[1] // _LINES)].astype(np.float64)


def _starts_in_steps(line: list[float], stride: int, slack: float) -> bool:
    """Return whether `_in_steps` may hold of a first line: in weights most steps differ, which a few of them show."""
    count = len(line) - 2 * stride
    most = count - math.ceil(_SHARE * count - 1e-9)  # that differ
    for at in range(count):
        middle = line[at + stride]
        if not abs((line[at + 2 * stride] - middle) - (middle - line[at])) <= slack:
            most -= 1
            if most < 0:
                return False
    return True


def _in_steps(lines: Floats, stride: int) -> bool:
    """Return whether most steps between values `stride` apart equal those before, in every line, and some go on."""
    steps = lines[stride:] - lines[:-stride]
    span = np.abs(lines).max()
    same = np.abs(steps[stride:] - steps[:-stride]) <= 1e-6 * span
    moving = same & (np.abs(steps[stride:]) > 1e-6 * span)
    return bool((same.mean(axis=0) >= _SHARE).all() and (moving.mean(axis=0) >= _SHARE / 2).any())


def _follow_recurrences(lines: Floats, tolerance: float) -> bool:
    """Return whether x[i+1] + x[i−1] = c·x[i] holds along every line, as of sines, cosines and geometric sequences."""
    middle, around = lines[1:-1], lines[2:] + lines[:-2]
    power = np.einsum("ij,ij->j", middle, middle)
    c = np.einsum("ij,ij->j", middle, around) / np.where(power > 0, power, 1.0)
    return bool((np.abs(around - c * middle).max(axis=0) <= tolerance * np.abs(lines).max(axis=0)).all())


def _in_order(lines: Floats) -> bool:
    """Return whether every line rises or falls all along, most of them at most places."""
    steps = np.diff(lines, axis=0)
    ordered = (steps >= 0).all(axis=0) | (steps <= 0).all(axis=0)
    return bool(ordered.all() and np.mean((steps != 0).mean(axis=0) >= 0.5) >= 0.5)


def _is_flat(lines: Floats) -> bool:
    return bool((lines == lines[0]).all())


def _floats(array: NDArray[Any]) -> NDArray[Any]:
    return bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
