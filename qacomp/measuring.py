"""Accuracy, size and latency of any file that qacomp knows: container, ONNX, checkpoint. Only the last needs torch."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from qacomp.config import CompressConfig
from qacomp.datasets import NamedData, chosen_spec, load_dataset
from qacomp.errors import ConfigError, DataError, NotACheckpointError
from qacomp.evaluation.accuracy import onnx_accuracy
from qacomp.evaluation.latency import Latency, onnx_latency
from qacomp.formats import open_file
from qacomp.operating_points import operating_points
from qacomp.preprocessing import Preprocessing
from qacomp.preprocessing_choice import choose_preprocessing


@dataclass(frozen=True)
class Measured:
    """`accuracy`: top-1 in percent over `samples` test samples; `latency`: of one in onnxruntime, if it ran there.

    `points`: each network of a container that holds several, smallest first; the largest's figures are the container's.
    """

    file: Path
    kind: str
    bytes: int
    data: str
    accuracy: float
    samples: int
    latency: Latency | None
    points: tuple["MeasuredPoint", ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document that `eval --json` prints."""
        document = {**asdict(self), "file": str(self.file), "latency_ms": _milliseconds(self.latency)}
        points = [{**asdict(p), "latency_ms": _milliseconds(p.latency)} for p in self.points]
        return document | {"points": points}


@dataclass(frozen=True)
class MeasuredPoint:
    """One network of a container: bytes to fetch of the file, MACs if known, accuracy and latency as measured now."""

    name: str
    bytes: int
    macs: int | None
    accuracy: float
    latency: Latency


def _milliseconds(latency: Latency | None) -> dict[str, float] | None:
    return {"p50": latency.p50_ms, "p95": latency.p95_ms} if latency else None


def measure_file(path: Path, config: CompressConfig, *, trust_pickle: bool = False) -> Measured:
    """Measure `path` on the test split of the data that `config` names, or built-in data that the file itself does.

    Raises ConfigError where no data or no preprocessing is known, and the named errors of reading file and data.
    """
    if not path.is_file():
        raise NotACheckpointError(f"{path}: no such file")
    with path.open("rb") as file:
        magic = file.read(4)
    if path.suffix == ".onnx":
        return _measure_onnx(path, config)
    if path.suffix == ".qac" or magic[:3] == b"QAC":
        return _measure_container(path, config)
    return _measure_checkpoint(path, config, trust_pickle)


def _measure_container(path: Path, config: CompressConfig) -> Measured:
    from qacomp.decoding import onnx_model

    with open_file(path) as container:
        meta, points = container.meta, operating_points(container, str(path))
        names: list[str | None] = [point.name for point in points] or [None]
        models: list[bytes] = [onnx_model(container, str(path), submodel=name).SerializeToString() for name in names]
    if not points:
        return _measure_session(path, "container", models[0], meta, config)
    each = [_measure_session(path, "container", serialized, meta, config) for serialized in models]
    measured = []
    for point, own in zip(points, each, strict=True):
        assert own.latency is not None
        measured.append(MeasuredPoint(point.name, point.bytes, point.macs, own.accuracy, own.latency))
    return replace(each[-1], points=tuple(measured))


def _measure_onnx(path: Path, config: CompressConfig) -> Measured:
    import onnx

    from qacomp.decoding import METADATA_KEY

    try:
        model = onnx.load(path, load_external_data=False)
    except Exception as error:  # protobuf raises its own kinds
        raise NotACheckpointError(f"{path}: no ONNX file") from error
    entry = next((p.value for p in model.metadata_props if p.key == METADATA_KEY), "{}")
    return _measure_session(path, "onnx", path.read_bytes(), json.loads(entry), config)


def _measure_session(
    path: Path, kind: str, serialized: bytes, meta: dict[str, Any], config: CompressConfig
) -> Measured:
    spec = _spec(path, config, NamedData.told(meta.get("data")))
    dataset = load_dataset(spec)
    stored = meta.get("preprocessing")
    if stored is None:
        raise ConfigError(f"{path}: carries no preprocessing; decode it again from its container")
    preprocessing = choose_preprocessing(config, Preprocessing.from_dict(stored))
    x = preprocessing.apply(dataset.test.x)  # (N, C, H, W)
    accuracy = onnx_accuracy(serialized, x, dataset.test.y)
    latency = onnx_latency(serialized, x.shape[1:])
    return Measured(path, kind, path.stat().st_size, spec, accuracy, len(dataset.test.y), latency)


def _measure_checkpoint(path: Path, config: CompressConfig, trust_pickle: bool) -> Measured:
    from qacomp.checkpoints import read_checkpoint
    from qacomp.evaluation.accuracy import torch_accuracy
    from qacomp.network import build_network, choose_device
    from qacomp.plain_modules import plain_module
    from qacomp.sources import network_of

    checkpoint = read_checkpoint(path, trust_pickle=trust_pickle)
    network = build_network(checkpoint, config)
    if network is None and checkpoint.module is None:
        raise ConfigError(f"{path}: names no architecture; give --arch")
    spec = _spec(path, config, checkpoint.data)
    dataset = load_dataset(spec)
    if network is None and checkpoint.module is not None:
        network = network_of(plain_module(checkpoint.module, path).module, config, dataset, None)
    assert network is not None  # with data a module's input is known
    if dataset.num_classes > network.num_classes:
        raise DataError(f"{spec}: {dataset.num_classes} classes, but the network has {network.num_classes}")
    device = choose_device(config.device)
    x = network.preprocessing.apply(dataset.test.x)  # (N, C, H, W)
    model = network.model.to(device)
    accuracy = torch_accuracy(model, x, dataset.test.y, batch_size=256, device=device)
    return Measured(path, "checkpoint", path.stat().st_size, spec, accuracy, len(dataset.test.y), None)


def _spec(path: Path, config: CompressConfig, stored: NamedData | None) -> str:
    spec, remark = chosen_spec(config.data, stored)
    if spec is None:
        raise ConfigError(f"{path}: {remark or 'names no data; give --data (digits, mnist:DIR, npz:FILE, ...)'}")
    return spec
