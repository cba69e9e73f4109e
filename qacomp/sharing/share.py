"""One array shared by k-means alone, in its own dtype: the value that a writer gets and a reader will read."""

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
from qacomp.sharing.worth import is_smaller
from qacomp.tensors.half_precision import codebook_precision

_GRID = 2.0**-100, 2.0**126  # of a tensor's largest value: single precision ends at 2⁻¹²⁶ and 2¹²⁸
_SQUARES = 2.0**-400, 2.0**400  # double precision's squares, summed up, end at 2⁻⁵¹¹ and 2⁵¹¹


@dataclass(frozen=True)
class Packed:
    """What the writer gets, and the precision of its codebooks or vector: a reader gets exactly these values.

    `kept`: why a tensor that was chosen isn't shared after all; `note`: a remark for the user.
    """

    value: NDArray[Any] | SharedTensor
    precision: str = "exact"
    kept: str | None = None
    note: str | None = None

    def dense(self) -> NDArray[Any]:
        """Return the values that a reader gets."""
        return self.value.dense() if isinstance(self.value, SharedTensor) else self.value


def share_array(
    array: NDArray[Any],
    layer: Layer,
    codebook: str,
    precision: str,
    rounding: str = "nearest",
    found: Clustering | None = None,
) -> Packed:
    """Cluster a float array (or BFLOAT16), with one codebook, with blocks of them (see `block_shape`), or on grids.

    One of at most K distinct values keeps each of them exactly, whatever `precision` says; NaN and infinity aren't
    shared, nor is a tensor that sharing doesn't make smaller than its lossless planes.
    `rounding`: balanced lets errors cancel within a channel (see `balanced`), but not where values are mirrored.
    """
    return kept_unless_smaller(shared_form(array, layer, codebook, precision, rounding, found), array, layer)


def kept_unless_smaller(item: Packed, array: NDArray[Any], layer: Layer) -> Packed:
    """Return the shared tensor, or the array itself where its codebooks and indices take as much room."""
    if not isinstance(item.value, SharedTensor) or is_smaller(item.value, array, item.precision):
        return item
    k = item.value.codebook.shape[-1]
    why = f"{k:,} shared values and their indices take no less room than its lossless planes"
    return Packed(array, kept=f"{layer.reason}, but {why}: kept exactly")


def unfit(values: NDArray[np.floating]) -> str | None:
    """Return why no errors of such values can be calculated; None where they can."""
    if not np.isfinite(values).all():
        return "it holds NaN or infinity"
    if values.dtype == np.float64 and not _lies_within(values, _SQUARES):
        return "squares of its values leave double precision"
    return None


def _lies_within(values: NDArray[np.floating], bounds: tuple[float, float]) -> bool:
    """Return whether the largest value, if there is any but zero, lies within the bounds."""
    largest = float(np.abs(values).max(initial=0.0))
    return not largest or bounds[0] <= largest <= bounds[1]


def shared_form(
    array: NDArray[Any], layer: Layer, codebook: str, precision: str, rounding: str, found: Clustering | None = None
) -> Packed:
    """Share an array as `share_array` does, whether or not that makes it smaller.

    Scales of grids are of single precision, or of the array's own half: an array near the ends of single precision or
    beyond them, float64 may be so, is kept as it is.
    """
    values = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    if (why := unfit(values)) is not None:
        return Packed(array, kept=f"{layer.reason}, but {why}: kept exactly")
    dtype = array.dtype
    if grid_kind(codebook) is not None and not _lies_within(values, _GRID):
        return Packed(array, kept=f"{layer.reason}, but it leaves no room for scales of single precision: kept exactly")
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
    """Return whether a codebook may be rounded: not an exact one, nor grids that half precision doesn't hold."""
    if form.grid is not None:
        return form.grid.bits < WIDE_BITS and is_exact_in(form.shared.codebook, precision)
    return not form.exact


def in_own_dtype(shared: SharedTensor, dtype: np.dtype[Any], precision: str, rounded: bool = True) -> Packed:
    """Give a shared tensor its codebook in the array's dtype, as the file will hold it.

    That is in this precision, where it loses no more than of ordinary values and the codebook may be `rounded`.
    """
    if dtype == BFLOAT16:
        book: NDArray[Any] = bfloat16_from_float32(shared.codebook)
    else:
        book = shared.codebook.astype(dtype, copy=False)
    kept = codebook_precision(book, precision) if rounded else "exact"
    return Packed(SharedTensor(stored_values(book, kept), shared.indices, (), shared.blocks), kept)
