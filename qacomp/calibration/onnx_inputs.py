"""Calibration inputs of an ONNX model: those of the user's data, or generated ones that the verdict isn't taken on."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnx import ModelProto

from qacomp.evaluation.samples import load_samples
from qacomp.options.config import CompressConfig
from qacomp.runtime.agreement import Feed, run_feed
from qacomp.runtime.carried import carried_states, run_steps
from qacomp.runtime.feeds import GeneratedInputs, generated_inputs
from qacomp.runtime.session import OnnxModel, open_session

_OF_MOMENTS, _OTHERS = 1_000, 2_000  # beside the seed: the verdict's generated inputs have numbers below 10
_RUNS = 32
_STEPS = 96  # of each of two sequences, loud and quiet, of a model that carries a state on; as many drawn states
_TRIED = 8  # runs on which changed weights are tried


@dataclass(frozen=True)
class CalibrationInputs:
    """Inputs of a model's runs by name. text: what they are.

    of_moments: from which the second moments are taken; tried: on which changed weights are tried; others: drawn apart
    from both, for the comparison of two ways of rounding.
    """

    text: str
    of_moments: tuple[Feed, ...]
    tried: tuple[Feed, ...]
    others: tuple[Feed, ...]


def calibration_inputs(model: OnnxModel, graph: ModelProto, config: CompressConfig) -> CalibrationInputs:
    """Return the inputs of --calibration, else generated ones for a model with this graph.

    Raises DataError where the data doesn't fit the model or no inputs can be made up, ExportError where it can't be
    run.
    """
    session = open_session(model)
    if config.calibration is not None:
        samples = load_samples(config.calibration, session.get_inputs(), config)
        feeds = _spread(samples.feeds, _RUNS + _TRIED)
        others = feeds[1::5] if len(feeds) > 1 else feeds
        rest = tuple(feed for feed in feeds if not any(feed is other for other in others)) or feeds
        text = f"{len(feeds)} runs on inputs of {samples.source}"
        return CalibrationInputs(text, rest, _spread(rest, _TRIED), others)
    inputs = generated_inputs(graph, lambda feed: run_feed(session, feed))
    of_moments, states = _drawn(model, inputs, [config.seed, _OF_MOMENTS])
    others, _ = _drawn(model, inputs, [config.seed, _OTHERS])
    text = f"{len(of_moments)} generated inputs, seed {config.seed}: {inputs}"
    if states:
        text = f"{text}, in half of which {', '.join(states)} is carried on"
    return CalibrationInputs(text, of_moments, _spread(of_moments, _TRIED), _spread(others, _TRIED))


def _drawn(model: OnnxModel, inputs: GeneratedInputs, seed: Sequence[int]) -> tuple[tuple[Feed, ...], list[str]]:
    """Draw runs, loud and quiet in turns, and the names of states; of a model that has any, steps after each other.

    A state that is drawn may be far from those that the model comes to, and both occur in its checks: half are drawn.
    """
    first = inputs.feed([*seed, 0])
    session = open_session(model)
    states = carried_states(first, run_feed(session, first))
    if not states:
        return tuple(inputs.feed([*seed, i], loud=i % 2 == 0) for i in range(_RUNS)), []
    steps: list[Feed] = [inputs.feed([*seed, 2, i], loud=i % 2 == 0) for i in range(2 * _STEPS)]
    for place, loud in enumerate((True, False)):
        drawn = [inputs.feed([*seed, place, i], loud) for i in range(_STEPS)]
        steps += run_steps(model, drawn, states)[0]
    return tuple(steps), list(states)


def _spread(feeds: Sequence[Feed], most: int) -> tuple[Feed, ...]:
    """Return at most so many of the feeds, from the first to the last."""
    if len(feeds) <= most:
        return tuple(feeds)
    return tuple(feeds[round(i * (len(feeds) - 1) / (most - 1))] for i in range(most))
