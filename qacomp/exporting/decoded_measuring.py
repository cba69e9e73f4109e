"""Accuracy, latency, metric and agreement of a decoded ONNX file. Needs no torch."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qacomp.datasets import NamedData, chosen_spec, load_dataset
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import DataError, ExportError, MetricError, NotACheckpointError, StoppedRunError
from qacomp.evaluation.accuracy import onnx_accuracy
from qacomp.evaluation.onnx_measuring import measure_one
from qacomp.evaluation.verdict import judge, stated_verdict
from qacomp.exporting.metadata import metadata, required
from qacomp.exporting.operating_points import level_sizes
from qacomp.formats import Container
from qacomp.options.config import CompressConfig
from qacomp.options.metric_names import METRICS
from qacomp.runtime.comparison import FP32_ACTIVATIONS
from qacomp.runtime.feeds import generated_feeds
from qacomp.runtime.latency import Latency, feed_latency
from qacomp.runtime.session import open_session


@dataclass(frozen=True)
class MeasuredAccuracy:
    """In percent, None where it isn't known, as `notes` say; `fp32`: with activations in fp32, of integer products."""

    value: float | None = None
    fp32: float | None = None
    notes: tuple[str, ...] = ()


def measure_accuracy(container: Container, output: Path, data: str | None, *, fused: bool) -> MeasuredAccuracy:
    """Top-1 of a decoded network on the test split of `data`, or of built-in data that the container names.

    `fused`: onnxruntime runs products on integers, so it is taken with activations in fp32 as well. Raises DataError
    where `data` can't be read.
    """
    spec, remark = chosen_spec(data, NamedData.told(metadata(container).get("data")))
    if spec is None:
        return MeasuredAccuracy(notes=(f"no accuracy: {remark or 'the container names no data; give --data'}",))
    try:
        test = load_dataset(spec).test
    except DataError as problem:
        if data is not None:
            raise
        note = f"no accuracy: the container's data can't be read here ({problem}); give --data"
        return MeasuredAccuracy(notes=(note,))
    x = Preprocessing.from_dict(required(container, "preprocessing")).apply(test.x)  # (N, C, H, W)
    precise = onnx_accuracy(output, x, test.y, settings=FP32_ACTIVATIONS) if fused else None
    return MeasuredAccuracy(onnx_accuracy(output, x, test.y), precise)


def measure_latency(output: Path, seed: int = 0) -> tuple[Latency | None, tuple[str, ...]]:
    """Latency of a decoded model on a generated input, or a note that says why there is none."""
    try:
        session = open_session(output, threads=1)
        return feed_latency(session, generated_feeds(session, output, seed=seed)), ()
    except (DataError, ExportError, NotACheckpointError) as error:
        return None, (f"no latency: {error}",)


def measure_metric(
    container: Container, output: Path, data: str | None
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """{"name", "value"} of a decoded model on `data`, else on built-in data that it names; without any None, a note."""
    spec, remark = chosen_spec(data, NamedData.told(metadata(container).get("data")))
    if spec is None:
        return None, (f"not measured: {remark}",) if remark else ()
    config, notes = _told_settings(container)
    try:
        found = measure_one(str(output), spec, config)
    except StoppedRunError as stopped:
        return None, (f"not measured on data: {stopped}",)
    except MetricError as problem:
        return None, (f"not measured on data: {problem} to qacomp eval",)
    except DataError as problem:
        if data is not None:
            raise
        return None, (f"not measured on the container's data: {problem}; give --data",)
    return {"name": found.metric, "value": found.value}, notes


def _told_settings(container: Container) -> tuple[CompressConfig, tuple[str, ...]]:
    """How the container says that its model is fed and measured; a remark on a metric that only a user may name."""
    try:
        table = tomllib.loads(str(metadata(container).get("settings", "")))
    except tomllib.TOMLDecodeError:
        table = {}
    told: dict[str, Any] = {name: table[name] for name in ("size", "mean", "std") if name in table}
    metric = table.get("metric", "auto")
    notes: tuple[str, ...] = ()
    if metric in METRICS:
        told["metric"] = metric
    else:
        notes = (f"the metric that the container names ({str(metric)[:80]!r}) isn't run: a file runs no code",)
    return CompressConfig().with_settings(told, "the container's settings"), notes


def judged(container: Container, level: int | None, accuracy: float | None) -> dict[str, Any]:
    """`verdict` and `judged_now` of a Decoded: on an accuracy measured now, else what the container states.

    The first needs the original's accuracy, which compression measured on the same data.
    """
    known = metadata(container).get("accuracy")
    original = known.get("original") if isinstance(known, Mapping) else None
    if accuracy is not None and isinstance(original, int | float) and not isinstance(original, bool):
        return {"verdict": judge(None, {}, (float(original), accuracy)), "judged_now": True}
    if container.levels == 1:
        return {"verdict": stated_verdict(metadata(container))}
    entry = _point(container, level)
    return {"verdict": None if entry is None else stated_verdict(entry)}


def known_agreement(container: Container, level: int | None) -> dict[str, Any] | None:
    """The agreement with the original that compression measured at a level (None: the finest that is there)."""
    if container.levels == 1:
        return metadata(container).get("agreement")
    entry = _point(container, level)
    return None if entry is None else entry.get("agreement")


def _point(container: Container, level: int | None) -> Mapping[str, Any] | None:
    """What the metadata say of a level."""
    known = metadata(container).get("submodels", {})
    here = level_sizes(container)[container.level if level is None else level]
    entry = known.get(f"level{here}") if isinstance(known, dict) else None
    return entry if isinstance(entry, dict) else None
