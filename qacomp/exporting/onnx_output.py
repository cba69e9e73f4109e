"""Write a container's model as an ONNX file in one of three forms (dense, lut, affine), and verify its weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from qacomp.errors import ExportError
from qacomp.exporting.onnx_forms.affine import to_affine
from qacomp.exporting.onnx_forms.compact import compact
from qacomp.exporting.onnx_forms.lut import to_lut
from qacomp.exporting.onnx_forms.saving import save_onnx
from qacomp.exporting.onnx_forms.weights import Weights, only_shared
from qacomp.exporting.onnx_forms.written import written_weights
from qacomp.exporting.onnx_options import OnnxOptions, TensorForm, WrittenOnnx
from qacomp.formats import SharedTensor
from qacomp.formats.scratch import part_folder
from qacomp.graphs.constants import constants
from qacomp.runtime.comparison import largest_difference
from qacomp.runtime.session import optimized_operators


def write_onnx_file(
    model: onnx.ModelProto,
    weights: Weights,
    output: Path,
    options: OnnxOptions,
    *,
    write_dense: Callable[[Path], int] | None = None,
) -> WrittenOnnx:
    """Write `model` with its `weights` (by value name) in the requested form, and verify them.

    Returns the sizes of the file and of the dense file, and the largest difference between the given weights and those
    that onnxruntime computes from the file. write_dense: writes the dense file and returns its bytes; `model` is then
    changed in place, and for look-up may have references instead of shared weights. Without it `model` must be dense
    and isn't changed.

    Raises:
        ExportError: onnxruntime refuses the nodes, or a weight is missing; without `write_dense` (for graphs of qacomp)
            also if onnx's checker refuses the model.
        OutputNotWritableError: `output` can't be written.
    """
    own = write_dense is None
    dtypes = {held.name: held.tensor.data_type for held in constants(model) if held.name in weights}
    if options.mode == "dense":
        error = _prove(model, weights, dtypes)
        saved = save_onnx(output, model, external=options.external, limit=options.limit, checked=own)
        return WrittenOnnx("dense", saved, saved.bytes, (), error, None, ())
    if write_dense is None:
        write_dense, model = _dense_writer(model, options), _copy(model)
    turned = only_shared(weights) if options.mode == "affine" else {}
    snapped, kept = to_affine(model, turned, options.bits, options.block) if turned else ({}, {})
    forms = [made.form for made in snapped.values()]
    for form in to_lut(model, only_shared(weights, snapped)):
        forms.append(replace(form, reason=form.reason or kept.get(form.name)))
    compact(model, keep=weights)
    error = _prove(model, weights, dtypes, {name: made.values for name, made in snapped.items()})
    error = max([error, *(form.max_abs_error for form in forms)])
    saved = save_onnx(output, model, external=options.external, limit=options.limit, checked=own)
    notes = _reasons(forms)
    with part_folder(output.parent) as folder:
        dense_bytes = write_dense(folder / "dense.onnx")
    fused = _fused(output) if snapped and saved.data_path is None else None
    if fused is not None and fused < len(snapped):
        notes.append(f"onnxruntime fuses {fused} of {len(snapped)} matrix products; the others are slower than dense")
    return WrittenOnnx(options.mode, saved, dense_bytes, tuple(forms), error, fused, tuple(notes))


def _fused(output: Path) -> int | None:
    """Return how many products onnxruntime computes on integers; None if it refuses the model."""
    try:
        return optimized_operators(output).get("MatMulNBits", 0)
    except ExportError:  # a user's graph that onnxruntime can't run anyway
        return None


def _dense_writer(dense: onnx.ModelProto, options: OnnxOptions) -> Callable[[Path], int]:
    return lambda path: save_onnx(path, dense, limit=options.limit).bytes


def _copy(model: onnx.ModelProto) -> onnx.ModelProto:
    twin = onnx.ModelProto()
    twin.CopyFrom(model)
    return twin


def _reasons(forms: Sequence[TensorForm]) -> list[str]:
    """Return the notes: one for all weights that have the same form for the same reason."""
    kept: dict[str, list[str]] = {}
    for form in forms:
        if form.reason:
            kept.setdefault(f"{form.form}, {form.reason}", []).append(form.name)
    return [f"{', '.join(names[:5])}{' ...' if names[5:] else ''}: {why}" for why, names in kept.items()]


def _prove(
    model: onnx.ModelProto,
    weights: Weights,
    dtypes: Mapping[str, int],
    snapped: Mapping[str, NDArray[Any]] | None = None,
) -> float:
    """Return the largest |difference| between the model's weights, as onnxruntime computes them, and the given ones.

    snapped: expected values of converted weights. One weight is in memory at a time. Raises ExportError if a weight is
    missing, has another shape, or can't be computed.
    """
    worst, missing, snapped = 0.0, set(weights), snapped or {}
    for name, made in written_weights(model, dtypes):
        value = snapped[name] if name in snapped else _dense(weights[name])
        if made.shape != value.shape:
            raise ExportError(f"{name}: has shape {made.shape} in the file, not {value.shape}; please report this")
        missing.discard(name)
        worst = max(worst, largest_difference(made, value))
    if missing:
        raise ExportError(f"{min(missing)}: is missing from the decoded file; please report this")
    return worst


def _dense(weight: NDArray[Any] | SharedTensor) -> NDArray[Any]:
    return weight.dense() if isinstance(weight, SharedTensor) else np.asarray(weight)
