"""Measure accuracy, size and latency of a container, an ONNX file or a checkpoint. Only a checkpoint needs torch."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qacomp.datasets import NamedData, chosen_spec
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import ConfigError, DataError, NotACheckpointError, StoppedRunError
from qacomp.evaluation.onnx_measuring import measure_one
from qacomp.exporting.operating_points import operating_points
from qacomp.formats import open_file
from qacomp.formats.regular import open_regular
from qacomp.graphs.metadata import from_text, metadata
from qacomp.options.config import CompressConfig
from qacomp.runtime.agreement import Feed
from qacomp.runtime.latency import Latency, feed_latency
from qacomp.runtime.limits import measured_together
from qacomp.runtime.session import OnnxModel, open_session


@dataclass(frozen=True)
class MeasuredFile:
    """The figures of a measured file.

    kind: "container", "onnx" or "checkpoint"; data: the data spec; accuracy: top-1 in percent over `samples` test
    samples, None if another metric was measured or nothing; latency: of one sample in onnxruntime, None for a
    checkpoint; metric: {"name", "value"} of a container or an ONNX file (accuracy is a metric too); notes: why
    something wasn't measured, or which network was recognized; points: the networks of a container that holds several,
    smallest first; accuracy and latency are then those of the largest one.
    """

    file: Path
    kind: str
    bytes: int
    data: str
    accuracy: float | None
    samples: int
    latency: Latency | None
    points: tuple["MeasuredPoint", ...] = ()
    metric: dict[str, Any] | None = None
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the JSON document that `eval --json` prints."""
        document = {**asdict(self), "file": str(self.file), "latency_ms": _milliseconds(self.latency)}
        points = [{**asdict(p), "latency_ms": _milliseconds(p.latency)} for p in self.points]
        return document | {"points": points}


@dataclass(frozen=True)
class MeasuredPoint:
    """One network of a container: bytes of the file that it needs, MACs if known, and figures if measured."""

    name: str
    bytes: int
    macs: int | None
    accuracy: float | None
    latency: Latency | None
    metric: dict[str, Any] | None = None


def _milliseconds(latency: Latency | None) -> dict[str, float] | None:
    return {"p50": latency.p50_ms, "p95": latency.p95_ms} if latency else None


@measured_together()
def measure_file(path: Path, config: CompressConfig, *, trust_pickle: bool = False) -> MeasuredFile:
    """Measure `path` on the test split of the data that `config` names, or of built-in data that the file names.

    Raises ConfigError if no data or architecture is known, DataError, and the errors of reading the file.
    """
    if not path.exists():
        raise NotACheckpointError(f"{path}: no such file")
    with open_regular(path) as file:
        magic = file.read(4)
    if path.suffix == ".onnx":
        return _measure_onnx(path, config)
    if path.suffix == ".qac" or magic[:3] == b"QAC":
        return _measure_container(path, config)
    return _measure_checkpoint(path, config, trust_pickle)


def _measure_container(path: Path, config: CompressConfig) -> MeasuredFile:
    from qacomp.exporting.onnx_model import onnx_model

    with open_file(path) as container:
        meta, points = metadata(container), operating_points(container, str(path))
        names: list[str | None] = [point.name for point in points] or [None]
        models: list[bytes] = [onnx_model(container, submodel=name).SerializeToString() for name in names]
    if not points:
        return _measure_model(path, "container", models[0], meta, config)
    each = [_measure_model(path, "container", serialized, meta, config) for serialized in models]
    measured = [
        MeasuredPoint(point.name, point.bytes, point.macs, own.accuracy, own.latency, own.metric)
        for point, own in zip(points, each, strict=True)
    ]
    return replace(each[-1], points=tuple(measured))


def _measure_onnx(path: Path, config: CompressConfig) -> MeasuredFile:
    from qacomp.exporting.onnx_model import METADATA_KEY
    from qacomp.graphs.reading import read_onnx

    model = read_onnx(path).model  # only for its metadata; the file itself is run
    entry = next((p.value for p in model.metadata_props if p.key == METADATA_KEY), "{}")
    return _measure_model(path, "onnx", path, from_text(entry, str(path)), config)


