"""From a container back to a file that runs: ONNX where it holds a graph, safetensors otherwise. Needs no torch."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.datasets import load_dataset
from qacomp.errors import ConfigError, DataError, ExportError
from qacomp.evaluation.accuracy import onnx_accuracy
from qacomp.evaluation.latency import Latency, onnx_latency
from qacomp.formats import Container, NotSharedError, SharedTensor, open_file
from qacomp.formats.atomic import write_atomically
from qacomp.onnx_options import DENSE, OnnxFile, OnnxOptions
from qacomp.preprocessing import Preprocessing

METADATA_KEY = "qacomp"
ORIGINAL = "original"  # the metadata's word for a graph that came in as ONNX and is given back as it was
SUFFIXES = (".onnx", ".safetensors")


@dataclass(frozen=True)
class Decoded:
    """A decoded file. `max_abs_error`: between the weights in it and the container's; accuracy in percent, if known.

    `agreement`: of the outputs with those of the model that was compressed, as `qacomp compress` measured it.
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

    def to_json(self) -> dict[str, Any]:
        """The document that `decode --json` prints."""
        latency = {"p50": self.latency.p50_ms, "p95": self.latency.p95_ms} if self.latency else None
        return {
            "output": str(self.output),
            "onnx_bytes": self.output_bytes if self.output.suffix == ".onnx" else None,
            "output_bytes": self.output_bytes,
            "container_bytes": self.container_bytes,
            "accuracy": self.accuracy,
            "latency_ms": latency,
            "max_abs_error": self.max_abs_error,
            "notes": list(self.notes),
            "onnx": self.onnx.to_json() if self.onnx else None,
            "agreement": self.agreement,
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
    allow_truncated: bool = False,
    onnx: OnnxOptions = DENSE,
) -> Decoded:
    """Decode the container `path` to `output`, whose suffix says what it becomes, and measure what came out.

    `level`: of a progressive container, the one whose codebooks have that many values; `allow_truncated` accepts a file
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
        index = None if level is None else level_index(container, level, str(path))
        if output.suffix == ".safetensors":
            return _to_safetensors(container, path, output, index)
        if container.meta.get("graph") == ORIGINAL:
            return _to_original(container, path, output, onnx, measure, index)
        return _to_onnx(container, path, output, data, measure, index, onnx)


def level_sizes(container: Container) -> list[int]:
    """Shared values of each level, the coarsest first: the largest codebook of the level over all tensors."""
    sizes = [0] * container.levels
    for name in container.names:
        for i, k in enumerate(container.info(name).levels):
            sizes[i] = max(sizes[i], k)
    return sizes


def level_index(container: Container, k: int, source: str) -> int:
    """The level with `k` shared values; ConfigError lists those there are."""
    sizes = level_sizes(container)
    if k not in sizes:
        raise ConfigError(f"{source}: no level of {k} shared values; it holds {', '.join(map(str, sizes))}")
    return sizes.index(k)


def onnx_model(container: Container, source: str = "the container", level: int | None = None) -> Any:
    """The ModelProto of a container: its graph with its tensors in it, and how to feed it in the metadata.

    `level`: an index, the coarsest is 0. Raises ConfigError where there is no graph; `source` names it in errors.
    """
    from qacomp.onnx_export.graph import attach_weights
    from qacomp.onnx_graph.skeleton import join

    graph = container.graph()
    if graph is None:
        raise ConfigError(
            f"{source}: holds weights without a graph (compressed without --arch); use -o NAME.safetensors"
        )
    if container.meta.get("graph") == ORIGINAL:
        return join(graph, lambda name: container.tensor(name, level=level), source)
    model = attach_weights(graph, _tensors(container, level), source=source)
    feed = {key: container.meta.get(key) for key in ("preprocessing", "data", "input_shape", "num_classes")}
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps(feed, sort_keys=True))
    return model


def _tensors(container: Container, level: int | None) -> dict[str, NDArray[Any]]:
    return {name: container.tensor(name, level=level) for name in container.names}


def _weights(container: Container, level: int | None) -> dict[str, NDArray[Any] | SharedTensor]:
    """Every tensor as it stands in the container: shared ones with their codebooks."""
    weights: dict[str, NDArray[Any] | SharedTensor] = {}
    for name in container.names:
        try:
            weights[name] = container.shared(name, level=level)
        except NotSharedError:
            weights[name] = container.tensor(name)
    return weights


def _to_onnx(
    container: Container,
    path: Path,
    output: Path,
    data: str | None,
    measure: bool,
    level: int | None,
    options: OnnxOptions,
) -> Decoded:
    from qacomp.onnx_output import write_onnx_file

    shape = container.meta.get("input_shape")
    model = onnx_model(container, str(path), level)
    written = write_onnx_file(model, _weights(container, level), output, options, input_shape=shape, measure=measure)
    accuracy, latency, notes = None, None, list(written.notes)
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
    size, error = written.saved.bytes, written.max_abs_error
    return Decoded(output, size, path.stat().st_size, accuracy, latency, error, tuple(notes), written)


def _to_original(
    container: Container, path: Path, output: Path, options: OnnxOptions, measure: bool, level: int | None
) -> Decoded:
    """The ONNX model that came in, with the container's values; its outputs' agreement is that of compression."""
    from qacomp.onnx_decoding import measure_latency, named_values, read_back_error, write_original

    agreement = container.meta.get("agreement") if level is None else None
    notes: tuple[str, ...] = ()
    if options == DENSE:
        files = write_original(container, output, level, str(path))
        size, written = sum(file.stat().st_size for file in files), None
        error = read_back_error(container, output, level)
    else:
        from qacomp.onnx_output import write_onnx_file

        weights = {n: w for n, w in _weights(container, level).items() if n in named_values(container)}
        written = write_onnx_file(onnx_model(container, str(path), level), weights, output, options, measure=measure)
        size, error, notes = written.saved.bytes, written.max_abs_error, written.notes
    latency, remarks = measure_latency(output) if measure else (None, ())
    stored = path.stat().st_size
    return Decoded(output, size, stored, None, latency, error, notes + remarks, written, agreement)


def state_dict(container: Container, level: int | None = None) -> dict[str, NDArray[Any]]:
    """The tensors under their state-dict names, batch norm's statistics included, as a PyTorch model wants them."""
    state = _tensors(container, level)
    for path, eps in container.meta.get("batch_norms", {}).items():
        prefix = f"{path}." if path else ""
        scale = state[f"{prefix}weight"]  # (C,)
        state[f"{prefix}running_mean"] = np.zeros_like(scale)
        state[f"{prefix}running_var"] = np.full_like(scale, 1.0 - eps)  # so that var + eps is one
        state[f"{prefix}num_batches_tracked"] = np.zeros((), np.int64)
    return state


def _to_safetensors(container: Container, path: Path, output: Path, level: int | None) -> Decoded:
    from safetensors.numpy import load, save

    state = {name: np.ascontiguousarray(value) for name, value in state_dict(container, level).items()}
    write_atomically(output, [save(state)])
    error = _largest_difference(state, load(output.read_bytes()))
    notes = ("weights only: no accuracy, no latency; decode to .onnx for both",)
    return Decoded(output, output.stat().st_size, path.stat().st_size, None, None, error, notes)


def _largest_difference(expected: dict[str, NDArray[Any]], written: dict[str, NDArray[Any]]) -> float:
    """Largest |a − b| over all tensors; ExportError where one is missing or has another shape."""
    worst = 0.0
    for name, value in expected.items():
        if name not in written or written[name].shape != value.shape:
            raise ExportError(f"{name}: missing from the decoded file, or there with another shape")
        if value.size:
            difference = np.abs(value.astype(np.float64) - written[name].astype(np.float64))
            worst = max(worst, float(difference.max()))
    return worst
