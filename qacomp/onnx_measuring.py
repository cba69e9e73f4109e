"""An ONNX model before and after compression: agreement of outputs on given or generated inputs, and a metric."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from qacomp.config import CompressConfig
from qacomp.errors import DataError, ExportError
from qacomp.evaluation.agreement import Agreement, Feed, compare, run_all, worst_of
from qacomp.evaluation.carried import carried_states, run_steps
from qacomp.evaluation.feeds import drawn_again, generated_feeds
from qacomp.evaluation.metrics import Measure, chosen_metric, evaluate, first_outputs
from qacomp.evaluation.samples import Given, Samples, load_samples
from qacomp.evaluation.session import OnnxModel, open_session

_RUNS, _SCALES = 8, (1.0, 0.1)  # in turns: what saturates a network with loud inputs shows with quiet ones
_STEPS = 64  # of a model that carries a state on, at each scale


@dataclass(frozen=True)
class Measured:
    """What is known of the two models; None where a model doesn't run, or there are no labels."""

    agreement: Agreement | None = None
    metric: Measure | None = None


def measure_pair(
    original: OnnxModel,
    changed: OnnxModel,
    given: Given | None,
    config: CompressConfig,
    note: Callable[[str], None],
) -> Measured:
    """Run both models on the `given` data, else on generated inputs, with states that the original comes to.

    Raises DataError where the given data doesn't fit the model. A model that can't be run gets a note.
    """
    try:
        session = open_session(original)
    except ExportError as error:
        note(f"agreement with the original isn't known: {error}")
        return Measured()
    if given is not None:
        samples = load_samples(given, session.get_inputs(), config)
        return _measured(original, changed, samples, samples.source, config.metric)
    try:
        return Measured(_on_generated(original, changed, generated_feeds(session, seed=config.seed), config.seed))
    except (DataError, ExportError) as error:
        note(f"agreement with the original isn't known: {error}")
        return Measured()


def measure_one(model: OnnxModel, given: Given, config: CompressConfig) -> tuple[str, float]:
    """(metric, value) of one model on data with targets. Raises DataError where there are none, or they don't fit."""
    samples = load_samples(given, open_session(model).get_inputs(), config)
    if samples.targets is None:
        raise DataError(f"{samples.source}: has no targets (y, or y_test) to hold the outputs against")
    outputs = first_outputs(run_all(model, samples.feeds))
    name = chosen_metric(config.metric, outputs, samples.targets)
    return name, evaluate(name, outputs, samples.targets)


def _on_generated(original: OnnxModel, changed: OnnxModel, first: Feed, seed: int) -> Agreement:
    """The worst of single runs and, where the model has a state, of as many steps at each scale."""
    feeds = [first, *(drawn_again(first, [seed, i], _SCALES[i % 2]) for i in range(1, _RUNS))]
    text = f"{len(feeds)} generated inputs, seed {seed}"
    before = run_all(original, feeds)
    parts = [compare(before, run_all(changed, feeds), text)]
    states = carried_states(first, before[0])
    if not states:
        return parts[0]
    for place, scale in enumerate(_SCALES):
        drawn = [drawn_again(first, [seed, _RUNS + place, i], scale) for i in range(_STEPS)]
        steps, wanted = run_steps(original, drawn, states)
        parts.append(compare(wanted, run_all(changed, steps), text))
    return worst_of(parts, f"{text}, and {len(_SCALES) * _STEPS} in whose steps {', '.join(states)} is carried on")


def _measured(original: OnnxModel, changed: OnnxModel, samples: Samples, text: str, metric: str) -> Measured:
    before, after = run_all(original, samples.feeds), run_all(changed, samples.feeds)
    agreed = compare(before, after, text)
    if samples.targets is None:
        return Measured(agreed)
    a, b = first_outputs(before), first_outputs(after)
    name = chosen_metric(metric, a, samples.targets)
    original_value, changed_value = (evaluate(name, outputs, samples.targets) for outputs in (a, b))
    return Measured(agreed, Measure(name, original_value, changed_value, len(samples.targets)))
