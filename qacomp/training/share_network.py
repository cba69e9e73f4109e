"""Share the weights of a whole network: by each layer's learned representatives, or by k-means if it has none."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import nn

from qacomp.sharing.assignment import assign
from qacomp.sharing.form import MaskedZeros, SharingRules, find_form, finished
from qacomp.sharing.selection import Layer, Selection
from qacomp.sharing.zero_entry import with_masked_zero
from qacomp.training.parametrizations.grid import share_weight_on_grid
from qacomp.training.parametrizations.shared import share_weight, share_weight_in_blocks
from qacomp.training.parametrizations.straight_through import harvest, is_straight_through
from qacomp.training.parametrizations.zeros import NO_ZEROS, Zeros
from qacomp.training.quantizers import is_quantized, take_levels
from qacomp.training.regularizers import Regularizer

PLAIN = SharingRules()


def share_network(
    model: nn.Module,
    selection: Selection,
    penalties: Mapping[str, Regularizer],
    note: Callable[[str], None],
    zeros: Zeros = NO_ZEROS,
    rules: SharingRules = PLAIN,
) -> None:
    """Replace the selected weights of `model`, in place, by shared ones.

    A layer with a quantizer or straight-through sharing keeps its clusters and values. The weights of a layer with a
    regularizer are assigned to its representatives, and each shared value is then the centroid of its cluster
    (Malchiodi et al., section III-C). All other layers are shared like bare arrays (see `qacomp.sharing.form`).
    Weights that `zeros` holds get a codebook entry of exactly zero. note: called with a text for each layer that gets
    fewer shared values or larger blocks than asked for.
    """
    for layer in selection.layers:
        quantized = is_quantized(model, layer.name) and layer.name in penalties
        k = len(penalties[layer.name].representatives()) if quantized else layer.k  # bits may have been learned
        learned = _learned(model, layer.name, penalties, zeros.mask(layer.name), rules)
        if learned is None:
            _share_plain(model, layer, zeros, rules, note)
            continue
        codebook, indices, zero = *learned, None
        if codebook.size < k:
            note(f"{layer.name}: {codebook.size} shared values instead of {k}: the other clusters are empty")
        if (mask := zeros.mask(layer.name)) is not None:
            codebook, indices, zero = with_masked_zero(codebook, indices, mask)
        share_weight(model, layer.name, codebook, indices, zero)


def _learned(
    model: nn.Module,
    name: str,
    penalties: Mapping[str, Regularizer],
    mask: NDArray[np.bool_] | None,
    rules: SharingRules,
) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger]] | None:
    """Return the codebook (K',) and the indices that training found for a weight; None if it found none."""
    if rules.codebook != "tensor":
        return None
    if is_quantized(model, name):
        return take_levels(model, name)
    if is_straight_through(model, name):
        return harvest(model, name)
    if name not in penalties:
        return None
    weights = _weights(model, name)
    levels = penalties[name].representatives().detach().cpu().numpy()
    return recentred(weights, assign(weights, levels), mask)


def _share_plain(
    model: nn.Module, layer: Layer, zeros: Zeros, rules: SharingRules, note: Callable[[str], None]
) -> None:
    """Share one layer's weight by k-means or on grids, and replace the weight in the module."""
    mask, weights = zeros.mask(layer.name), _weights(model, layer.name)
    whole = layer if mask is None or layer.name in zeros.few else replace(layer, k=layer.k + 1)  # plus the zero entry
    masked = None if mask is None else MaskedZeros(mask, layer.k)
    form = find_form(weights, whole, rules, zeros=masked)
    if form.note:
        note(form.note)
    if form.grid is not None:
        share_weight_on_grid(model, layer.name, form.shared)
    elif form.shared.blocks is not None:
        share_weight_in_blocks(model, layer.name, form.shared)
    else:
        book = form.shared.codebook
        share_weight(model, layer.name, book, finished(form, weights, book, layer.axis), form.zero)


def _weights(model: nn.Module, name: str) -> NDArray[np.floating]:
    weights: NDArray[np.floating] = model.get_parameter(name).detach().cpu().contiguous().numpy()
    return weights


def recentred(
    weights: NDArray[np.floating], indices: NDArray[np.unsignedinteger], mask: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.floating], NDArray[np.unsignedinteger]]:
    """Return each used cluster's centroid (K',) and the indices renumbered to them; unused clusters are dropped.

    With a mask only the weights where it is True count; the indices of the others are set to 0 and have no meaning.
    """
    if mask is not None:
        codebook, kept = recentred(weights[mask], indices[mask])
        full = np.zeros(indices.shape, kept.dtype)
        full[mask] = kept
        return codebook, full
    used, renumbered = np.unique(indices, return_inverse=True)
    renumbered = renumbered.reshape(-1)
    sums = np.bincount(renumbered, weights=weights.reshape(-1), minlength=used.size)  # (K',) float64
    codebook = (sums / np.bincount(renumbered, minlength=used.size)).astype(weights.dtype)
    return codebook, renumbered.reshape(indices.shape).astype(indices.dtype)
