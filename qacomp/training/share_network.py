"""Sharing a whole network's weights: by each layer's learned representatives, or by k-means where it has none."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from torch import nn

from qacomp.options.codebook import grid_kind
from qacomp.sharing.affine import grid_blocks, share_on_grid
from qacomp.sharing.balancing import balanced
from qacomp.sharing.blocks import block_shape, share_in_blocks
from qacomp.sharing.kmeans import assign, kmeans
from qacomp.sharing.selection import Layer, Selection
from qacomp.sharing.share import fitted
from qacomp.training.parametrizations.grid import share_weight_on_grid
from qacomp.training.parametrizations.shared import share_weight, share_weight_in_blocks
from qacomp.training.parametrizations.straight_through import harvest, is_straight_through
from qacomp.training.parametrizations.zeros import NO_ZEROS, Zeros, with_zero
from qacomp.training.quantizers import is_quantized, take_levels
from qacomp.training.regularizers import Regularizer


def share_network(
    model: nn.Module,
    selection: Selection,
    penalties: Mapping[str, Regularizer],
    note: Callable[[str], None],
    zeros: Zeros = NO_ZEROS,
    books: str = "tensor",
    rounding: str = "nearest",
) -> None:
    """Replace the selected weights of `model`, in place, by shared ones.

    A layer behind a quantizer or straight-through sharing keeps its clusters and values. One with a regularizer is
    assigned to its levels, and each is then recomputed as its cluster's centroid (Malchiodi et al., section III-C).
    `books`: the codebooks of k-means, one for a layer, in blocks, or on grids (see qacomp.sharing.blocks, affine).
    `rounding`: balanced lets the errors of k-means cancel within a channel (qacomp.sharing.balancing).
    Weights that `zeros` holds get an entry of exact zero, one more than the layer's K. `note` hears of layers that end
    with fewer shared values than asked for, or with larger blocks.
    """
    kind = grid_kind(books)
    for layer in selection.layers:
        name, mask, zero, clustered = layer.name, zeros.mask(layer.name), None, False
        if kind is not None:
            if whole := grid_blocks(layer.shape, layer.axis, kind.block)[1]:
                note(f"{layer.name}: a grid for each channel, since {whole}")
            shared = share_on_grid(_weights(model, name), layer.axis, kind.bits, kind.block)
            share_weight_on_grid(model, name, shared)
            continue
        k = layer.k + (name in zeros.masks and name not in zeros.few)  # zero is one of a block's values
        blocks = block_shape(layer.shape, layer.axis, books, k)
        if blocks is not None:
            share_weight_in_blocks(model, name, share_in_blocks(_weights(model, name), k, blocks))
            continue
        if is_quantized(model, name):
            codebook, indices = take_levels(model, name)
        elif is_straight_through(model, name):
            codebook, indices = harvest(model, name)
        elif name in penalties:
            weights = _weights(model, name)
            levels = penalties[name].levels().detach().cpu().numpy()
            codebook, indices = recentred(weights, assign(weights, levels), mask)
        else:
            codebook, indices = _clustered(_weights(model, name), layer, mask, rounding)
            clustered = True
        if codebook.size < layer.k:
            note(f"{layer.name}: {codebook.size} shared values, not {layer.k}: its weights fill no more clusters")
        if mask is not None:
            codebook, indices, zero = with_zero(codebook, indices, mask)
            if clustered and rounding == "balanced" and name in zeros.few:
                indices = balanced(_weights(model, name), codebook, indices, layer.axis)
        share_weight(model, name, codebook, indices, zero)


def _weights(model: nn.Module, name: str) -> NDArray[np.floating]:
    weights: NDArray[np.floating] = model.get_parameter(name).detach().cpu().contiguous().numpy()
    return weights


def _clustered(
    weights: NDArray[np.floating], layer: Layer, mask: NDArray[np.bool_] | None, rounding: str
) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]:
    """k-means of the weights, or of those in the mask; the others get any index."""
    if mask is None:
        whole = fitted(weights, layer, rounding)
        if rounding != "balanced":
            return whole.codebook, whole.indices
        return whole.codebook, balanced(weights, whole.codebook, whole.indices, layer.axis)
    if not mask.any():
        return np.zeros(1, weights.dtype), np.zeros(weights.shape, np.uint8)
    codebook = kmeans(weights[mask], layer.k).codebook
    return codebook, assign(weights, codebook)


def recentred(
    weights: NDArray[np.floating], indices: NDArray[np.unsignedinteger], mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]:
    """Each used cluster's centroid (K',) and the indices renumbered to them; unused clusters are dropped.

    With a mask only the weights in it count, and the others' indices mean nothing.
    """
    if mask is not None:
        codebook, living = recentred(weights[mask], indices[mask])
        full = np.zeros(indices.shape, living.dtype)
        full[mask] = living
        return codebook, full
    used, renumbered = np.unique(indices, return_inverse=True)
    renumbered = renumbered.reshape(-1)
    sums = np.bincount(renumbered, weights=weights.reshape(-1), minlength=used.size)  # (K',) float64
    codebook = (sums / np.bincount(renumbered, minlength=used.size)).astype(weights.dtype)
    return codebook, renumbered.reshape(indices.shape).astype(indices.dtype)
