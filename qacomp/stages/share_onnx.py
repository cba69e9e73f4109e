"""Compression of an ONNX model: its graph is kept as it is, its weights are shared by k-means and entropy-coded.

What is compared with the original, what is written and what a reader decodes is one and the same model, bit for bit;
the last step checks that.
"""

from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from qacomp.errors import ExportError
from qacomp.evaluation.onnx_measuring import Measured, Reference, measure, reference_outputs
from qacomp.evaluation.samples import Given
from qacomp.evaluation.verdict import judge
from qacomp.exporting.operating_points import ORIGINAL, OperatingPoint, operating_points
from qacomp.formats import SharedTensor, Writer, open_file
from qacomp.graphs import OnnxSource
from qacomp.graphs.roles import roles
from qacomp.graphs.skeleton import Slot, join, slots
from qacomp.graphs.values import FLOATS, count, is_external
from qacomp.graphs.walk import Site, sites
from qacomp.options.config import CompressConfig
from qacomp.runtime.operator_errors import weight_error
from qacomp.sharing.agreement import Trials, raised_note, refined
from qacomp.sharing.nested_arrays import at_level
from qacomp.sharing.selection import Rules, Selection, select
from qacomp.sharing.share import Packed
from qacomp.sources.onnx_packing import Packer
from qacomp.sources.onnx_selection import candidate, rounded_vectors
from qacomp.sources.onnx_whole import OriginalValues, joined, skeleton
from qacomp.sources.provenance import provenance
from qacomp.sources.source_size import SourceSize
from qacomp.stages.figures import Accuracy, Figures
from qacomp.stages.onnx_trials import TensorTrials
from qacomp.stages.resolve import PROGRAM, RUNNING, SHARING, refuse_layer_methods, untrained
from qacomp.stages.run import Run
from qacomp.training.history import WeightHistory

_RUN_BELOW = 1 << 30  # fp32 bytes: larger models aren't run here, which takes several times as much memory


def compress_onnx(
    source: OnnxSource, config: CompressConfig, output: Path, run: Run, given: Given | None = None
) -> Figures:
    """Compress `source` into the container `output`, which is written whole or not at all.

    given: data to measure the model on (see `load_samples`); without it outputs are compared on generated inputs.
    Raises CheckpointError for tensors whose data is damaged or missing, ConfigError for settings that fit nothing,
    DataError for data that doesn't fit the model.
    """
    refuse_layer_methods(config, "changes a PyTorch network's layers: it can't be applied to an ONNX model")
    used = [*SHARING, *RUNNING, *(() if given is None else ("metric", "size", "mean", "std"))]
    used += PROGRAM if source.kind in ("torchscript", "exported module") else ()
    why = "an ONNX model isn't trained: its weights are shared by k-means alone"
    config = untrained(config, used, run.note, why)
    found = list(sites(source.model))
    wanted = slots(found)
    uses = roles(source.model, [slot.site for slot in wanted])
    rules = Rules(config.scope, config.k, config.k_layers, **config.which)

    def array_of(site: Site) -> Any:
        return Slot(site, "").array(source.external.read(site.tensor) if is_external(site.tensor) else None)

    selection = select([candidate(slot, use, array_of) for slot, use in zip(wanted, uses, strict=True)], rules)
    rounded = rounded_vectors(wanted, uses, found, config.stored_precision, array_of)
    selection.skipped.update({name: f"{what}, a vector" for name, what in rounded.items()})
    packer = Packer(
        {layer.name: layer for layer in selection.layers},
        frozenset(rounded),
        config.codebook,
        config.stored_precision,
        config.rounding,
        source.external.read,
        config.levels,
    )
    fp32 = sum(4 * count(site.tensor) for site in found if site.tensor.data_type in FLOATS)
    size = SourceSize.of_onnx(source, fp32)
    whole = fp32 < _RUN_BELOW
    packed: dict[str, Packed] = {}
    known: Reference | None = None
    measured, coarser = Measured(), dict[str, Measured]()
    values = OriginalValues(source, wanted)

    def trial(chosen: Selection) -> float | None:
        nonlocal packed, measured, packer
        before, packer = packer, replace(packer, layers={layer.name: layer for layer in chosen.layers})
        with run.stage("share"):
            again = {name for name, layer in packer.layers.items() if before.layers.get(name) != layer}
            packed = {
                slot.name: packer(slot) if slot.name in again or not packed else packed[slot.name] for slot in wanted
            }
        with run.stage("evaluate"):
            measured = _measure(source, packed, known, run)
        return _deviation(measured)

    def felt() -> dict[str, float]:
        with run.stage("evaluate"):
            return TensorTrials(source, wanted, known).felt(packed)

    if whole:
        with run.stage("evaluate"):
            known = reference_outputs(joined(source, wanted).SerializeToString(), source.model, given, config, run.note)
        trials = Trials(trial, lambda name: packed[name].dense(), felt)
        selection, missed = refined(selection, config, values, trials)
        if missed:
            run.note(missed)
        if text := raised_note(selection.layers, config.k):
            run.note(text)
        if measured.agreement is not None:
            with run.stage("evaluate"):
                coarser = _measure_coarser(source, packed, known, config, run)
    else:
        run.note("1 GiB of weights or more: neither the original nor the decoded model is run here")
    with run.stage("evaluate"):
        run.operator_errors = TensorTrials(source, wanted, known).errors(packed)
    judged_k = config.k if config.levels is None and config.codebook == "tensor" else None
    run.verdict = judge(measured.agreement, run.operator_errors, _percent(measured), judged_k)
    kept: dict[str, str] = {}
    with run.stage("encode"):
        graph = skeleton(source, wanted)
        meta = (
            provenance(source, config, size, source.external.digests())
            | {"graph": ORIGINAL}
            | _figures(measured, config)
            | run.verdict.to_json()
        )
        if config.levels is not None:
            each = coarser | {f"level{config.levels[-1]}": measured}
            meta["submodels"] = {name: _point_figures(m) for name, m in each.items()}
        with Writer(output, graph=graph, meta=meta) as writer:
            for slot in wanted:
                item = packed.get(slot.name) or packer(slot)
                writer.add(slot.name, item.value, item.precision)
                kept |= {slot.name: item.kept} if item.kept else {}
                if not whole and isinstance(item.value, SharedTensor):
                    run.operator_errors[slot.name] = weight_error(values(slot.name), item.dense())
                if item.note:
                    run.note(item.note)
    report = writer.report
    assert report is not None
    layers = tuple(layer for layer in selection.layers if layer.name not in kept)
    selection = Selection(layers, selection.skipped | kept)
    _remark(source, selection, len(found) - len(wanted), run)
    if whole:
        weights = WeightHistory([x.name for x in layers], {x.name: values(x.name) for x in layers})
        run.weights = weights.finished()
        run.errors = weights.errors({x.name: packed[x.name].value for x in layers})
    with run.stage("decode"):
        points = _check(output, graph, packed)
    result = run.result(
        output, str(source.path), size, config, report, selection, accuracy=_accuracy(measured), max_abs_error=0.0
    )
    return replace(result, agreement=measured.agreement, metric=measured.metric, operating_points=points)


