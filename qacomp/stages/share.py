"""Share a source that nothing is trained in: tensor by tensor, and again with more values where its outputs ask for it.

What is compared with the original, what is written and what a reader decodes is one and the same model, bit for bit;
the last step checks that.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qacomp.errors import AgreementNotReachedError, ExportError
from qacomp.evaluation.onnx_measuring import Measured
from qacomp.evaluation.samples import Given
from qacomp.evaluation.verdict import judge
from qacomp.exporting.operating_points import operating_points
from qacomp.formats import Container, SharedTensor
from qacomp.options.config import CompressConfig
from qacomp.runtime.operator_errors import OperatorError, weight_error
from qacomp.sharing.agreement import Trials, raised_note, refined, refined_alone
from qacomp.sharing.nested_arrays import at_level
from qacomp.sharing.selection import Selection
from qacomp.sharing.share import Packed
from qacomp.sources.source import ModelRuns, PlainSource
from qacomp.stages.figures import Accuracy
from qacomp.stages.made import Made, Measurements, Training
from qacomp.stages.pack_weights import PackedWeights
from qacomp.stages.run import Run
from qacomp.training.history import WeightHistory


def share(source: PlainSource, selection: Selection, config: CompressConfig, data: Given | None, run: Run) -> Made:
    """Share the selected tensors of a source, and measure what comes of it where it can be run.

    data: what it is measured on (see `load_samples`); without it outputs are compared on generated inputs. Raises
    AgreementNotReachedError, DataError for data that doesn't fit the model.
    """
    vectors = source.vectors(config.stored_precision)
    selection = selection.with_reasons(vectors)
    packed = PackedWeights(source, vectors, config)
    with run.stage("evaluate"):
        runs = source.runs(data, config, run.note)
    if source.large:
        if config.min_agreement:
            raise AgreementNotReachedError(
                f"--min-agreement {config.min_agreement:g}: a model of 1 GiB or more isn't run here, so nothing is"
                " written; leave it"
            )
        return _one_by_one(source, selection, packed, config)
    work = _Work(source, config, packed, runs, run)
    selection = work.refine(selection)
    for text in (*packed.notes, raised_note(selection.layers, config.k)):
        if text:
            run.note(text)
    selection = packed.left(selection)
    with run.stage("evaluate"):
        coarser = work.coarser() if work.measured.agreement is not None else {}
        errors = _errors(source, packed.items, runs)
    found = _judged(work.measured, errors, config)
    made = _made(source, selection, packed.items, found, config)
    if config.levels is not None and source.graph() is not None:
        each = coarser | {f"level{config.levels[-1]}": work.measured}
        made = replace(made, meta={**made.meta, "submodels": {name: _point(m) for name, m in each.items()}})
    return replace(made, training=_moved(source, selection, packed.items))


@dataclass
class _Work:
    """Shares and measures, over and over. measured: what the last measurement found."""

    source: PlainSource
    config: CompressConfig
    packed: PackedWeights
    runs: ModelRuns | None
    run: Run
    measured: Measured = field(default_factory=Measured)

    def refine(self, selection: Selection) -> Selection:
        """Share the selection, with more values in some tensors where the settings ask for agreement."""
        read = {weight.name: weight.read for weight in self.source.weights()}
        if self.runs is None and self.source.graph() is None:
            with self.run.stage("share"):
                selection = refined_alone(selection, self.config, lambda name: read[name]())
                self.packed.share(selection)
            return selection
        trials = Trials(self._tried, self.packed.dense, self._felt)
        selection, missed = refined(selection, self.config, lambda name: read[name](), trials)
        if missed:
            self.run.note(missed)
        return selection

    def coarser(self) -> dict[str, Measured]:
        """Measure each level but the finest, by the level's name."""
        measured = {}
        for level, k in enumerate((self.config.levels or ())[:-1]):
            view = {name: at_level(item, level) for name, item in self.packed.items.items()}
            found = self._measured(partial(_dense, view))
            measured[f"level{k}"] = found
            if found.agreement is not None and found.agreement.cosine is not None:
                self.run.note(f"level{k}: cosine {found.agreement.cosine:.4f} with the original's outputs")
        return measured

    def _tried(self, selection: Selection) -> float | None:
        """Share a selection and run the model: 1 − cosine of the worst output, None where it can't be run."""
        with self.run.stage("share"):
            self.packed.share(selection)
        with self.run.stage("evaluate"):
            self.measured = self._measured(self.packed.dense)
        cosine = None if self.measured.agreement is None else self.measured.agreement.cosine
        return None if cosine is None else 1 - cosine

    def _measured(self, values: Callable[[str], Any]) -> Measured:
        return Measured() if self.runs is None else self.runs.measured(values)

    def _felt(self) -> Mapping[str, float]:
        with self.run.stage("evaluate"):
            if self.runs is None:
                errors = _errors(self.source, self.packed.items, None)
                return {name: 10 ** (error.db / 10) for name, error in errors.items()}
            return self.runs.felt(self.packed.items)


