"""Decide how an array is shared: on grids, with codebooks in blocks, or with one codebook.

Both arrays (`qacomp.sharing.share`) and networks (`qacomp.training.share_network`) use this decision. An array's
codebook is then rounded as the file will store it, and a network's codebook is put on the module, where it may be
trained. `finished` balances the errors when the codebook is final.
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
from qacomp.sharing.kmeans import Clustering, inertia_of, kmeans
from qacomp.sharing.near_base import near_base
from qacomp.sharing.selection import Layer
from qacomp.sharing.symmetric import mirrored_clusters
from qacomp.sharing.zero_entry import LEAST_K, has_zeros, with_masked_zero, with_zero_entry

_SINGLE = np.dtype(np.float32)
_EXACT = 0.0  # inertia of a clustering without errors


@dataclass(frozen=True)
class SharingRules:
    """The settings of sharing for all layers.

    codebook: "tensor", "channel", "group:N" (see `block_shape`) or a grid such as "affine4" (see `share_on_grid`);
    rounding: "nearest", or "balanced" so that errors cancel within a channel; grid_dtype: the type that will store the
    values of grids.
    """

    codebook: str = "tensor"
    rounding: str = "nearest"
    grid_dtype: np.dtype[Any] = _SINGLE


@dataclass(frozen=True)
class MaskedZeros:
    """Values that stay exactly zero. mask: bool in the array's shape, False for these values.

    kept_k: number of shared values for the other values. It may equal the layer's K; the zero is then one more.
    """

    mask: NDArray[np.bool_]
    kept_k: int


@dataclass(frozen=True)
class Form:
    """A shared array: codebook, in the dtype of the values, and indices.

    grid: the kind of grid, None for other codebooks; exact: each value is a shared value; balances: whether `finished`
    shall balance errors within channels; zero: index of the entry for masked zeros; note: for the user.
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
    """Share finite `values` (any shape) with at most layer.k shared values (more only for zeros, with a note).

    zeros: values that stay exactly zero; found: unweighted clusters of the values, if they are known already. A tensor
    that repeats itself up to signs gets a symmetric codebook (see `qacomp.sharing.symmetric`), and one with a base
    stays near it (see `near_base`).
    """
    if (kind := grid_kind(rules.codebook)) is not None:
        shared = share_on_grid(values, layer.axis, kind.bits, kind.block, rules.grid_dtype)
        _, whole = grid_blocks(values.shape, layer.axis, kind.block)
        return Form(shared, kind, note=whole and f"{layer.name[:80]}: has one grid for each channel, since {whole}")
    blocks = block_shape(values.shape, layer.axis, rules.codebook, layer.k)
    if blocks is not None:  # each block keeps its own zeros
        return Form(share_in_blocks(values, layer.k, blocks))
    if zeros is not None:
        return _masked(values, layer, rules, zeros)
    if (near := near_base(values, layer)) is not None:
        return Form(SharedTensor(near.codebook, near.indices), exact=near.inertia == _EXACT)
    mirrored = mirrored_clusters(values, layer.k)
    clusters = mirrored or fitted(values, layer, rules.rounding, found)
    exact = clusters.inertia == _EXACT
    wanted = rules.rounding == "balanced" and not exact
    notes = [_size_note(layer, clusters.codebook.size, layer.k, rules)]
    if wanted and mirrored is not None:
        notes.append(f"{layer.name[:80]}: repeats itself up to signs, so it is rounded to nearest, not balanced")
    note = "; ".join(text for text in notes if text) or None
    shared = SharedTensor(clusters.codebook, clusters.indices)
    return Form(shared, exact=exact, balances=wanted and mirrored is None, note=note)


def _masked(values: NDArray[np.floating], layer: Layer, rules: SharingRules, zeros: MaskedZeros) -> Form:
    """Share the values in the mask with one codebook, which gets an entry of exactly zero for the other values."""
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
    """Return the final indices, with errors balanced within channels if the form says so.

    codebook: (K,) ascending, as a reader will get it; axis: that of the output channels.
    """
    indices = form.shared.indices
    return balanced(values, codebook, indices, axis) if form.balances else indices


def fitted(values: NDArray[np.floating], layer: Layer, rounding: str, known: Clustering | None = None) -> Clustering:
    """Cluster a tensor by k-means; for balanced errors and a fine codebook, errors are weighted by channel.

    If there are exact zeros, they keep an entry and there are at least three entries. known: unweighted clusters of the
    values, if they are known already.
    """
    weighted = rounding == "balanced" and layer.k >= FINE_K
    weights = channel_weights(values, layer.axis) if weighted else None
    found = known if known is not None and weights is None else kmeans(values, layer.k, weights)
    if not found.inertia or not has_zeros(values) or (found.codebook == 0).any():
        return found
    if layer.k < LEAST_K:
        found = kmeans(values, LEAST_K, weights)
    book, indices = with_zero_entry(values, found.codebook, weights)
    return Clustering(book, indices, inertia_of(values.reshape(-1), book, indices.reshape(-1)))


def _size_note(layer: Layer, size: int, k: int, rules: SharingRules) -> str | None:
    """Return a note if a codebook doesn't have K values, or isn't in blocks although that was requested."""
    name = layer.name[:80]
    if size > k:
        return f"{name}: {size} shared values instead of {k}, since one is needed for its zeros"
    if size < k:
        return f"{name}: {size} shared values instead of {k}"
    if rules.codebook != "tensor":
        return f"{name}: one codebook, since blocks of {rules.codebook} are too small for {layer.k} shared values"
    return None
