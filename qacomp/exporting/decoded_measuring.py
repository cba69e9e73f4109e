"""Measure a decoded ONNX file: accuracy or metric, latency, verdict, and a comparison with the dense file.

`measure_decoded` adds the figures to the result of `decode_file`. Doesn't need torch.
"""

import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from qacomp.datasets import NamedData, chosen_spec, load_dataset
from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import (
    DataError,
    ExportError,
    MetricError,
    MissingPackageError,
    NotACheckpointError,
    StoppedRunError,
)
from qacomp.evaluation.accuracy import onnx_accuracy
from qacomp.evaluation.onnx_measuring import measure_one
from qacomp.evaluation.verdict import Verdict, judge
from qacomp.exporting.decoded import Decoded
from qacomp.exporting.onnx_file import write_dense
from qacomp.exporting.onnx_model import is_original
from qacomp.exporting.onnx_options import WrittenOnnx
from qacomp.exporting.operating_points import verdict_at
from qacomp.exporting.part import level_of
from qacomp.formats import Container
from qacomp.formats.scratch import part_folder
from qacomp.graphs.metadata import metadata, required
from qacomp.options.config import CompressConfig
from qacomp.options.metric_names import METRICS
from qacomp.options.older import translated
from qacomp.remote import open_file
from qacomp.runtime.comparison import FP32_ACTIVATIONS, compare_files
from qacomp.runtime.feeds import generated_feeds
from qacomp.runtime.latency import Latency, feed_latency, onnx_latency
from qacomp.runtime.limits import measured_together
from qacomp.runtime.session import open_session


@measured_together()
def measure_decoded(done: Decoded, data: str | None = None) -> Decoded:
    """Return `done` with the figures of an ONNX file; files of other formats aren't measured.

    Accuracy or another metric is measured on the test split of `data`, or of built-in data that the container names,
    and the verdict is then about that accuracy. Latency is that of one input in onnxruntime. A file whose form isn't
    dense is compared with the dense one. Notes say what wasn't measured and why. Raises DataError if `data` can't be
    read.
    """
    if done.output.suffix != ".onnx":
        return done
    with open_file(done.container, allow_truncated=done.part.allow_truncated) as container:
        if done.onnx is not None and done.onnx.mode != "dense":
            done = _beside_dense(container, done, done.onnx)
        prepared = not is_original(container) and "preprocessing" in metadata(container)
        done = (_measure_network if prepared else _measure_original)(container, done, data)
        if done.accuracy is None or data not in (None, metadata(container).get("data")):
            return done
        verdict, stated = _judged(container, done.accuracy), verdict_at(container, level_of(container, done.part))
        if verdict is None or _as_stated(container, done.accuracy):
            return replace(done, verdict=stated)
        return replace(done, verdict=verdict, judged_now=True)


def _beside_dense(container: Container, done: Decoded, made: WrittenOnnx) -> Decoded:
    """Compare the file with the dense one, which is written to a temporary folder beside it, on generated inputs."""
    shape = None if is_original(container) else metadata(container).get("input_shape")
    with part_folder(done.output.parent) as folder:
        dense = folder / "dense.onnx"
        write_dense(container, dense, done.part)
        try:
            feeds = generated_feeds(open_session(dense, threads=1), dense, input_shape=shape)
        except (DataError, ExportError, NotACheckpointError) as problem:
            return _noted(done, f"not compared with the dense file: {problem}")
        try:
            return replace(done, onnx=replace(made, comparison=compare_files(done.output, dense, feeds)))
        except StoppedRunError as problem:
            return _noted(done, f"not compared with the dense file: {problem}")


def _measure_network(container: Container, done: Decoded, data: str | None) -> Decoded:
    """Measure the latency and accuracy of a network that qacomp exported, whose images qacomp prepares."""
    try:
        done = replace(done, latency=onnx_latency(done.output, tuple(required(container, "input_shape"))))
        return _measure_accuracy(container, done, data)
    except StoppedRunError as stopped:
        return _noted(done, f"not measured: {stopped}")