def _dense(items: Mapping[str, Packed], name: str) -> NDArray[Any]:
    return items[name].dense()


def _errors(source: PlainSource, items: Mapping[str, Packed], runs: ModelRuns | None) -> dict[str, OperatorError]:
    """Return the error of each shared tensor where it works, or the weights' own where nothing is run."""
    if runs is not None:
        return runs.errors(items)
    shared = {name for name, item in items.items() if isinstance(item.value, SharedTensor)}
    return {w.name: weight_error(w.read(), items[w.name].dense()) for w in source.weights() if w.name in shared}


def _judged(measured: Measured, errors: Mapping[str, OperatorError], config: CompressConfig) -> Measurements:
    k = config.k if config.levels is None and config.codebook == "tensor" else None
    verdict = judge(measured.agreement, errors, _percent(measured), k)
    return Measurements(_accuracy(measured), measured.agreement, measured.metric, errors, verdict=verdict)


def _made(
    source: PlainSource,
    selection: Selection,
    items: Mapping[str, Packed],
    found: Measurements,
    config: CompressConfig,
) -> Made:
    graph = source.graph()
    told = {} if graph is None else _figures(found, config)
    meta = {**source.metadata(), **told, **found.verdict.to_json()}

    def finish(container: Container) -> tuple[Measurements, Selection]:
        if graph is not None:
            _compare(container, graph, items)
        points = operating_points(container, container.source)
        return replace(found, max_abs_error=None if graph is None else 0.0, points=points), selection

    return Made(selection, items.items(), graph, meta, found, finish)


def _one_by_one(source: PlainSource, selection: Selection, packed: PackedWeights, config: CompressConfig) -> Made:
    """Make a container of tensors that are shared as they are written; what they lose is known only afterwards."""
    found = Measurements(verdict=judge(None, {}, None, config.k))
    whole = _made(source, selection, {}, found, config)

    def finish(container: Container) -> tuple[Measurements, Selection]:
        measured, _ = whole.finish(container)
        return replace(measured, errors=packed.errors), packed.left(selection)

    return replace(whole, tensors=packed.one_by_one(selection), finish=finish)


def _compare(container: Container, graph: bytes | None, items: Mapping[str, Packed]) -> None:
    """Raise ExportError unless the container holds this graph and these very values."""
    if graph is not None and container.graph() != graph:
        raise ExportError(f"{container.source}: the graph read back isn't the one written; please report this")
    for name, item in items.items():
        read, expected = container.tensor(name), item.dense()
        if read.dtype != expected.dtype or read.tobytes() != np.ascontiguousarray(expected).tobytes():
            raise ExportError(f"{container.source}: {name[:80]} read back isn't what was written; please report this")


def _moved(source: PlainSource, selection: Selection, items: Mapping[str, Packed]) -> Training:
    """Return how far sharing moved each tensor."""
    read = {weight.name: weight.read for weight in source.weights()}
    values = {layer.name: read[layer.name]() for layer in selection.layers}
    weights = WeightHistory(list(values), values)
    return Training(weights=weights.finished(), errors=weights.errors({name: items[name].value for name in values}))


def _percent(measured: Measured) -> tuple[float, float] | None:
    """Return (original, decoded) accuracy, where that is the metric."""
    metric = measured.metric
    return None if metric is None or metric.name != "accuracy" else (metric.original, metric.decoded)


def _accuracy(measured: Measured) -> Accuracy:
    """Return it in percent, where that is the metric: nothing is tuned, what is shared is what is decoded."""
    percent = _percent(measured)
    return Accuracy() if percent is None else Accuracy(percent[0], percent[1], percent[1], percent[1])


def _figures(found: Measurements | Measured, config: CompressConfig) -> dict[str, Any]:
    """Return what the container's metadata say of the measurements."""
    figures: dict[str, Any] = {} if config.data is None else {"data": config.data}
    if found.agreement is not None:
        figures["agreement"] = found.agreement.to_json()
    if found.metric is not None:
        figures["metric"] = found.metric.to_json()
    accuracy = found.accuracy if isinstance(found, Measurements) else _accuracy(found)
    told = {name: value for name, value in asdict(accuracy).items() if value is not None}
    return figures | ({"accuracy": told} if told else {})


def _point(measured: Measured) -> dict[str, Any]:
    """Return what the metadata say of one level; its accuracy in percent, where that is the metric."""
    figures = _figures(measured, CompressConfig())
    figures.pop("accuracy", None)
    figures |= judge(measured.agreement, {}, _percent(measured)).to_json()
    accuracy = _accuracy(measured).decoded
    return figures if accuracy is None else figures | {"accuracy": accuracy}