def _measure_model(
    path: Path, kind: str, model: OnnxModel, meta: dict[str, Any], config: CompressConfig
) -> MeasuredFile:
    """Measure an ONNX model with the inputs of `qacomp compress`, and the file's preprocessing if it has one."""
    spec = _spec(path, config, NamedData.told(meta.get("data")))
    stored = meta.get("preprocessing")
    preprocessing = None if stored is None else Preprocessing.from_dict(stored)
    unknown = MeasuredFile(path, kind, path.stat().st_size, spec, None, 0, None)
    try:
        found = measure_one(model, spec, config, preprocessing)
        latency = feed_latency(open_session(model, threads=1), _one_example(found.feed, model))
    except StoppedRunError as stopped:
        return replace(unknown, notes=(f"not measured: {stopped}",))
    accuracy = found.value if found.metric == "accuracy" else None
    metric = {"name": found.metric, "value": found.value}
    return replace(unknown, accuracy=accuracy, samples=found.samples, latency=latency, metric=metric)


def _one_example(feed: Feed, model: OnnxModel) -> Feed:
    """Return the first example of a batch if the model accepts any batch size, else the whole batch."""
    inputs = open_session(model).get_inputs()
    together = len({len(feed[entry.name]) if feed[entry.name].ndim else 0 for entry in inputs}) == 1
    if together and all(entry.shape and not isinstance(entry.shape[0], int) for entry in inputs):
        return {name: value[:1] for name, value in feed.items()}
    return feed


def _measure_checkpoint(path: Path, config: CompressConfig, trust_pickle: bool) -> MeasuredFile:
    from qacomp.batches.examples import Examples
    from qacomp.checkpoints import read_checkpoint
    from qacomp.evaluation.on_batches import network_value
    from qacomp.sources.how_to_read import Reading
    from qacomp.sources.open_any import open_source
    from qacomp.sources.recognized import RECOGNIZED
    from qacomp.sources.torch_source import TorchSource
    from qacomp.training.device import choose_device
    from qacomp.training.own_functions import OwnFunctions
    from qacomp.training.quantizers import quantize_activations
    from qacomp.training.task import choose_task

    checkpoint = read_checkpoint(path, trust_pickle=trust_pickle, key=config.key)
    notes: list[str] = []
    source, _, examples = open_source(checkpoint, config.data, config, Reading(trust_pickle), notes.append)
    if not isinstance(source, TorchSource) and (checkpoint.module is None or config.arch is not None):
        raise ConfigError(f"{path}: doesn't name its architecture; give --arch")
    spec = _spec(path, config, checkpoint.data)
    assert isinstance(source, TorchSource) and isinstance(examples, Examples)  # the data gives a module's inputs
    network = source.network
    if checkpoint.activations is not None:
        quantize_activations(network.model, checkpoint.activations)
    if examples.num_classes is not None and network.num_classes and examples.num_classes > network.num_classes:
        raise DataError(f"{spec}: {examples.num_classes} classes, but the network has {network.num_classes}")
    device = choose_device(config.device)
    task = choose_task(network.model, examples, config.metric, OwnFunctions(), 256)
    value = network_value(network.model, examples.test, task.metric, batch_size=256, device=device)
    size, count = path.stat().st_size, examples.test_count
    remarks = tuple(note for note in source.notes if note.startswith(RECOGNIZED))
    accuracy = value if task.metric.percent else None
    measured = MeasuredFile(path, "checkpoint", size, spec, accuracy, count, None, notes=remarks)
    return measured if task.metric.percent else replace(measured, metric={"name": task.metric.name, "value": value})


def _spec(path: Path, config: CompressConfig, stored: NamedData | None) -> str:
    spec, remark = chosen_spec(config.data, stored)
    if spec is None:
        raise ConfigError(f"{path}: {remark or 'names no data; give --data (digits, mnist:DIR, npz:FILE, ...)'}")
    return spec
