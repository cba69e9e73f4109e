"""From a container back to a file that runs: ONNX where it holds a graph, safetensors otherwise. Needs no torch."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets import load_dataset
from qacomp.errors import ConfigError, DataError, ExportError
from qacomp.evaluation.accuracy import onnx_accuracy
from qacomp.evaluation.comparison import FP32_ACTIVATIONS
from qacomp.evaluation.latency import Latency, onnx_latency
from qacomp.formats import BFLOAT16, Container, open_file
from qacomp.onnx_options import DENSE, OnnxFile, OnnxOptions
from qacomp.operating_points import ORIGINAL, find_point, level_sizes, names_at, tensors_at, weights_at
from qacomp.preprocessing import Preprocessing

METADATA_KEY = "qacomp"
SUFFIXES = (".onnx", ".safetensors")
_EXPORTED_BY = {
    "torchscript": ("a TorchScript archive", "--trust-pickle and --input SHAPE"),
    "exported program": ("a torch.export archive", "--trust-pickle"),
    "module": ("a module", "--data or --input SHAPE"),
}


@dataclass(frozen=True)
class Decoded:
    """A decoded file. `max_abs_error`: between the weights in it and the container's; accuracy in percent, if known.

    `metric`: name and value, of a model that came in as ONNX, on data with targets. `agreement`: of its outputs with
    those of the model that was compressed, as `qacomp compress` measured it. `accuracy_fp32`: of fused integer products
    with activations in fp32 (onnxruntime's accuracy level 0), where `accuracy` is with its default, int8.
    """

    output: Path
    output_bytes: int
    container_bytes: int
    accuracy: float | None
    latency: Latency | None
    max_abs_error: float
    notes: tuple[str, ...]
    onnx: OnnxFile | None = None
    agreement: dict[str, Any] | None = None
    metric: dict[str, Any] | None = None
    accuracy_fp32: float | None = None

    def to_json(self) -> dict[str, Any]:
        """The document that `decode --json` prints."""
        latency = {"p50": self.latency.p50_ms, "p95": self.latency.p95_ms} if self.latency else None
        return {
            "output": str(self.output),
            "onnx_bytes": self.output_bytes if self.output.suffix == ".onnx" else None,
            "output_bytes": self.output_bytes,
            "container_bytes": self.container_bytes,
            "accuracy": self.accuracy,
            "accuracy_fp32": self.accuracy_fp32,
            "latency_ms": latency,
            "max_abs_error": self.max_abs_error,
            "notes": list(self.notes),
            "onnx": self.onnx.to_json() if self.onnx else None,
            "agreement": self.agreement,
            "metric": self.metric,
        }


def default_output(path: Path, *, allow_truncated: bool = False) -> Path:
    """`model.qac` -> `model.onnx`, or `model.safetensors` where the container holds no graph."""
    with open_file(path, allow_truncated=allow_truncated) as container:
        return path.with_suffix(".onnx" if container.graph() is not None else ".safetensors")


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
            return _to_safetensors(container, path, output, index)
        if container.meta.get("graph") == ORIGINAL:
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
    from qacomp.onnx_export.graph import attach_weights
    from qacomp.onnx_export.submodels import only_output, output_names, settle, weight_names
    from qacomp.onnx_graph.skeleton import join

    graph = container.graph()
    if graph is None:
        raise ConfigError(f"{source}: holds weights without a graph{_why_no_graph(container)}; use -o NAME.safetensors")
    if container.meta.get("graph") == ORIGINAL:
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
        model = attach_weights(graph, tensors_at(container, level), source=source)
    feed = {key: container.meta.get(key) for key in ("preprocessing", "data", "input_shape", "num_classes")}
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(feed, sort_keys=True))
    return model


def _why_no_graph(container: Container) -> str:
    """What the user could do for a graph, by what was compressed."""
    origin = container.meta.get("source")
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
    from qacomp.onnx_output import write_onnx_file

    shape = container.meta.get("input_shape")
    model = onnx_model(container, str(path), level, submodel)
    if submodel is not None:
        level = find_point(container, submodel, str(path)).level
    weights = weights_at(container, level, {t.name: tuple(t.dims) for t in model.graph.initializer})
    written = write_onnx_file(model, weights, output, options, input_shape=shape, measure=measure)
    accuracy, precise, latency, notes = None, None, None, list(written.notes)
    if measure:
        latency = onnx_latency(output, tuple(container.meta["input_shape"]))
        spec = data or container.meta.get("data")
        if spec is None:
            notes.append("no accuracy: the container names no data; give --data")
        else:
            try:
                test = load_dataset(spec).test
            except DataError as problem:
                if data is not None:
                    raise
                notes.append(f"no accuracy: the container's data can't be read here ({problem}); give --data")
            else:
                x = Preprocessing.from_dict(container.meta["preprocessing"]).apply(test.x)  # (N, C, H, W)
                accuracy = onnx_accuracy(output, x, test.y)
                if written.fused:
                    precise = onnx_accuracy(output, x, test.y, settings=FP32_ACTIVATIONS)
    size, error = written.saved.bytes, written.max_abs_error
    stored = path.stat().st_size
    return Decoded(output, size, stored, accuracy, latency, error, tuple(notes), written, accuracy_fp32=precise)


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
    from qacomp.onnx_decoding import measure_latency, measure_metric, named_values, read_back_error, write_original

    agreement = _known_agreement(container, level)
    notes: tuple[str, ...] = ()
    if options == DENSE:
        files = write_original(container, output, level, str(path))
        size, written = sum(file.stat().st_size for file in files), None
        error = read_back_error(container, output, level)
    else:
        from qacomp.onnx_output import write_onnx_file

        weights = {n: w for n, w in weights_at(container, level, {}).items() if n in named_values(container)}
        written = write_onnx_file(onnx_model(container, str(path), level), weights, output, options, measure=measure)
        size, error, notes = written.saved.bytes, written.max_abs_error, written.notes
    stored = path.stat().st_size
    if not measure:
        return Decoded(output, size, stored, None, None, error, notes, written, agreement)
    latency, remarks = measure_latency(output)
    metric, more = measure_metric(container, output, data)
    accuracy = metric["value"] if metric is not None and metric["name"] == "accuracy" else None
    notes += remarks + more
    return Decoded(output, size, stored, accuracy, latency, error, notes, written, agreement, metric)


def _known_agreement(container: Container, level: int | None) -> dict[str, Any] | None:
    """The agreement with the original that compression measured at a level (None: the finest that is there)."""
    if container.levels == 1:
        return container.meta.get("agreement")
    known = container.meta.get("submodels", {})
    here = level_sizes(container)[container.level if level is None else level]
    entry = known.get(f"level{here}") if isinstance(known, dict) else None
    return entry.get("agreement") if isinstance(entry, dict) else None


def state_dict(container: Container, level: int | None = None) -> dict[str, NDArray[Any]]:
    """The tensors under their state-dict names, batch norm's statistics included, as a PyTorch model wants them."""
    return tensors_at(container, level) | _statistics(container, level)


def _statistics(container: Container, level: int | None) -> dict[str, NDArray[Any]]:
    """Batch norm's statistics, which a container leaves out since they are folded into its scales and shifts."""
    added: dict[str, NDArray[Any]] = {}
    for path, eps in container.meta.get("batch_norms", {}).items():
        prefix = f"{path}." if path else ""
        scale = container.tensor(f"{prefix}weight", level=level)  # (C,)
        added[f"{prefix}running_mean"] = np.zeros_like(scale)
        added[f"{prefix}running_var"] = np.full_like(scale, 1.0 - eps)  # so that var + eps is one
        added[f"{prefix}num_batches_tracked"] = np.zeros((), np.int64)
    return added


def _to_safetensors(container: Container, path: Path, output: Path, level: int | None) -> Decoded:
    from qacomp.safetensors_output import Shape, write_safetensors

    added = _statistics(container, level)
    shapes = {name: Shape(value.dtype, value.shape) for name, value in added.items()}
    stored = names_at(container, level)
    for name, place in stored.items():
        info = container.info(place)
        dtype = BFLOAT16 if info.dtype == "bfloat16" else np.dtype(info.dtype).newbyteorder("<")
        shapes[name] = Shape(dtype, tuple(info.shape))

    def values(name: str) -> NDArray[Any]:
        array: NDArray[Any] = added[name] if name in added else container.tensor(stored[name], level=level)
        return array

    write_safetensors(output, shapes, values)
    error = _read_back_error(output, shapes, values)
    graph = "it holds no graph" if container.graph() is None else "decode to .onnx for both"
    notes = (f"weights only: no accuracy, no latency; {graph}",)
    return Decoded(output, output.stat().st_size, path.stat().st_size, None, None, error, notes)


def _read_back_error(output: Path, shapes: Mapping[str, Any], values: Callable[[str], NDArray[Any]]) -> float:
    """Largest |a − b| between what was written, read by the safetensors library, and the container's tensors."""
    from safetensors import safe_open

    worst = 0.0
    with safe_open(output, framework="numpy") as file:
        if set(file.keys()) != set(shapes):
            raise ExportError(f"{output}: tensors are missing from the decoded file; please report this")
        for name, shape in shapes.items():
            if shape.dtype == BFLOAT16:
                continue  # the library gives numpy no such array
            a, b = values(name), file.get_tensor(name)
            if a.shape != b.shape or a.dtype != b.dtype:
                raise ExportError(f"{name}: in the decoded file with another shape")
            if a.size and a.tobytes() != b.tobytes():
                worst = max(worst, float(np.abs(a.astype(np.float64) - b.astype(np.float64)).max()))
    return worst
