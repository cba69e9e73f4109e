"""Decide which codebooks and vectors of a network are stored in half precision, and which must stay exact."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from qacomp.formats import SharedTensor
from qacomp.graphs.batch_norm import foldable_batch_norms
from qacomp.rate.grid_form import grid_precision
from qacomp.sharing.affine import grid_numbers, is_exact_in
from qacomp.tensors.half_precision import MOST_REACHES, codebook_precision, holds, holds_bias, vectors_held

Floats = NDArray[np.float64]
CODEBOOK = "codebook"


@dataclass(frozen=True)
class Spread:
    """A batch norm before folding, each (channels,): |γ|, and the mean and standard deviation of its input."""

    gamma: Floats
    mean: Floats
    deviation: Floats


def spreads(model: nn.Module) -> dict[str, Spread]:
    """Return the spread of each batch norm that `fold_statistics` will fold, by its path."""
    found = {}
    for path in foldable_batch_norms(model):
        module = model.get_submodule(path)
        if isinstance(module, _BatchNorm) and module.running_var is not None and module.running_mean is not None:
            with torch.no_grad():
                mean = module.running_mean.double().cpu().numpy()
                deviation = (module.running_var.double() + module.eps).clamp(min=0).sqrt().cpu().numpy()
                gamma = np.ones_like(mean) if module.weight is None else module.weight.double().abs().cpu().numpy()
            found[path] = Spread(gamma.copy(), mean.copy(), deviation.copy())
    return found


def rounded_names(
    tensors: Mapping[str, NDArray[np.generic] | SharedTensor], norms: Mapping[str, Spread], precision: str, vectors: str
) -> dict[str, str]:
    """Return the tensors that may be rounded: name -> description, as in "codebook" or "bias of Conv, a vector".

    precision: of codebooks; vectors: precision of biases and norms.
    tensors: as they will be stored, with batch norms folded; norms: the statistics of those batch norms before folding.
    The statistics give the size of a folded scale's inputs, and |γ| that of its outputs.
    """
    dense = {name: value.dense() if isinstance(value, SharedTensor) else value for name, value in tensors.items()}
    found = vectors_held(dense, vectors)
    for path, spread in norms.items():
        prefix = f"{path}." if path else ""
        names = [f"{prefix}weight", f"{prefix}bias"]
        for name in names:
            found.pop(name, None)
        if all(name in dense for name in names) and _holds_folded(dense[names[0]], dense[names[1]], spread, vectors):
            found |= {names[0]: "batch norm's scale, a vector", names[1]: "batch norm's shift, a vector"}
    for name, value in tensors.items():
        if isinstance(value, SharedTensor) and _holds_codebooks(value, precision):
            found[name] = CODEBOOK
    return found


def agreed(rounded: Mapping[str, str], tied: Mapping[str, str]) -> dict[str, str]:
    """Return `rounded` without tied tensors of which it has only some names; tied: other name -> first name."""
    apart = {tied[name] for name in tied if (name in rounded) != (tied[name] in rounded)}
    return {name: what for name, what in rounded.items() if name not in apart and tied.get(name) not in apart}


def _holds_folded(scale: NDArray[np.generic], shift: NDArray[np.generic], spread: Spread, precision: str) -> bool:
    """Return whether `precision` may hold a folded batch norm: rounding errors are small beside γ, its output size."""
    typical = float(np.sqrt(np.mean(spread.gamma**2)))
    size = np.sqrt(spread.deviation**2 + spread.mean**2)
    offset = np.abs(scale.astype(np.float64) * spread.mean).max()
    return (
        holds(scale, precision, size)
        and holds_bias(shift, precision, typical)
        and bool(offset <= MOST_REACHES * typical)
    )


def _holds_codebooks(value: SharedTensor, precision: str) -> bool:
    books = [value.codebook, *(level.codebook for level in value.levels)]
    if any(codebook_precision(book, precision) == "exact" for book in books):
        return False
    if value.blocks is None and not value.levels and grid_precision(value, precision) == "exact":
        return False
    return grid_numbers(value) is None or is_exact_in(
        value.codebook, precision
    )  # rounding would make a grid's steps unequal
