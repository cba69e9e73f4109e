"""Recognise constants by their values: grids, masks, tables of functions and sorted rows, which aren't weights.

Trained weights don't have such values. Only a part of a large tensor is checked. Doesn't need torch.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, bfloat16_to_float32
from qacomp.tensors.name_roles import POSITIONS, role_of

_LONG, _LINES = 1024, 64  # most values of a line, and most lines along an axis, that are checked
_SHORTEST = 8  # values of a line; on shorter lines random numbers too often look like equal steps
_SHARE = 0.6  # least fraction of steps that equal the step before; at the ends of a grid's rows they don't
_HEAD = 128  # the first values of a line, which are checked first to be quick
_STRIDES = (1, 2, 3, 4, 5, 6, 8, 9)  # numbers of boxes of a cell in a detector's priors
_EXTREME = 1e4  # least size of an extreme value, and its least ratio to all other values
_ROUNDED, _ROUNDED_MORE = 2e-3, 2e-2  # tolerance relative to a line's largest value, for fp16 and for bfloat16 tables
_PART = 1 << 22  # values that are checked at once
_NAMES = {
    "anchors", "anchor_grid", "priors", "prior_boxes", "inv_freq", "freqs_cis", "cos_cached", "sin_cached", "cos_cache",
    "sin_cache", "position_ids", "relative_position_index", "alibi", "alibi_slopes", "attn_mask", "causal_mask",
    "fb", "mel_basis", "mel_filters", "mel_fb", "filterbank", "window", "dct_mat",
}  # fmt: skip
_NAMES_OF_REPEATED = {"grid", "mask"}  # constants only if values repeat, which learned values don't

Floats = NDArray[np.float64]


def constant_kind(array: NDArray[Any]) -> str | None:
    """Return in words what kind of constant a float (or BFLOAT16) array of any shape is; None if it may be a weight.

    An array with NaN isn't a constant; a mask may hold infinities.
    """
    if array.ndim == 0 or not array.size:
        return None
    if (found := mask_kind(array)) is not None:
        return found
    flat = array.reshape(-1)
    if not all(np.isfinite(_floats(flat[at : at + _PART])).all() for at in range(0, flat.size, _PART)):
        return None
    return grid_kind_of(array) or _table_kind(array)


def constant_name(name: str, array: NDArray[Any]) -> str | None:
    """Return what kind of constant a tensor is by its name, or None; for tensors without a graph."""
    leaf = name.rpartition(".")[2].lower()
    if leaf in _NAMES:
        return leaf
    if role_of(name) == POSITIONS:
        return f"a {POSITIONS}"
    repeated = leaf in _NAMES_OF_REPEATED and 2 * np.unique(_floats(array)).size <= array.size
    return leaf if repeated else None


def mask_kind(array: NDArray[Any]) -> str | None:
    """Return the kind of mask, or None: zeros and ones, or an extreme value that occurs often and exceeds the rest."""
    values = array.reshape(-1)
    sample = _floats(values[:: max(1, values.size // (_LONG * _LINES))])
    low, high = float(sample.min()), float(sample.max())  # NaN if the sample holds one
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
    """Return the kind of grid, or None: values with equal steps along an axis, as in anchor and position grids."""
    for lines in _all_lines(array):
        first, slack = lines[:_HEAD, 0].tolist(), 1e-6 * float(np.abs(lines).max())
        for stride in _STRIDES:
            if len(lines) < max(_SHORTEST, 4 * stride):
                break
            if (len(lines) > _HEAD or _starts_in_steps(first, stride, slack)) and _in_steps(lines, stride):
                return "a grid of equal steps"
    return None


def _table_kind(array: NDArray[Any]) -> str | None:
    """Return the kind of table, or None: along an axis all lines are sines, geometric sequences, or sorted."""
    for lines in _all_lines(array):
        if len(lines) >= 2 * _SHORTEST and not _is_flat(lines):
            if _follow_recurrences(lines, _ROUNDED_MORE if array.dtype == BFLOAT16 else _ROUNDED):
                return "a table of sines or powers"
            if _in_order(lines):
                return "a table of values in order"
    return None


def _all_lines(array: NDArray[Any]) -> Iterator[Floats]:
    """Yield for each axis some of the lines along it: float64 (values, lines)."""
    for axis in range(array.ndim):
        if array.shape[axis] < _SHORTEST:
            continue
        part = tuple(slice(0, _LONG if place == axis else _LINES) for place in range(array.ndim))
        lines = np.moveaxis(_floats(array[part]), axis, 0)
        lines = lines.reshape(len(lines), -1)
        yield lines[:, :: max(1, lines.shape[1] // _LINES)].astype(np.float64)


def _starts_in_steps(line: list[float], stride: int, slack: float) -> bool:
    """Return whether a first line doesn't rule `_in_steps` out; for weights a few values do, as most steps differ."""
    count = len(line) - 2 * stride
    most = count - math.ceil(_SHARE * count - 1e-9)  # steps that may differ
    for at in range(count):
        middle = line[at + stride]
        if not abs((line[at + 2 * stride] - middle) - (middle - line[at])) <= slack:
            most -= 1
            if most < 0:
                return False
    return True


def _in_steps(lines: Floats, stride: int) -> bool:
    """Return whether in every line most steps (of values `stride` apart) equal the one before, and some aren't 0."""
    steps = lines[stride:] - lines[:-stride]
    span = np.abs(lines).max()
    same = np.abs(steps[stride:] - steps[:-stride]) <= 1e-6 * span
    moving = same & (np.abs(steps[stride:]) > 1e-6 * span)
    return bool((same.mean(axis=0) >= _SHARE).all() and (moving.mean(axis=0) >= _SHARE / 2).any())


def _follow_recurrences(lines: Floats, tolerance: float) -> bool:
    """Return whether x[i+1] + x[i−1] = c·x[i] holds along every line, as for sines, cosines and geometric sequences."""
    middle, around = lines[1:-1], lines[2:] + lines[:-2]
    power = np.einsum("ij,ij->j", middle, middle)
    c = np.einsum("ij,ij->j", middle, around) / np.where(power > 0, power, 1.0)
    return bool((np.abs(around - c * middle).max(axis=0) <= tolerance * np.abs(lines).max(axis=0)).all())


def _in_order(lines: Floats) -> bool:
    """Return whether every line is sorted, and at least half of the lines change at half of their steps or more."""
    steps = np.diff(lines, axis=0)
    ordered = (steps >= 0).all(axis=0) | (steps <= 0).all(axis=0)
    return bool(ordered.all() and np.mean((steps != 0).mean(axis=0) >= 0.5) >= 0.5)


def _is_flat(lines: Floats) -> bool:
    return bool((lines == lines[0]).all())


def _floats(array: NDArray[Any]) -> NDArray[Any]:
    return bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
