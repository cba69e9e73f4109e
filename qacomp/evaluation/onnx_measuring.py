"""Measure an ONNX model before and after compression: agreement of outputs, errors at operators, and a metric."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray
from onnx import ModelProto

from qacomp.datasets.preprocessing import Preprocessing
from qacomp.errors import DataError, ExportError, MetricError, StoppedRunError
from qacomp.evaluation.measured import Measured
from qacomp.evaluation.metrics import Measure, chosen_metric, evaluate, first_outputs, more_is_better
from qacomp.evaluation.paired import paired_loss
from qacomp.evaluation.samples import Given, Samples, load_parts, load_samples, own_batches
from qacomp.graphs.open_weights import with_open_weights
from qacomp.options.config import CompressConfig
from qacomp.options.needs import rate_aware
from qacomp.runtime.agreement import Feed, compare, run_all, run_feed, run_weights, worst_of
from qacomp.runtime.carried import carried_states, run_steps
from qacomp.runtime.feeds import GeneratedInputs, generated_inputs
from qacomp.runtime.operator_error import OperatorError, weight_error
from qacomp.runtime.operator_errors import OperatorErrors
from qacomp.runtime.session import OnnxModel, Session, open_session

_RUNS = 8  # inputs, alternately loud and quiet: loud ones may saturate a network and hide errors that quiet ones show
_ALONE = 2  # of them that are run when tensors are tried one by one: a loud and a quiet one
_STEPS = 64  # steps of a recurrent model with loud inputs, and again with quiet ones


@dataclass(frozen=True)
class Reference:
    """The outputs of the original model, with which those of changed models are compared.

    parts: (inputs, outputs) of groups of runs; text: describes the inputs; batch: examples in a run; targets: of the
    first part's outputs, if the data has any, with the name of the `metric` and its `value` for the original.
    validation: the samples on which steps are chosen, if they are others than these; noise: measure that of the metric.
    """

    parts: tuple[tuple[Sequence[Feed], Sequence[Feed]], ...]
    text: str
    batch: int = 1
    targets: NDArray[Any] | None = None
    metric: str = "auto"
    value: float = 0.0
    validation: Reference | None = None
    noise: bool = False


def reference_outputs(
    original: OnnxModel, graph: ModelProto, given: Given | None, config: CompressConfig, note: Callable[[str], None]
) -> Reference | None:
    """Run the original on the `given` data, else on inputs generated for its `graph`; return its outputs.

    A recurrent model is also run in steps (see `run_steps`). Where steps are chosen by labels, those of a validation
    part decide, and the others are reported. If the model can't be run, None is returned, and `note` is called with the
    reason. Raises DataError if the given data doesn't fit the model.
    """
    try:
        session = open_session(original)
    except ExportError as error:
        note(f"agreement with the original isn't known: {error}")
        return None
    if given is not None:
        try:
            return _of_data(original, session, given, config, note)
        except StoppedRunError as error:
            note(f"agreement with the original isn't known: {error}")
            return None
    try:
        inputs = generated_inputs(graph, lambda feed: run_feed(session, feed))
        return _generated(original, inputs, config.seed)
    except (DataError, ExportError) as error:
        note(f"agreement with the original isn't known: {error}")
        return None


def measure(known: Reference, changed: OnnxModel, note: Callable[[str], None]) -> Measured:
    """Run a changed model on the inputs of `known` and compare; of several parts the worst counts.

    If the model can't be run, the result is empty, and `note` is called with the reason.
    """
    try:
        found = [run_all(changed, feeds) for feeds, _ in known.parts]
    except ExportError as error:
        note(f"agreement with the original isn't known: {error}")
        return Measured()
    pairs = zip(known.parts, found, strict=True)
    compared = [compare(wanted, own, known.text, known.batch) for (_, wanted), own in pairs]
    agreed = compared[0] if len(compared) == 1 else worst_of(compared, known.text)
    if known.targets is None:
        return Measured(agreed)
    outputs = first_outputs(found[0])
    value = evaluate(known.metric, outputs, known.targets)
    before = first_outputs(known.parts[0][1])
    loss = paired_loss(known.metric, before, outputs, known.targets) if known.noise else None
    higher = more_is_better(known.metric)
    return Measured(agreed, Measure(known.metric, known.value, value, len(known.targets), higher), loss)


def _of_data(
    original: OnnxModel, session: Session, given: Given, config: CompressConfig, note: Callable[[str], None]
) -> Reference:
    """Return the outputs on the samples of `given` that are reported, and on those that decide, if any choice does."""
    decides = rate_aware(config) and config.target_size is None
    if decides:
        samples, deciding = load_parts(given, session.get_inputs(), config)
    else:
        samples, deciding = load_samples(given, session.get_inputs(), config), None
    known = _known(original, samples, config, note)
    if deciding is not None:
        return replace(known, validation=_known(original, deciding, config, lambda _: None))
    if decides and known.targets is not None:
        note(f"{samples.source}: too few samples for a part that decides, so steps are chosen on those that it reports")
    return known


def _known(original: OnnxModel, samples: Samples, config: CompressConfig, note: Callable[[str], None]) -> Reference:
    part = samples.feeds, run_all(original, samples.feeds)
    known = Reference((part,), samples.source, _batch(samples.feeds), noise=config.max_drop is not None)
    return known if samples.targets is None else _valued(known, samples.targets, config.metric, note)


def _valued(known: Reference, targets: NDArray[Any], metric: str, note: Callable[[str], None]) -> Reference:
    """Return `known` with targets and the original's value of the metric.

    If the metric is auto and neither accuracy nor mse fits, `known` is unchanged, and `note` is called.
    """
    outputs = first_outputs(known.parts[0][1])
    name = chosen_metric(metric, outputs, targets)
    try:
        return replace(known, targets=targets, metric=name, value=evaluate(name, outputs, targets))
    except MetricError as error:
        if metric != "auto":
            raise
        note(f"not measured against the targets: {error}")
        return known


def measure_errors(
    model: ModelProto,
    known: Reference | None,
    names: Mapping[str, str],
    original: Mapping[str, NDArray[Any]],
    changed: Mapping[str, NDArray[Any]],
) -> dict[str, OperatorError]:
    """Measure the error of each changed weight at its operators, on some of the known inputs; see `OperatorErrors`.

    names: tensor -> the weight's name in `model`; original, changed: the weights' values by tensor. `model` is changed
    in place. If it was not or can't be run, errors are those of the weights themselves.
    """
    plain = {name: weight_error(original[name], values) for name, values in changed.items()}
    if known is None or not changed:
        return plain
    feeds = [feed for inputs, _ in known.parts for feed in _some(inputs)]
    try:
        return OperatorErrors(model, names, feeds)(original, changed)
    except (ExportError, DataError, ValueError, RuntimeError):  # the last two come from onnx's inliner
        return plain


def deviations_alone(
    model: ModelProto,
    known: Reference,
    names: Mapping[str, str],
    original: Mapping[str, NDArray[Any]],
    changed: Mapping[str, NDArray[Any]],
) -> dict[str, float]:
    """Measure 1 − cosine of the worst output if only one weight is changed, for each weight, on some known inputs.

    names: tensor -> the weight's name in `model`; `model` is changed in place. All weights are tried in one session; a
    weight that can't be made an input has no entry. Raises ExportError if onnxruntime refuses the model with its
    weights as inputs.
    """
    opened = set(with_open_weights(model, names.values()))
    held = {name: value for name, value in names.items() if value in opened}
    parts = [list(known.parts[0][0][:_ALONE]), *(_some(inputs) for inputs, _ in known.parts[1:])]
    feeds = [feed for part in parts for feed in part]
    plain = {value: original[name] for name, value in held.items()}
    sets = [plain, *({**plain, value: changed[name]} for name, value in held.items())]
    found = run_weights(model, feeds, sets)
    before = _cut(next(found), parts)
    return {name: _deviation(before, _cut(outputs, parts)) for name, outputs in zip(held, found, strict=True)}


def _cut(outputs: Sequence[Feed], parts: Sequence[Sequence[Feed]]) -> list[Sequence[Feed]]:
    """Split the outputs of all runs into the outputs of each part."""
    ends = list(itertools.accumulate(len(part) for part in parts))
    return [outputs[end - len(part) : end] for part, end in zip(parts, ends, strict=True)]


def _deviation(before: Sequence[Sequence[Feed]], after: Sequence[Sequence[Feed]]) -> float:
    cosines = [compare(a, b, "").cosine for a, b in zip(before, after, strict=True)]
    return max((1 - c for c in cosines if c is not None), default=0.0)


def _some(inputs: Sequence[Feed]) -> list[Feed]:
    """Return four of the inputs, evenly spaced from the first to the last."""
    return [inputs[i] for i in sorted({round(i * (len(inputs) - 1) / 3) for i in range(4)})]


def _generated(original: OnnxModel, inputs: GeneratedInputs, seed: int) -> Reference:
    """Run the original on generated inputs and, if the model has a state, in steps with loud and with quiet inputs.

    Each group of runs has a new session, as for the changed model: random operators go on from run to run in a session.
    """
    feeds = [inputs.feed([seed, i], loud=i % 2 == 0) for i in range(_RUNS)]
    text, parts = f"{len(feeds)} generated inputs, seed {seed}: {inputs}", [(feeds, run_all(original, feeds))]
    states = carried_states(feeds[0], parts[0][1][0])
    if not states:
        return Reference(tuple(parts), text)
    for place, loud in enumerate((True, False)):
        drawn = [inputs.feed([seed, _RUNS + place, i], loud) for i in range(_STEPS)]
        parts.append(run_steps(original, drawn, states))
    text = f"{text}, and {2 * _STEPS} in whose steps {', '.join(states)} is carried on"
    return Reference(tuple(parts), text)


def _batch(feeds: Sequence[Feed]) -> int:
    """Return the number of examples in a run: the inputs' rows if all have the same number, else 1."""
    rows = {len(value) if value.ndim else 0 for feed in feeds[:1] for value in feed.values()}
    return max(1, rows.pop()) if len(rows) == 1 else 1


@dataclass(frozen=True)
class Value:
    """One model's `metric`: its value on `samples` samples, accuracy in percent; `feed`: inputs of the first run."""

    metric: str
    value: float
    samples: int
    feed: Feed


def measure_one(model: OnnxModel, given: Given, config: CompressConfig, stored: Preprocessing | None = None) -> Value:
    """Measure one model on data with targets; stored: the preprocessing that the model's file names.

    Raises DataError if there are no targets, or they don't fit; ExportError if the model can't be run.
    """
    session = open_session(model)
    if (own := own_batches(given)) is not None:
        from qacomp.evaluation.own_samples import measure_batches, own_part

        test = own_part(*own, session.get_inputs())
        metric, value, count, feed = measure_batches(session, test, config.metric)
        return Value(metric.name, value, count, feed)
    samples = load_samples(given, session.get_inputs(), config, stored)
    if samples.targets is None:
        raise DataError(f"{samples.source}: has no targets (y, or y_test), so no metric can be measured; add them")
    outputs = first_outputs(run_all(model, samples.feeds))
    name = chosen_metric(config.metric, outputs, samples.targets)
    return Value(name, evaluate(name, outputs, samples.targets), len(samples.targets), samples.feeds[0])
