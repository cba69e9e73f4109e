"""Put a weight on a trellis: a shared tensor whose rows the codec trellis follows, or None where that doesn't fit."""

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor
from qacomp.rate.columns import FARTHEST
from qacomp.rate.grid_form import plain_step, step_of
from qacomp.rate.matrices import View, along_axis
from qacomp.rate.steps import WeightOnGrid
from qacomp.rate.trellis import ScaledRows, is_path, on_trellis

FINER = 0.62  # of the uniform step at which a grid has about the same error (benchmark `trellis`, ResNet-20)
_LEAST_ROW = 16  # values of a row: shorter ones start too often in the state that has only even multiples
_ROOM = 1.25  # of the farthest value, since compensation moves weights
_DTYPES = (np.dtype(np.float32), np.dtype(np.float16))  # of values; those of bfloat16 come as float32
_CHUNK = 1 << 22  # values of a section, beyond which a transposed tensor is cut in the midst of its rows
_EQUAL = 2.0**-6  # relative: two roundings of `plain_step` lie between a base's step and the same one asked for


def suits(weight: WeightOnGrid) -> bool:
    """Return whether a weight's rows lie so that the codec follows them, and nothing else asks for a uniform grid."""
    values = weight.values
    if (
        values.dtype not in _DTYPES
        or values.ndim < 2
        or not values.size
        or (weight.near is not None and weight.fine is None)
    ):
        return False
    return _is_followed(_view(weight), values.shape)


def near_path(weight: WeightOnGrid, base: SharedTensor | None) -> WeightOnGrid | None:
    """Return the weight near a base that is on a trellis; None if the base's rows or steps aren't those of the weight.

    base: with one codebook, in the weight's shape; None for another form.
    """
    fine = step_of(base)
    if base is None or fine is None or not suits(weight):
        return None
    near = base.dense().astype(np.float64)
    multiples = _view(weight).matrices(np.rint(near / fine).astype(np.int64))  # (groups, rows, n)
    if not is_path(multiples.reshape(-1, multiples.shape[2])):
        return None
    return replace(weight, near=near, fine=fine, columns=None, rows=None)


def trellis_tensor(weight: WeightOnGrid, step: float) -> SharedTensor | None:
    """Return the weight on a trellis with about the error of a uniform grid of this step, or None if it has no room.

    weight: one that suits. Its codebooks are grids of at most 256 values: one, or one for each input with columns, or
    for some rows of a vocabulary. They have the dtype of the weight's values, which must tell them apart. Near a base's
    step that one is taken, and the rows rather keep the base's paths.
    """
    fine = plain_step(FINER * step)
    before = None
    if weight.near is not None and weight.fine is not None and abs(fine / weight.fine - 1) < _EQUAL:
        fine = weight.fine
        before = np.rint(weight.near / fine)
    columns, words = weight.columns_at(step), weight.rows_at(step)
    if any(own is not None and not own.fit(fine) for own in (columns, words)):
        return None
    view = _view(weight)
    matrices = view.matrices(weight.values).astype(np.float64)  # (groups, rows, n)
    groups, _, count = matrices.shape
    steps = np.full((groups, count), fine) if columns is None else columns.steps(fine)
    scaled = matrices / steps[:, None] if words is None else weight.values[None] / words.spread(fine)
    if _ROOM * float(np.abs(scaled).max()) > FARTHEST:
        return None
    paths = None if before is None else view.matrices(before)
    found = [_on_trellis(weight, scaled[g], steps[g], g, None if paths is None else paths[g]) for g in range(groups)]
    multiples = view.tensor(np.stack(found), weight.values.shape)
    if (own := columns or words) is not None:
        return own.grid_tensor(multiples, fine)
    low, high = min(int(multiples.min()), 0), max(int(multiples.max()), 1)
    with np.errstate(over="ignore"):
        book = (np.arange(low, high + 1) * fine).astype(weight.values.dtype)
    if not (np.isfinite(book).all() and (book[1:] > book[:-1]).all()):
        return None
    shape = weight.values.shape
    return SharedTensor(book.reshape(*(1 for _ in shape), -1), (multiples - low).astype(np.uint8), (), shape)


def _on_trellis(
    weight: WeightOnGrid,
    scaled: NDArray[np.float64],
    steps: NDArray[np.float64],
    group: int,
    before: NDArray[np.float64] | None,
) -> NDArray[np.int64]:
    """Return the multiples of a group's weights (rows, n), given in steps (n,); before: those of a base."""
    rows = replace(_rows(scaled, weight, steps, group), before=before)
    outputs = None if weight.factor is None else weight.factor.outputs
    if outputs is None:
        return on_trellis(rows)
    order = outputs.order[group]
    found = np.empty(scaled.shape, np.int64)
    ordered = replace(rows, weights=scaled[order], before=None if before is None else before[order])
    found[order] = on_trellis(ordered, outputs.upper[group])
    return found


def _rows(scaled: NDArray[np.float64], weight: WeightOnGrid, steps: NDArray[np.float64], group: int) -> ScaledRows:
    most = FARTHEST // 2
    if weight.factor is None:
        return ScaledRows(scaled, None, None, most)
    factor = weight.factor.inputs.natural()[group]
    unit = steps / np.diagonal(factor)  # the output error of an error of one step is the square
    power = unit**2
    return ScaledRows(scaled, factor * unit[:, None] / steps, power / power.mean(), most)


def _view(weight: WeightOnGrid) -> View:
    return along_axis(weight.values.shape, 0) if weight.view is None else weight.view


def _is_followed(view: View, shape: tuple[int, ...]) -> bool:
    """Return whether the rows of a view are those of one of the codec's ways."""
    places = view.matrices(np.arange(math.prod(shape)).reshape(shape))
    places = places.reshape(-1, places.shape[2])
    length = places.shape[1]
    if length < _LEAST_ROW:
        return False
    whole = math.prod(shape[1:])
    along = bool((places[:, 1:] - places[:, :-1] == 1).all()) and bool((places[:, 0] % length == 0).all())
    across = bool((places[:, 1:] - places[:, :-1] == whole).all()) and length == shape[0]
    return (along and length in (whole, math.prod(shape[2:]))) or (across and math.prod(shape) <= _CHUNK)
