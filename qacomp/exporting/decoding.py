"""From a container back to a file that runs: ONNX where it holds a graph, safetensors otherwise. Needs no torch."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qacomp.errors import ConfigError, StoppedRunError
from qacomp.exporting.decoded import Decoded
from qacomp.exporting.decoded_measuring import (
    MeasuredAccuracy,
    judged,
    known_agreement,
    measure_accuracy,
    measure_latency,
    measure_metric,
)
from qacomp.exporting.metadata import metadata, required
from qacomp.exporting.onnx_options import DENSE, OnnxOptions
from qacomp.exporting.operating_points import ORIGINAL, find_point, level_sizes, tensors_at, weights_at
from qacomp.exporting.safetensors_decoding import decode_safetensors
from qacomp.formats import Container, open_file
from qacomp.runtime.latency import onnx_latency
from qacomp.runtime.limits import measured_together

METADATA_KEY = "qacomp"
SUFFIXES = (".onnx", ".safetensors")
_EXPORTED_BY = {
    "torchscript": ("a TorchScript archive", "--trust-pickle and --input SHAPE"),
    "exported program": ("a torch.export archive", "--trust-pickle"),
    "module": ("a module", "--data or --input SHAPE"),
}


def default_output(path: Path, *, allow_truncated: bool = False) -> Path:
    """`model.qac` -> `model.decoded.onnx`, or `model.decoded.safetensors` where the container holds no graph.

    Never the name that the source of the container is likely to have.
    """
    with open_file(path, allow_truncated=allow_truncated) as container:
        return path.with_suffix(".decoded.onnx" if container.graph() is not None else ".decoded.safetensors")


@measured_together()
def decode(
    path: Path,
    output: Path,
    *,
    data: str | None = None,
    measure: bool = True,
    level: int | None = None,
    submodel: str | None = None,
    allow_truncated: bool = False,
    onnx: OnnxOptions = DENSE,
) -> Decoded:
    """Decode the container `path` to `output`, whose suffix says what it becomes, and measure what came out.

    `level`: of a progressive container, the one whose codebooks have that many values; `submodel`: of several networks
    in one, that one alone (exit3, width0.5, level4); `allow_truncated` accepts a file
    that is cut off behind a whole level, and decodes the finest one that is there. Accuracy is taken on the test split
    of `data`, or of the data that the container names; a note says when there is none. Raises FormatError for a bad
    container, ConfigError for a suffix that can't be made of it.
    """
    if output.suffix not in SUFFIXES:
        raise ConfigError(f"{output}: can't decode to '{output.suffix}'; use {' or '.join(SUFFIXES)}")
    onnx.check()
    if onnx != DENSE and output.suffix != ".onnx":
        raise ConfigError(f"{output}: --onnx and --external-data are for .onnx files")
    with open_file(path, allow_truncated=allow_truncated) as container:
        index = chosen_level(container, level, submodel, str(path))
        if submodel is not None and index is None and output.suffix == ".safetensors":
            raise ConfigError(f"--submodel {submodel}: use -o NAME.onnx; .safetensors holds the whole network")
        if output.suffix == ".safetensors":
            return decode_safetensors(container, path, output, index)
        if metadata(container).get("graph") == ORIGINAL:
            return _to_original(container, path, output, onnx, data, measure, index)
        return _to_onnx(container, path, output, data, measure, index, submodel, onnx)


def chosen_level(container: Container, k: int | None, submodel: str | None, source: str) -> int | None:
    """The index of the level with `k` shared values, or of the sub-model that is a level; None: neither is given.

    Raises ConfigError for both at once, and for what isn't there.
    """
    if k is not None and submodel is not None:
        raise ConfigError(f"--level {k} and --submodel {submodel}: give one of them")
    if submodel is not None:
        return find_point(container, submodel, source).level
    return None if k is None else level_index(container, k, source)


def level_index(container: Container, k: int, source: str) -> int:
    """The level with `k` shared values; ConfigError lists those there are."""
    sizes = level_sizes(container)
    if k not in sizes:
        raise ConfigError(f"{source}: no level of {k} shared values; it holds {', '.join(map(str, sizes))}")
    return sizes.index(k)


def onnx_model(
    container: Container, source: str = "the container", level: int | None = None, submodel: str | None = None
) -> Any:
    """The ModelProto of a container: its graph with its tensors in it, and how to feed it in the metadata.

    `level`: an index, the coarsest is 0; `submodel`: the name of an operating point; by default the largest that is
    there. Raises ConfigError where there is no graph or no such sub-model; `source` names it in errors.
    """
    from qacomp.graphs.skeleton import join
    from qacomp.graphs.submodels import only_output, output_names, settle, weight_names
    from qacomp.graphs.weightless import attach_weights

    graph = container.graph()
    if graph is None:
        raise ConfigError(f"{source}: holds weights without a graph{_why_no_graph(container)}; use -o NAME.safetensors")
    if metadata(container).get("graph") == ORIGINAL:
        if submodel is not None:
            level = find_point(container, submodel, source).level
        return join(graph, lambda name: container.tensor(name, level=level), source)
    outputs, output = output_names(graph, source), None
    if submodel is not None:
        point = find_point(container, submodel, source)
        level, output = point.level if point.output is None else level, point.output
    if len(outputs) > 1:
        graph = only_output(graph, output or outputs[-1], source)
        model = attach_weights(graph, tensors_at(container, level, weight_names(graph)), source=source)
        settle(model, source)
    else:
        model = attach_weights(graph, tensors_at(container, level), ignore_extra=True, source=source)
    feed = {key: metadata(container).get(key) for key in ("preprocessing", "data", "input_shape", "num_classes")}
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(feed, sort_keys=True))
    return model


def _why_no_graph(container: Container) -> str:
    """What the user could do for a graph, by what was compressed."""
    origin = metadata(container).get("source")
    kind = str(origin.get("kind")) if isinstance(origin, Mapping) else ""
    if kind not in _EXPORTED_BY:
        return " (compressed without --arch)"
    archive, how = _EXPORTED_BY[kind]
    return f" ({archive}, compressed without its graph: compress it again with {how})"


def _to_onnx(
    container: Container,
    path: Path,
    output: Path,
    data: str | None,
    measure: bool,
    level: int | None,
    submodel: str | None,
    options: OnnxOptions,
) -> Decoded:
    from qacomp.exporting.onnx_output import write_onnx_file

    shape = metadata(container).get("input_shape")
    model = onnx_model(container, str(path), level, submodel)
    if submodel is not None:
        level = find_point(container, submodel, str(path)).level
    weights = weights_at(container, level, {t.name: tuple(t.dims) for t in model.graph.initializer})
    written = write_onnx_file(model, weights, output, options, input_shape=shape, measure=measure)
    accuracy, latency = MeasuredAccuracy(), None
    if measure:
        try:
            latency = onnx_latency(output, tuple(required(container, "input_shape")))
            accuracy = measure_accuracy(container, output, data, fused=bool(written.fused))
        except StoppedRunError as stopped:
            accuracy = MeasuredAccuracy(notes=(f"not measured: {stopped}",))
    size, error, notes = written.saved.bytes, written.max_abs_error, (*written.notes, *accuracy.notes)
    stored = path.stat().st_size
    same = accuracy.value if data is None or data == metadata(container).get("data") else None
    verdict = judged(container, level, same) if submodel is None or same is not None else {}
    made = Decoded(output, size, stored, accuracy.value, latency, error, notes, written, accuracy_fp32=accuracy.fp32)
    return replace(made, **verdict)


def _to_original(
    container: Container,
    path: Path,
    output: Path,
    options: OnnxOptions,
    data: str | None,
    measure: bool,
    level: int | None,
) -> Decoded:
    """The ONNX model that came in, with the container's values; its outputs' agreement is that of compression."""
    from qacomp.exporting.onnx_decoding import read_back_error, write_original

    agreement = known_agreement(container, level)
    notes: tuple[str, ...] = ()
    if options == DENSE:
        files = write_original(container, output, level, str(path))
        size, written = sum(file.stat().st_size for file in files), None
        error = read_back_error(container, output, level)
    else:
        from qacomp.exporting.onnx_conversion import write_converted

        written = write_converted(container, output, level, str(path), options, measure=measure)
        size, error, notes = written.saved.bytes, written.max_abs_error, written.notes
    stored = path.stat().st_size
    if not measure:
        done = Decoded(output, size, stored, None, None, error, notes, written, agreement)
        return replace(done, **judged(container, level, None))
    latency, remarks = measure_latency(output)
    metric, more = measure_metric(container, output, data)
    accuracy = metric["value"] if metric is not None and metric["name"] == "accuracy" else None
    notes += remarks + more
    same = accuracy if data is None or data == metadata(container).get("data") else None
    done = Decoded(output, size, stored, accuracy, latency, error, notes, written, agreement, metric)
    return replace(done, **judged(container, level, same))