def _measure_original(container: Container, done: Decoded, data: str | None) -> Decoded:
    """Measure the latency and metric (which may be accuracy) of a model that is fed as it is."""
    latency, remarks = measure_latency(done.output)
    metric, more = _measure_metric(container, done.output, data)
    accuracy = metric["value"] if metric is not None and metric["name"] == "accuracy" else None
    return replace(_noted(done, *remarks, *more), latency=latency, metric=metric, accuracy=accuracy)


def _noted(done: Decoded, *notes: str) -> Decoded:
    return replace(done, notes=(*done.notes, *notes))


def _measure_accuracy(container: Container, done: Decoded, data: str | None) -> Decoded:
    """Measure top-1 accuracy on the test split of `data`, or of built-in data that the container names.

    If onnxruntime fuses integer products, accuracy with fp32 activations is measured too. Raises DataError if `data`
    can't be read.
    """
    spec, remark = chosen_spec(data, NamedData.told(metadata(container).get("data")))
    if spec is None:
        return _noted(done, f"no accuracy: {remark or 'the container names no data; give --data'}")
    try:
        test = load_dataset(spec).test
    except (DataError, MissingPackageError) as problem:
        if data is not None:
            raise
        return _noted(done, f"no accuracy: the data that the container names can't be read ({problem}); give --data")
    x = Preprocessing.from_dict(required(container, "preprocessing")).apply(test.x)  # (N, C, H, W)
    done = replace(done, accuracy=onnx_accuracy(done.output, x, test.y))
    if done.onnx is None or not done.onnx.fused:
        return done
    precise = open_session(done.output, settings=FP32_ACTIVATIONS)
    return replace(done, accuracy_fp32=onnx_accuracy(precise, x, test.y))


def measure_latency(output: Path, seed: int = 0) -> tuple[Latency | None, tuple[str, ...]]:
    """Measure the latency of a model on a generated input; if that fails, return None and a note with the reason."""
    try:
        session = open_session(output, threads=1)
        return feed_latency(session, generated_feeds(session, output, seed=seed)), ()
    except (DataError, ExportError, NotACheckpointError) as error:
        return None, (f"no latency: {error}",)


def _measure_metric(
    container: Container, output: Path, data: str | None
) -> tuple[dict[str, Any] | None, tuple[str, ...]]:
    """Measure a model's metric on `data`, or on built-in data that the container names: ({"name", "value"}, notes).

    Without data the metric is None. Raises DataError if `data` can't be read.
    """
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
    except (DataError, MissingPackageError) as problem:
        if data is not None:
            raise
        return None, (f"not measured on the container's data: {problem}; give --data",)
    return {"name": found.metric, "value": found.value}, notes


def _told_settings(container: Container) -> tuple[CompressConfig, tuple[str, ...]]:
    """Return the container's settings for inputs and metric, and a note if its metric is code, which isn't run."""
    where = "the container's settings"
    try:
        table = translated(tomllib.loads(str(metadata(container).get("settings", ""))), where)
    except tomllib.TOMLDecodeError:
        table = {}
    told: dict[str, Any] = {"preprocess": table.get("preprocess")}
    metric = table.get("metric", "auto")
    notes: tuple[str, ...] = ()
    if metric in METRICS:
        told["metric"] = metric
    else:
        notes = (f"the container's metric {str(metric)[:80]!r} isn't run, since a file must not run code",)
    return CompressConfig().with_settings(told, where), notes


def _as_stated(container: Container, accuracy: float) -> bool:
    """Return whether the container's own verdict knew this accuracy, and more: it comes from the outputs too."""
    known = metadata(container).get("accuracy")
    recorded = known.get("tuned") if isinstance(known, Mapping) else None
    return "agreement" in metadata(container) and isinstance(recorded, int | float) and recorded == accuracy


def _judged(container: Container, accuracy: float) -> Verdict | None:
    """Return the verdict on `accuracy` in percent; None if the container doesn't record the original accuracy."""
    known = metadata(container).get("accuracy")
    original = known.get("original") if isinstance(known, Mapping) else None
    if not isinstance(original, int | float) or isinstance(original, bool):
        return None
    chance = known.get("chance") if isinstance(known, Mapping) else None
    told = float(chance) if isinstance(chance, int | float) and not isinstance(chance, bool) else None
    return judge(None, {}, (float(original), accuracy), chance=told)
