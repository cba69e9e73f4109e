"""Measure a source that was shared without training: outputs, operators' errors, the verdict, and what is read back.

The model that is compared with the original, the one that is written, and the one that a reader decodes are the same,
bit for bit; the last step checks that.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import ExportError
from qacomp.evaluation.advice import finer_settings
from qacomp.evaluation.measured import Measured
from qacomp.evaluation.verdict import judge
from qacomp.exporting.operating_points import operating_points
from qacomp.formats import Container, SharedTensor
from qacomp.options.config import CompressConfig
from qacomp.runtime.operator_error import OperatorError, weight_error
from qacomp.sharing.nested_arrays import at_level
from qacomp.sharing.selection import Selection
from qacomp.sharing.share import Packed
from qacomp.sources.source import ModelRuns, PlainSource
from qacomp.stages.figures import Accuracy
from qacomp.stages.made import Made, Measurements, Training


def operator_errors(
    source: PlainSource, items: Mapping[str, Packed], runs: ModelRuns | None
) -> dict[str, OperatorError]:
    """Return the error of each shared tensor at the operators that read it; if nothing is run, of the weights."""
    if runs is not None:
        return runs.errors(items)
    shared = {name for name, item in items.items() if isinstance(item.value, SharedTensor)}
    return {w.name: weight_error(w.read(), items[w.name].dense()) for w in source.weights() if w.name in shared}


def judged(measured: Measured, errors: Mapping[str, OperatorError], config: CompressConfig) -> Measurements:
    """Return the measurements of a model, with the verdict on them."""
    finer = finer_settings(config)
    verdict = judge(measured.agreement, errors, _percent(measured), finer, samples=_samples(measured))
    return Measurements(
        _accuracy(measured), measured.agreement, measured.metric, measured.loss, errors, verdict=verdict
    )


def coarser_levels(
    items: Mapping[str, Packed], numbers: Sequence[int], runs: ModelRuns | None, note: Callable[[str], None]
) -> dict[str, Measured]:
    """Measure each level but the finest; return the measurements by the level's name. numbers: see `level_numbers`.

    note: called with a text for each level.
    """
    measured: dict[str, Measured] = {}
    for level, number in enumerate(numbers[:-1]):
        view = {name: at_level(item, level) for name, item in items.items()}
        found = Measured() if runs is None else runs.measured(partial(_dense, view))
        measured[f"level{number}"] = found
        if found.agreement is not None and found.agreement.cosine is not None:
            note(f"level{number}: cosine {found.agreement.cosine:.4f} with the original's outputs")
    return measured


def _dense(items: Mapping[str, Packed], name: str) -> NDArray[Any]:
    return items[name].dense()


def made_of(
    source: PlainSource,
    selection: Selection,
    items: Mapping[str, Packed],
    found: Measurements,
    config: CompressConfig,
) -> Made:
    """Return what a container of the packed tensors holds, and how the file that was written is compared with it."""
    graph = source.graph()
    told = {} if graph is None else _figures(found, config)
    meta = {**source.metadata(), **told, **found.verdict.to_json()}

    def finish(container: Container) -> tuple[Measurements, Selection]:
        if graph is not None:
            _compare(container, graph, items)
        points = operating_points(container, container.source)
        return replace(found, max_abs_error=None if graph is None else 0.0, points=points), selection

    return Made(selection, items.items(), graph, meta, found, finish)


def _compare(container: Container, graph: bytes | None, items: Mapping[str, Packed]) -> None:
    """Raise ExportError unless the container holds this graph and exactly these values."""
    if graph is not None and container.graph() != graph:
        raise ExportError(f"{container.source}: the graph read back isn't the one written; please report this")
    for name, item in items.items():
        read, expected = container.tensor(name), item.dense()
        if read.dtype != expected.dtype or read.tobytes() != np.ascontiguousarray(expected).tobytes():
            raise ExportError(
                f"{container.source}: tensor {name[:80]} read back isn't the one written; please report this"
            )


def moved(source: PlainSource, selection: Selection, items: Mapping[str, Packed]) -> Training:
    """Return the histograms and relative errors of the shared tensors."""
    from qacomp.training.history import WeightHistory

    read = {weight.name: weight.read for weight in source.weights()}
    values = {layer.name: read[layer.name]() for layer in selection.layers}
    weights = WeightHistory(list(values), values)
    return Training(weights=weights.finished(), errors=weights.errors({name: items[name].value for name in values}))


def _percent(measured: Measured) -> tuple[float, float] | None:
    """Return (original, decoded) accuracy in percent, or None if another metric or none was measured."""
    metric = measured.metric
    return None if metric is None or metric.name != "accuracy" else (metric.original, metric.decoded)


def _samples(measured: Measured) -> int | None:
    return None if measured.metric is None else measured.metric.samples


def _accuracy(measured: Measured) -> Accuracy:
    """Return the accuracies in percent, if accuracy is the metric; without tuning all but the original's are equal."""
    percent = _percent(measured)
    return Accuracy() if percent is None else Accuracy(percent[0], percent[1], percent[1], percent[1])


def _figures(found: Measurements | Measured, config: CompressConfig) -> dict[str, Any]:
    """Return the measurements as entries of the container's metadata."""
    figures: dict[str, Any] = {} if config.data is None else {"data": config.data}
    if found.agreement is not None:
        figures["agreement"] = found.agreement.to_json()
    if found.metric is not None:
        figures["metric"] = found.metric.to_json()
    accuracy = found.accuracy if isinstance(found, Measurements) else _accuracy(found)
    told = {name: value for name, value in asdict(accuracy).items() if value is not None}
    return figures | ({"accuracy": told} if told else {})


def point_of(measured: Measured) -> dict[str, Any]:
    """Return one level's measurements as a metadata entry; accuracy is in percent, if it is the metric."""
    figures = _figures(measured, CompressConfig())
    figures.pop("accuracy", None)
    figures |= judge(measured.agreement, {}, _percent(measured), samples=_samples(measured)).to_json()
    accuracy = _accuracy(measured).decoded
    return figures if accuracy is None else figures | {"accuracy": accuracy}
