"""Calibration inputs of an ONNX model: those of the user's data, or generated ones that the verdict isn't taken on."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnx import ModelProto

from qacomp.errors import ExportError
from qacomp.evaluation.samples import load_samples
from qacomp.options.config import CompressConfig
from qacomp.runtime.agreement import Feed, run_feed
from qacomp.runtime.carried import carried_states, run_steps
from qacomp.runtime.feeds import GeneratedInputs, generated_inputs
from qacomp.runtime.session import OnnxModel, Session, open_session

_OF_MOMENTS, _OTHERS = 1_000, 2_000  # beside the seed: the verdict's generated inputs have numbers below 10
_TRIED_TEXTS = 3_000  # beside the seed, too
_RUNS = 32
_STEPS = 96  # of each of two sequences, loud and quiet, of a model that carries a state on; as many drawn states
_FEWEST_TRIED, _MOST_TRIED = 8, 32  # runs on which changed weights are tried: fewer of a large model, which runs long
_TRIED_BYTES = 1 << 29  # of the model, over all these runs
_LENGTHS, _TEXTS = (32, 64, 128), 4  # tokens of generated texts, in turns; texts in a run for moments


@dataclass(frozen=True)
class CalibrationInputs:
    """Inputs of a model's runs by name. text: what they are.

    of_moments: from which the second moments are taken; tried: on which changed weights are tried; others: drawn apart
    from both, for the comparison of two ways of rounding. words: they are drawn at random from a vocabulary.
    """

    text: str
    of_moments: tuple[Feed, ...]
    tried: tuple[Feed, ...]
    others: tuple[Feed, ...]
    words: bool = False


def calibration_inputs(model: OnnxModel, graph: ModelProto, config: CompressConfig) -> CalibrationInputs:
    """Return the inputs of --calibration, else generated ones for a model with this graph.

    Raises DataError where the data doesn't fit the model or no inputs can be made up, ExportError where it can't be
    run.
    """
    session, tried = open_session(model), _count_tried(model)
    if config.calibration is not None:
        samples = load_samples(config.calibration, session.get_inputs(), config)
        feeds = _spread(samples.feeds, _RUNS + tried)
        others = feeds[1::5] if len(feeds) > 1 else feeds
        rest = tuple(feed for feed in feeds if not any(feed is other for other in others)) or feeds
        text = f"{len(feeds)} runs on inputs of {samples.source}"
        return CalibrationInputs(text, rest, _spread(rest, tried), others)
    inputs = generated_inputs(graph, lambda feed: run_feed(session, feed))
    if len(texts := _texts(inputs, session)) > 1:
        return _of_texts(texts, config.seed, tried)
    of_moments, states = _drawn(model, inputs, [config.seed, _OF_MOMENTS])
    others, _ = _drawn(model, inputs, [config.seed, _OTHERS])
    text = f"{len(of_moments)} generated inputs, seed {config.seed}: {inputs}"
    if states:
        text = f"{text}, in half of which {', '.join(states)} is carried on"
    words = any(planned.kind == "ids" for planned in inputs.inputs)
    return CalibrationInputs(text, of_moments, _spread(of_moments, tried), _spread(others, tried), words)


def _count_tried(model: OnnxModel) -> int:
    size = len(model) if isinstance(model, bytes) else _TRIED_BYTES
    return max(_FEWEST_TRIED, min(_MOST_TRIED, _TRIED_BYTES // max(1, size)))


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


def _texts(inputs: GeneratedInputs, session: Session) -> list[GeneratedInputs]:
    """Return inputs of each length that a model of token ids takes, of several texts if it can; else no others."""
    sizes = inputs.sizes
    if "sequence" not in sizes or not any(planned.kind == "ids" for planned in inputs.inputs):
        return [inputs]
    several = [{**sizes, "batch": _TEXTS, "sequence": n} for n in _LENGTHS] if "batch" in sizes else []
    for tried in (several, [{**sizes, "sequence": n} for n in _LENGTHS]):
        found = [replace(inputs, sizes=each) for each in tried]
        if found and all(_runs(each, session) for each in found):
            return found
    return [inputs]


def _runs(inputs: GeneratedInputs, session: Session) -> bool:
    try:
        run_feed(session, inputs.feed(0))
    except ExportError:
        return False
    return True


def _of_texts(texts: Sequence[GeneratedInputs], seed: int, tried: int) -> CalibrationInputs:
    """Return inputs of a model of token ids: many texts for the moments, one in each run on which weights are tried."""

    def drawn(number: int, count: int, batch: dict[str, int]) -> tuple[Feed, ...]:
        sized = [replace(each, sizes={**each.sizes, **batch}) for each in texts]
        return tuple(sized[i % len(sized)].feed([seed, number, i]) for i in range(count))

    one = {"batch": 1} if "batch" in texts[0].sizes else {}
    lengths = ", ".join(str(each.sizes["sequence"]) for each in texts)
    text = f"{_RUNS} generated inputs, seed {seed}: {texts[0]}, with {lengths} tokens in turns"
    of_moments = drawn(_OF_MOMENTS, _RUNS, {})
    return CalibrationInputs(text, of_moments, drawn(_TRIED_TEXTS, tried, one), drawn(_OTHERS, tried, one), words=True)


def _spread(feeds: Sequence[Feed], most: int) -> tuple[Feed, ...]:
    """Return at most so many of the feeds, from the first to the last."""
    if len(feeds) <= most:
        return tuple(feeds)
    return tuple(feeds[round(i * (len(feeds) - 1) / (most - 1))] for i in range(most))
