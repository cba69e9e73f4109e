"""How an array is shared: on grids, with codebooks in blocks, or with one codebook. The decision stands here alone.

Bare arrays and ONNX weights (`qacomp.sharing.share`) ask it, and so does a network (`qacomp.training.share_network`).
Both finish what they get in their own way: an array's codebook is rounded as the file will hold it, a network's is put
on the module, where it may be trained. `finished` balances the errors once the codebook is what it will be.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.formats import SharedTensor
from qacomp.options.codebook import GridKind, grid_kind
from qacomp.sharing.affine import grid_blocks, share_on_grid
from qacomp.sharing.allocation import FINE_K, channel_weights
from qacomp.sharing.balancing import balanced
from qacomp.sharing.blocks import block_shape, share_in_blocks
from qacomp.sharing.kmeans import Clustering, kmeans
from qacomp.sharing.selection import Layer
from qacomp.sharing.symmetric import mirrored_clusters
from qacomp.sharing.zero_entry import LEAST_K, has_zeros, with_masked_zero, with_zero_entry

_SINGLE = np.dtype(np.float32)
_EXACT = 0.0  # of a clustering's inertia


@dataclass(frozen=True)
class SharingRules:
    """What is asked of all layers.

    codebook: tensor, channel, group:N, affine4 and so on (see `block_shape`, `share_on_grid`); rounding: nearest, or
    balanced, which lets errors cancel within a channel; grid_dtype: the type that will hold the values of grids.
    """

    codebook: str = "tensor"
    rounding: str = "nearest"
    grid_dtype: np.dtype[Any] = _SINGLE


@dataclass(frozen=True)
class MaskedZeros:
    """Values that stay exactly zero: those where `mask` (bool, the array's shape) is False.

    kept_k: shared values of the others. Equal to the layer's K where the zeros are so few that theirs is one more.
    """

    mask: NDArray[np.bool_]
    kept_k: int


@dataclass(frozen=True)
class Form:
    """A shared array: its codebook, in the dtype of the values, and indices.

    grid: the kind of grid where it is on grids. exact: each value is a shared value. balances: whether errors are to be
    balanced within channels. zero: the index of the entry that masked zeros have. note: a remark for the user.
    """

    shared: SharedTensor
    grid: GridKind | None = None
    exact: bool = False
    balances: bool = False
    zero: int | None = None
    note: str | None = None


def find_form(
    values: NDArray[np.floating],
    layer: Layer,
    rules: SharingRules,
    *,
    zeros: MaskedZeros | None = None,
    found: Clustering | None = None,
) -> Form:
    """Return the form in which finite `values` (any shape) are shared with at most layer.k values.

    zeros: values that a mask holds at zero. found: clusters of the values, not weighted, where there are any already.
    The codebook of a tensor that repeats itself up to signs is its own mirror image (see `qacomp.sharing.symmetric`).
    """
    if (kind := grid_kind(rules.codebook)) is not None:
        shared = share_on_grid(values, layer.axis, kind.bits, kind.block, rules.grid_dtype)
        _, whole = grid_blocks(values.shape, layer.axis, kind.block)
        return Form(shared, kind, note=whole and f"{layer.name[:80]}: a grid for each channel, since {whole}")
    blocks = block_shape(values.shape, layer.axis, rules.codebook, layer.k)
    if blocks is not None:  # zeros are among the values of a block
        return Form(share_in_blocks(values, layer.k, blocks))
    if zeros is not None:
        return _masked(values, layer, rules, zeros)
    mirrored = mirrored_clusters(values, layer.k)
    clusters = mirrored or fitted(values, layer, rules.rounding, found)
    exact = clusters.inertia == _EXACT
    wanted = rules.rounding == "balanced" and not exact
    notes = [_size_note(layer, clusters.codebook.size, layer.k, rules)]
    if wanted and mirrored is not None:
        notes.append(f"{layer.name[:80]}: it repeats itself up to signs: each value goes to the nearest shared one")
    note = "; ".join(text for text in notes if text) or None
    shared = SharedTensor(clusters.codebook, clusters.indices)
    return Form(shared, exact=exact, balances=wanted and mirrored is None, note=note)


def _masked(values: NDArray[np.floating], layer: Layer, rules: SharingRules, zeros: MaskedZeros) -> Form:
    """Share the values in the mask by one codebook, with an entry of exactly zero for the others."""
    kept = values[zeros.mask]  # (n,)
    if not kept.size:
        book, zero = np.zeros(1, values.dtype), 0
        return Form(SharedTensor(book, np.zeros(values.shape, np.uint8)), exact=True, zero=zero)
    mirrored = mirrored_clusters(values, zeros.kept_k, zeros.mask)
    clusters = mirrored or kmeans(kept, zeros.kept_k)
    note = _size_note(layer, clusters.codebook.size, zeros.kept_k, rules)
    places = np.zeros(values.shape, clusters.indices.dtype)
    places[zeros.mask] = clusters.indices
    book, indices, zero = with_masked_zero(clusters.codebook, places, zeros.mask)
    balances = rules.rounding == "balanced" and mirrored is None and zeros.kept_k == layer.k
    exact = clusters.inertia == _EXACT
    return Form(SharedTensor(book, indices), exact=exact, balances=balances, zero=zero, note=note)


def finished(
    form: Form, values: NDArray[np.floating], codebook: NDArray[np.floating], axis: int
) -> NDArray[np.unsignedinteger]:
    """Return the indices, with errors balanced within channels where the form says so.

    codebook: (K,) ascending, as it will be read; axis: the output channels'.
    """
    indices = form.shared.indices
    return balanced(values, codebook, indices, axis) if form.balances else indices


def fitted(values: NDArray[np.floating], layer: Layer, rounding: str, known: Clustering | None = None) -> Clustering:
    """Return k-means of a tensor; where errors are balanced and the codebook is fine, each channel counts for itself.

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


def _size_note(layer: Layer, size: int, k: int, rules: SharingRules) -> str | None:
    """Say where a codebook has another number of values than K, or isn't in blocks as asked."""
    name = layer.name[:80]
    if size > k:
        return f"{name}: {size} shared values instead of {k}, since its zeros keep one"
    if size < k:
        return f"{name}: {size} shared values instead of {k}"
    if rules.codebook != "tensor":
        return f"{name}: one codebook, since blocks of {rules.codebook} are too small for {layer.k} shared values"
    return None