def _measure(source: OnnxSource, packed: Mapping[str, Packed], known: Reference | None, run: Run) -> Measured:
    """What a reader will decode, beside the original; nothing where that can't be run."""
    if known is None:
        return Measured()
    graph = skeleton(source, slots(list(sites(source.model))))
    changed = join(graph, lambda name: packed[name].dense(), str(source.path))
    return measure(known, changed.SerializeToString(), run.note)


def _percent(measured: Measured) -> tuple[float, float] | None:
    """(original, decoded) accuracy, where that is the metric."""
    metric = measured.metric
    return None if metric is None or metric.name != "accuracy" else (metric.original, metric.decoded)


def _deviation(measured: Measured) -> float | None:
    """1 − cosine of the worst output, None where the model wasn't run."""
    cosine = None if measured.agreement is None else measured.agreement.cosine
    return None if cosine is None else 1 - cosine


def _measure_coarser(
    source: OnnxSource, packed: Mapping[str, Packed], known: Reference | None, config: CompressConfig, run: Run
) -> dict[str, Measured]:
    """The original beside each level but the finest, by the level's name."""
    measured = {}
    for level, k in enumerate((config.levels or ())[:-1]):
        view = {name: at_level(item, level) for name, item in packed.items()}
        measured[f"level{k}"] = found = _measure(source, view, known, run)
        if found.agreement is not None and found.agreement.cosine is not None:
            run.note(f"level{k}: cosine {found.agreement.cosine:.4f} with the original's outputs")
    return measured


def _accuracy(measured: Measured) -> Accuracy:
    """In percent, where that is the metric: an ONNX model isn't tuned, what is shared is what is decoded."""
    metric = measured.metric
    if metric is None or metric.name != "accuracy":
        return Accuracy()
    return Accuracy(metric.original, metric.decoded, metric.decoded, metric.decoded)


def _figures(measured: Measured, config: CompressConfig) -> dict[str, Any]:
    """What the container's metadata says of the measurements."""
    figures: dict[str, Any] = {"data": config.data}
    if measured.agreement is not None:
        figures["agreement"] = measured.agreement.to_json()
    if measured.metric is not None:
        figures["metric"] = measured.metric.to_json()
    accuracy = {name: value for name, value in asdict(_accuracy(measured)).items() if value is not None}
    if accuracy:
        figures["accuracy"] = accuracy
    return {name: value for name, value in figures.items() if value is not None}


def _point_figures(measured: Measured) -> dict[str, Any]:
    """What the metadata says of one level; its accuracy in percent, where that is the metric."""
    figures: dict[str, Any] = {}
    if measured.agreement is not None:
        figures["agreement"] = measured.agreement.to_json()
    if measured.metric is not None:
        figures["metric"] = measured.metric.to_json()
    figures |= judge(measured.agreement, {}, _percent(measured)).to_json()
    accuracy = _accuracy(measured).decoded
    return figures if accuracy is None else figures | {"accuracy": accuracy}


def _remark(source: OnnxSource, selection: Selection, inside: int, run: Run) -> None:
    for text in source.notes:
        run.note(text)
    if not selection.layers:
        run.note("no tensor is shared, everything is kept exactly; the reasons are listed")
    if inside:
        run.note(f"{inside} tensors below 64 bytes, or of strings, stay in the graph exactly")


def _check(output: Path, graph: bytes, packed: Mapping[str, Packed]) -> tuple[OperatingPoint, ...]:
    """Decode the container and compare: the same graph, and the values that were measured. Raises ExportError.

    Gives the container's operating points.
    """
    with open_file(output) as container:
        if container.graph() != graph:
            raise ExportError(f"{output}: the graph read back isn't the one written; please report this")
        for name, item in packed.items():
            read, expected = container.tensor(name), item.dense()
            if read.dtype != expected.dtype or read.tobytes() != np.ascontiguousarray(expected).tobytes():
                raise ExportError(f"{output}: {name[:80]} read back isn't what was written; please report this")
        return operating_points(container, str(output))
