"""Share one array without training, in its own dtype; the result is exactly what a reader of the file gets."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, SharedTensor, bfloat16_from_float32, bfloat16_to_float32, stored_values
from qacomp.options.codebook import grid_kind
from qacomp.sharing.affine import WIDE_BITS, is_exact_in
from qacomp.sharing.form import Form, SharingRules, find_form, finished
from qacomp.sharing.kmeans import Clustering
from qacomp.sharing.selection import Layer
from qacomp.sharing.worth import float_bits, is_smaller, shared_bits
from qacomp.tensors.half_precision import codebook_precision

_GRID = 2.0**-100, 2.0**126  # bounds of a tensor's largest value for grids; float32 ends at 2⁻¹²⁶ and 2¹²⁸
_SQUARES = 2.0**-400, 2.0**400  # bounds for sums of squares, which fit float64 from 2⁻⁵¹¹ to 2⁵¹¹


@dataclass(frozen=True)
class Packed:
    """A tensor for the writer, and the precision in which its codebooks are stored; a reader gets exactly these values.

    kept: why a selected tensor isn't shared after all, or None; note: for the user, or None.
    """

    value: NDArray[Any] | SharedTensor
    precision: str = "exact"
    kept: str | None = None
    note: str | None = None

    def dense(self) -> NDArray[Any]:
        """Return the dense values that a reader gets."""
        return self.value.dense() if isinstance(self.value, SharedTensor) else self.value


def share_array(
    array: NDArray[Any],
    layer: Layer,
    codebook: str,
    precision: str,
    rounding: str = "nearest",
    found: Clustering | None = None,
) -> Packed:
    """Share a float (or BFLOAT16) array: with one codebook, with codebooks in blocks (see `block_shape`), or on grids.

    An array of at most K distinct values keeps them exactly, whatever `precision` says. An array with NaN or infinity
    isn't shared, and neither is one that wouldn't get smaller than its lossless planes. rounding: "nearest", or
    "balanced" so that errors cancel within a channel (see `balanced`), except with a symmetric codebook; found:
    clusters of the values, if they are known already.
    """
    return kept_unless_smaller(shared_form(array, layer, codebook, precision, rounding, found), array, layer)


def estimated_bits(item: Packed) -> float:
    """Estimate the bits of a tensor in a container, without coding it."""
    value = item.value
    return shared_bits(value, item.precision) if isinstance(value, SharedTensor) else float_bits(value)


def kept_unless_smaller(item: Packed, array: NDArray[Any], layer: Layer) -> Packed:
    """Return the shared tensor, or the array itself if codebooks and indices don't take fewer bytes."""
    if not isinstance(item.value, SharedTensor) or is_smaller(item.value, array, item.precision):
        return item
    k = item.value.codebook.shape[-1]
    why = f"{k:,} shared values and their indices take no fewer bytes than its lossless planes"
    return Packed(array, kept=f"{layer.reason}, but {why}: kept exactly")


def unfit(values: NDArray[np.floating]) -> str | None:
    """Return why errors of these values can't be computed, or None if they can."""
    if not np.isfinite(values).all():
        return "it holds NaN or infinity"
    if values.dtype == np.float64 and not _lies_within(values, _SQUARES):
        return "squares of its values don't fit double precision"
    return None


def _lies_within(values: NDArray[np.floating], bounds: tuple[float, float]) -> bool:
    """Return whether the largest absolute value is within the bounds, or all values are zero."""
    largest = float(np.abs(values).max(initial=0.0))
    return not largest or bounds[0] <= largest <= bounds[1]


def shared_form(
    array: NDArray[Any], layer: Layer, codebook: str, precision: str, rounding: str, found: Clustering | None = None
) -> Packed:
    """Share an array as `share_array` does, even if that doesn't make it smaller.

    Scales of grids are float32, or in the array's own 16-bit type. So for grids an array whose largest value is near or
    beyond the limits of float32 is kept exactly.
    """
    values = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    if (why := unfit(values)) is not None:
        return Packed(array, kept=f"{layer.reason}, but {why}: kept exactly")
    dtype = array.dtype
    if grid_kind(codebook) is not None and not _lies_within(values, _GRID):
        return Packed(array, kept=f"{layer.reason}, but scales of its grid don't fit single precision: kept exactly")
    held = dtype if dtype in (np.float16, BFLOAT16) else np.dtype(np.float32)
    form = find_form(values, layer, SharingRules(codebook, rounding, held), found=found)
    packed = in_own_dtype(form.shared, dtype, precision, _is_rounded(form, precision))
    shared = packed.value
    assert isinstance(shared, SharedTensor)
    if form.balances:
        book = bfloat16_to_float32(shared.codebook) if dtype == BFLOAT16 else shared.codebook
        shared = replace(shared, indices=finished(form, values, book, layer.axis))
    return Packed(shared, packed.precision, note=form.note)


def _is_rounded(form: Form, precision: str) -> bool:
    """Return whether a codebook may be rounded: not if it is exact, and a grid only if its values stay exact."""
    if form.grid is not None:
        return form.grid.bits < WIDE_BITS and is_exact_in(form.shared.codebook, precision)
    return not form.exact


def in_own_dtype(shared: SharedTensor, dtype: np.dtype[Any], precision: str, rounded: bool = True) -> Packed:
    """Return a shared tensor with its codebook in the array's dtype and as the file will store it.

    The codebook is rounded to `precision` if `rounded` allows it and it loses little (see `codebook_precision`).
    """
    if dtype == BFLOAT16:
        book: NDArray[Any] = bfloat16_from_float32(shared.codebook)
    else:
        book = shared.codebook.astype(dtype, copy=False)
    kept = codebook_precision(book, precision) if rounded else "exact"
    return Packed(SharedTensor(stored_values(book, kept), shared.indices, (), shared.blocks), kept)
