"""One array shared by k-means alone, in its own dtype: what a writer gets, and what a reader will read."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import BFLOAT16, SharedTensor, bfloat16_from_float32, bfloat16_to_float32, stored_values
from qacomp.options.codebook import GridKind, grid_kind
from qacomp.sharing.affine import WIDE_BITS, grid_blocks, is_exact_in, share_on_grid
from qacomp.sharing.allocation import FINE_K, channel_weights
from qacomp.sharing.balancing import balanced
from qacomp.sharing.blocks import block_shape, share_in_blocks
from qacomp.sharing.kmeans import Clustering, kmeans
from qacomp.sharing.selection import Layer
from qacomp.sharing.symmetric import symmetric_kmeans
from qacomp.sharing.worth import is_smaller
from qacomp.sharing.zero_entry import LEAST_K, has_zeros, with_zero_entry
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
        """The values that a reader gets."""
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
    """The shared tensor, or the array itself where its codebooks and indices take as much room."""
    if not isinstance(item.value, SharedTensor) or is_smaller(item.value, array, item.precision):
        return item
    k = item.value.codebook.shape[-1]
    why = f"{k:,} shared values and their indices take no less room than its lossless planes"
    return Packed(array, kept=f"{layer.reason}, but {why}: kept exactly")


def unfit(values: NDArray[np.floating]) -> str | None:
    """Why no errors of such values can be calculated; None where they can."""
    if not np.isfinite(values).all():
        return "it holds NaN or infinity"
    if values.dtype == np.float64 and not _lies_within(values, _SQUARES):
        return "squares of its values leave double precision"
    return None


def _lies_within(values: NDArray[np.floating], bounds: tuple[float, float]) -> bool:
    """Whether the largest value, if there is any but zero, lies within the bounds."""
    largest = float(np.abs(values).max(initial=0.0))
    return not largest or bounds[0] <= largest <= bounds[1]


def shared_form(
    array: NDArray[Any], layer: Layer, codebook: str, precision: str, rounding: str, found: Clustering | None = None
) -> Packed:
    """The same whether or not it is smaller."""
    values = bfloat16_to_float32(array) if array.dtype == BFLOAT16 else array
    if (why := unfit(values)) is not None:
        return Packed(array, kept=f"{layer.reason}, but {why}: kept exactly")
    kind = grid_kind(codebook)
    if kind is not None:
        return _on_grid(values, array, layer, kind, precision)
    blocks = block_shape(values.shape, layer.axis, codebook, layer.k)
    name, note = layer.name[:80], None
    if blocks is not None:
        return _packed(share_in_blocks(values, layer.k, blocks), array.dtype, precision)
    mirrored = symmetric_kmeans(values, layer.k)
    clustering = mirrored or fitted(values, layer, rounding, found)
    if clustering.codebook.size > layer.k:
        note = f"{name}: {clustering.codebook.size} shared values instead of {layer.k}, since its zeros keep one"
    elif clustering.codebook.size < layer.k:
        note = f"{name}: {clustering.codebook.size} shared values instead of {layer.k}"
    elif codebook != "tensor":
        note = f"{name}: one codebook, since blocks of {codebook} are too small for {layer.k} shared values"
    plain = _packed(
        SharedTensor(clustering.codebook, clustering.indices), array.dtype, precision, bool(clustering.inertia)
    )
    shared = plain.value
    assert isinstance(shared, SharedTensor)
    if rounding == "balanced" and clustering.inertia and mirrored is not None:
        kept = f"{name}: its values are mirrored: each goes to the nearest shared value, so that they stay so"
        note = kept if note is None else f"{note}; {kept}"
    elif rounding == "balanced" and clustering.inertia:
        book = bfloat16_to_float32(shared.codebook) if array.dtype == BFLOAT16 else shared.codebook
        shared = replace(shared, indices=balanced(values, book, shared.indices, layer.axis))
    return Packed(shared, plain.precision, note=note)


def fitted(values: NDArray[np.floating], layer: Layer, rounding: str, known: Clustering | None = None) -> Clustering:
    """k-means of a tensor; where errors are balanced and the codebook is fine, each channel counts for itself.

    Zeros among the values keep an entry, so of these there are three at the least. known: clusters of the values, not
    weighted, where there are any.
    """
    weighted = rounding == "balanced" and layer.k >= FINE_K
    weights = channel_weights(values, layer.axis) if weighted else None
    found = known if known is not None and weights is None else kmeans(values, layer.k, weights)
    if not found.inertia or not has_zeros(values) or (found.codebook == 0).any():
        return found
    if layer.k < LEAST_K:
        found = kmeans(values, LEAST_K, weights)
    book, indices = with_zero_entry(values, found.codebook, weights)
    error = values.astype(np.float64) - book.take(indices)
    return Clustering(book, indices, float((error * error).sum()))


def _on_grid(values: NDArray[Any], array: NDArray[Any], layer: Layer, kind: GridKind, precision: str) -> Packed:
    """On grids; those that half precision doesn't hold to the last bit, as all of 8 bits, are stored exactly.

    Scales are of single precision: values near its ends or beyond them, float64 may have such, are kept as they are.
    """
    if not _lies_within(values, _GRID):
        return Packed(array, kept=f"{layer.reason}, but it leaves no room for scales of single precision: kept exactly")
    dtype = array.dtype
    held = dtype if dtype in (np.float16, BFLOAT16) else np.dtype(np.float32)
    shared = share_on_grid(values, layer.axis, kind.bits, kind.block, held)
    _, whole = grid_blocks(values.shape, layer.axis, kind.block)
    note = whole and f"{layer.name[:80]}: a grid for each channel, since {whole}"
    return replace(
        _packed(shared, dtype, precision, kind.bits < WIDE_BITS and is_exact_in(shared.codebook, precision)), note=note
    )


def _packed(shared: SharedTensor, dtype: np.dtype[Any], precision: str, rounded: bool = True) -> Packed:
    """With the codebook in the array's dtype, as the file will hold it: in this precision, where that loses no
    more than of ordinary values and it may be `rounded`."""
    if dtype == BFLOAT16:
        book: NDArray[Any] = bfloat16_from_float32(shared.codebook)
    else:
        book = shared.codebook.astype(dtype, copy=False)
    kept = codebook_precision(book, precision) if rounded else "exact"
    return Packed(SharedTensor(stored_values(book, kept), shared.indices, (), shared.blocks), kept)
