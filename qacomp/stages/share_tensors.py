"""Compression without an architecture: every matrix and filter is shared by k-means, the rest kept, no graph."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from qacomp.checkpoints import Checkpoint, check_finite, kept_note
from qacomp.evaluation.verdict import judge
from qacomp.exporting.operating_points import operating_points
from qacomp.formats import SharedTensor, Writer, open_file
from qacomp.options.config import CompressConfig
from qacomp.runtime.operator_errors import weight_error
from qacomp.sharing.agreement import raised_note, refined_alone
from qacomp.sharing.alike_kmeans import clustered_ahead
from qacomp.sharing.kmeans import Clustering
from qacomp.sharing.nested_arrays import share_nested
from qacomp.sharing.selection import Layer
from qacomp.sharing.share import Packed, share_array
from qacomp.sources.provenance import provenance
from qacomp.sources.source_size import SourceSize
from qacomp.sources.torch_weights import select_tensors
from qacomp.stages.figures import Figures
from qacomp.stages.resolve import SHARING, refuse_layer_methods, untrained
from qacomp.stages.run import Run
from qacomp.tensors.foreign_dtypes import META_KEY
from qacomp.tensors.half_precision import vectors_held
from qacomp.tensors.safetensors_metadata import META_KEY as SAFETENSORS_KEY
from qacomp.tensors.torch_format import foreign_dtypes, to_array
from qacomp.tensors.weight_parts import exact_parts
from qacomp.training.history import WeightHistory


def compress_tensors(checkpoint: Checkpoint, config: CompressConfig, output: Path, run: Run) -> Figures:
    """Compress the tensors of `checkpoint` into the container `output`, which is written whole or not at all.

    Raises ConfigError for settings that need the layers, or that fit no tensor.
    """
    if checkpoint.kind != "module":
        run.note("no architecture (--arch): weights only, no accuracy; decode gives a .safetensors file")
    refuse_layer_methods(config, "needs to know the layers: give --arch")
    config = untrained(config, SHARING, run.note, "no network to train: weights are shared by k-means alone")
    selection = select_tensors(checkpoint.state, config.scope, config.k, config.k_layers, **config.which)
    check_finite(checkpoint.path, checkpoint.state, [layer.name for layer in selection.layers])
    for remark in kept_note(checkpoint.state):
        run.note(remark)
    if not selection.layers:
        run.note("no tensor is shared, everything is kept exactly; the reasons are listed")
    parts = exact_parts(checkpoint.state)
    if parts:
        run.note(f"{len(parts)} parts of weights ({_few(parts)}): kept exactly, what they multiply is shared")
    arrays = {name: to_array(tensor) for name, tensor in checkpoint.state.items()}
    held = vectors_held(arrays, config.stored_precision)
    rounded = {name: reason for name, reason in held.items() if name not in parts}
    selection = selection.with_reasons(rounded)
    packed = {
        name: Packed(array, config.stored_precision if name in rounded else "exact") for name, array in arrays.items()
    }
    with run.stage("share"):
        selection = refined_alone(selection, config, lambda name: packed[name].dense())
        if text := raised_note(selection.layers, config.k):
            run.note(text)
        known = _clustered_ahead(selection.layers, config, packed)
        for layer, found in zip(selection.layers, known, strict=True):
            item = _share(packed[layer.name], layer, config, found)
            packed |= dict.fromkeys(layer.names, item)
            if item.kept:
                selection = selection.without(layer, item.kept)
            if item.note:
                run.note(item.note)
    size = SourceSize.of_state(checkpoint.state)
    run.operator_errors = {
        name: weight_error(to_array(checkpoint.state[name]), item.dense())
        for name, item in packed.items()
        if isinstance(item.value, SharedTensor)
    }
    run.verdict = judge(None, run.operator_errors)
    meta = _metadata(checkpoint, config, size) | run.verdict.to_json()
    with run.stage("encode"), Writer(output, meta=meta) as writer:
        for name, item in packed.items():
            writer.add(name, item.value, item.precision)
    report = writer.report
    assert report is not None
    weights = WeightHistory([layer.name for layer in selection.layers], checkpoint.state)
    run.weights, run.errors = weights.finished(), weights.errors({n: item.value for n, item in packed.items()})
    result = run.result(output, str(checkpoint.path), size, config, report, selection)
    with open_file(output) as container:
        return replace(result, operating_points=operating_points(container, str(output)))


def _few(names: Collection[str]) -> str:
    return ", ".join(name[:80] for name in list(names)[:3]) + (", ..." if len(names) > 3 else "")


def _metadata(checkpoint: Checkpoint, config: CompressConfig, size: SourceSize) -> dict[str, Any]:
    """Where the tensors come from, and what of them the container's own fields can't say."""
    meta = provenance(checkpoint, config, size)
    if types := foreign_dtypes(checkpoint.state):
        meta[META_KEY] = types
    if checkpoint.metadata:
        meta[SAFETENSORS_KEY] = dict(checkpoint.metadata)
    return meta


def _clustered_ahead(
    layers: Sequence[Layer], config: CompressConfig, packed: Mapping[str, Packed]
) -> Iterator[Clustering | None]:
    """Of each layer its clusters where many small ones are clustered together: at one codebook a tensor."""
    if config.levels is not None or config.codebook != "tensor":
        return iter([None] * len(layers))
    return clustered_ahead(layers, lambda name: packed[name].dense())


def _share(whole: Packed, layer: Layer, config: CompressConfig, found: Clustering | None) -> Packed:
    """One tensor shared: at its levels where there are any, else with one codebook or with blocks of them."""
    if config.levels is not None:
        return share_nested(whole.dense(), layer, config.levels, config.stored_precision)
    return share_array(whole.dense(), layer, config.codebook, config.stored_precision, config.rounding, found)
