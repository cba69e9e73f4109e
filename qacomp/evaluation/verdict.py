"""Judge a compressed model by its figures: good, doubtful, broken, or not measured.

All thresholds of the verdict are in this file. They were chosen by comparing the figures of real models with 4 to 256
shared values (two detectors, a text detector and two recognisers, a sentence transformer, two classifiers, speech
models) with how well these still worked on real images, lines of text, sentences and speech: see docs/verdict.md.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qacomp.runtime.agreement import Agreement
from qacomp.runtime.operator_error import WEIGHTS, OperatorError
from qacomp.runtime.output_agreement import OutputAgreement

GOOD, DOUBTFUL, BROKEN, UNMEASURED = "good", "doubtful", "broken", "not measured"
WORDS = (GOOD, DOUBTFUL, BROKEN, UNMEASURED)

GOOD_CENTRED = 0.99
"""Below this cosine of centred outputs a model is doubtful. At 0.86 a recogniser read 70 % of lines differently."""
BROKEN_CENTRED, LOST_CENTRED = 0.5, 0.1
"""A model is broken if its centred cosine is below the first for all outputs, or below the second for one of them.

It isn't called broken if its sum of errors is below SOUND_SUM."""
GOOD_TOP1, BROKEN_TOP1 = 95.0, 50.0
"""Percent of positions with the same class; a model is doubtful below the first, and broken below the second."""
_FEW, _GOOD_OF_FEW = 16, 80.0  # with fewer positions this percentage is enough, since one of them may be a close call
GOOD_EQUAL = 99.0
"""Percent of equal integers, below which a model is doubtful."""
GOOD_SUM, SOUND_SUM = -12.0, -5.0
"""Decibels: the sum over all tensors of their errors at their operators. Above the first a model is doubtful; below the
second it isn't called broken for its outputs: a speech model with a chaotic state differs, and still works."""
LOST_TENSOR = -3.0
"""Decibels: above it half of an operator's output is noise, and the model is doubtful."""
_TUNED = 1.0  # decibels: tuning changes norms and shared values, but no indices; it moved ResNet-20's sum by 0.1
LARGEST_DROP, BROKEN_DROP = 2.0, 10.0
"""Lost points of accuracy, above which a model is doubtful, or broken."""
FEW_SAMPLES = 200
"""With fewer samples two standard errors of a loss of 2 points are more than 2 points: 2·√(0.02·N) / N > 0.02."""
_ERRORS = 2.0  # standard errors that a loss of accuracy on few samples may be off
_LEARNED = 2.0
"""An original with less than the result's accuracy divided by this was hardly trained: sharing doesn't double it."""
_LONGEST_NAME = 80  # characters of a tensor's name that the advice may hold


@dataclass(frozen=True)
class Verdict:
    """`word`: one of WORDS; `reasons`: the figures that decided, worst first; `advice`: what to try next, or empty."""

    word: str
    reasons: tuple[str, ...]
    advice: str = ""

    @property
    def passes(self) -> bool:
        """Return whether `--strict` accepts the model: it is neither doubtful nor broken."""
        return self.word not in (DOUBTFUL, BROKEN)

    def to_json(self) -> dict[str, Any]:
        """Return `verdict`, `verdict_reasons` and `verdict_advice`, for `--json` and a container's metadata."""
        return {"verdict": self.word, "verdict_reasons": list(self.reasons), "verdict_advice": self.advice}

    def __str__(self) -> str:
        """Return the word and the reasons, such as `doubtful: boxes: cosine of centred outputs 0.81`."""
        return f"{self.word}: {'; '.join(self.reasons)}" if self.reasons else self.word


NOT_JUDGED = Verdict(UNMEASURED, ())
_MOST_SAID, _LONGEST = 8, 400  # reasons and characters that are read of metadata, which may be hostile


def stated_verdict(meta: Mapping[str, Any]) -> Verdict | None:
    """Return the verdict in a container's metadata; None if there is none, or an invalid one."""
    word, reasons, advice = (meta.get(key) for key in ("verdict", "verdict_reasons", "verdict_advice"))
    if word not in WORDS:
        return None
    said = [str(r)[:_LONGEST] for r in reasons[:_MOST_SAID]] if isinstance(reasons, list) else []
    return Verdict(str(word), tuple(said), advice[:_LONGEST] if isinstance(advice, str) else "")


def judge(
    agreement: Agreement | None,
    errors: Mapping[str, OperatorError],
    accuracy: tuple[float, float] | None = None,
    finer: str | None = None,
    chance: float | None = None,
    samples: int | None = None,
) -> Verdict:
    """Return the verdict on a compressed model.

    agreement: of its outputs with the original's, None if nothing was run; errors: of each shared tensor; accuracy: the
    original's and the compressed model's on data, in percent; it decides alone if it is known. finer: a setting that
    gives a more exact model, for the advice. chance: what guessing gives, in percent, if the original does no better.
    samples: how many the accuracy comes from; if they are too few to tell a loss, the outputs decide where they were
    compared.
    """
    if accuracy is not None and (chance is not None or accuracy[0] < accuracy[1] / _LEARNED):
        return _of_untrained(*accuracy, chance)
    if accuracy is not None:
        found = _by_accuracy(*accuracy, errors, finer)
        if agreement is None or not few(samples) or _surely_lost(accuracy[0] - accuracy[1], samples or 1):
            return found
        told = judge(agreement, errors, finer=finer)
        reasons = (*told.reasons, f"{found.reasons[0]} on {samples} samples only")
        return found if told.word == UNMEASURED else replace(told, reasons=reasons)
    total = _total(errors)
    lost = (
        [f"{o.name}: {o.not_finite} values NaN or infinite" for o in agreement.outputs if o.not_finite]
        if agreement
        else []
    )
    if not lost and (agreement is None or not agreement.measured):
        return Verdict(UNMEASURED, _why_unmeasured(agreement, errors), "--data with inputs of your own")
    outputs = () if agreement is None else agreement.measured
    broken, doubtful = _outputs_say(outputs)
    broken = lost + broken
    noise = [f"the operators' errors add up to {total:.1f} dB"] if total is not None and total > GOOD_SUM else []
    noise += [f"{n}: {e.of} gives {e.db:.1f} dB of error" for n, e in _worst(errors) if e.db > LOST_TENSOR]
    sound = total is not None and total < SOUND_SUM and not lost
    if broken and not sound:
        return Verdict(BROKEN, tuple(broken + noise), _advice(errors, finer))
    if broken or doubtful or noise:
        return Verdict(DOUBTFUL, tuple(broken + doubtful + noise), _advice(errors, finer))
    return Verdict(GOOD, (_best_said(outputs, total),))


def few(samples: int | None) -> bool:
    """Return whether an accuracy on so many samples can't tell a good model from a doubtful one; None: enough."""
    return samples is not None and samples < FEW_SAMPLES


def _surely_lost(drop: float, samples: int) -> bool:
    """Return whether a loss in percent is too large by more than noise; at least as many rows changed as were lost."""
    if not math.isfinite(drop):
        return True
    error = 100.0 * math.sqrt(max(1.0, drop / 100.0 * samples)) / samples
    return drop - _ERRORS * error > LARGEST_DROP


def beyond_tuning(errors: Mapping[str, OperatorError]) -> bool:
    """Return whether the tensors' errors alone make a model doubtful, by more than tuning changes them."""
    total = _total(errors)
    sum_is_far = total is not None and total > GOOD_SUM + _TUNED
    return sum_is_far or any(error.db > LOST_TENSOR + _TUNED for error in errors.values())


def _by_accuracy(original: float, found: float, errors: Mapping[str, OperatorError], finer: str | None) -> Verdict:
    drop = original - found
    text = f"accuracy {original:.2f} -> {found:.2f} %"
    if not math.isfinite(drop) or drop > BROKEN_DROP:
        return Verdict(BROKEN, (text,), _advice(errors, finer))
    return Verdict(DOUBTFUL, (text,), _advice(errors, finer)) if drop > LARGEST_DROP else Verdict(GOOD, (text,))


def _of_untrained(original: float, found: float, chance: float | None) -> Verdict:
    state = "hardly trained" if chance is None else f"no better than guessing ({chance:.1f} %)"
    return nothing_to_lose(f"accuracy {original:.2f} -> {found:.2f} %", f"is {state}")


def nothing_to_lose(told: str, state: str) -> Verdict:
    """Return that nothing could be lost, since the original knew nothing yet, or little of what the result knows.

    told: what was measured of both; state: what the original is.
    """
    text = f"{told}, but the original {state}, so it tells nothing of what is lost"
    return Verdict(UNMEASURED, (text,), "a trained network: `qacomp train`")


def _outputs_say(outputs: Sequence[OutputAgreement]) -> tuple[list[str], list[str]]:
    """Return the reasons to call the model broken, and the reasons to call it doubtful."""
    broken, doubtful = [], []
    centred = {o.name: _likeness(o) for o in outputs}
    told = {name: value for name, value in centred.items() if value is not None}
    if told:
        worst = min(told, key=lambda name: told[name])
        text = f"{worst}: cosine of centred outputs {told[worst]:.4f}"
        if max(told.values()) < BROKEN_CENTRED or told[worst] < LOST_CENTRED:
            broken.append(text)
        elif told[worst] < GOOD_CENTRED:
            doubtful.append(text)
    for o in outputs:
        for share, what in ((o.rare, "classes, the most common one left out"), (o.top1, "classes")):
            if share is not None and share < _least_top1(o):
                (broken if share < BROKEN_TOP1 else doubtful).append(f"{o.name}: {share:.1f} % equal {what}")
                break
        if o.equal is not None and o.equal < GOOD_EQUAL:
            doubtful.append(f"{o.name}: {o.equal:.1f} % of its integers equal")
        if o.other_shape and o.equal is None:
            doubtful.append(f"{o.name}: different shape in {o.other_shape} runs")
    return broken, doubtful


def _likeness(output: OutputAgreement) -> float | None:
    return output.cosine if output.centred is None else output.centred


def _least_top1(output: OutputAgreement) -> float:
    return GOOD_TOP1 if output.positions >= _FEW else _GOOD_OF_FEW


def _total(errors: Mapping[str, OperatorError]) -> float | None:
    """Sum the errors at operators, or of the weights if no operator was run, in decibels; None if there are none."""
    at_work = [e for e in errors.values() if e.of != WEIGHTS] or list(errors.values())
    power = sum(10 ** (e.db / 10) for e in at_work)
    return 10 * math.log10(power) if power > 0 else None


def _worst(errors: Mapping[str, OperatorError]) -> list[tuple[str, OperatorError]]:
    """Return the three largest errors."""
    return sorted(errors.items(), key=lambda item: -item[1].db)[:3]


def _best_said(outputs: Sequence[OutputAgreement], total: float | None) -> str:
    told = [value for o in outputs if (value := _likeness(o)) is not None]
    text = f"cosine of centred outputs {min(told):.4f}" if told else "equal outputs"
    return text if total is None else f"{text}, the operators' errors add up to {total:.1f} dB"


def _why_unmeasured(agreement: Agreement | None, errors: Mapping[str, OperatorError]) -> tuple[str, ...]:
    if agreement is None:
        why = ["no outputs were compared"]
    else:
        why = [f"{o.name}: {o.unmeasured}" for o in agreement.outputs[:3] if o.unmeasured] or ["there are no outputs"]
    if errors:
        name, error = _worst(errors)[0]
        what = "its weights' own" if error.of == WEIGHTS else f"{error.of}'s"
        why.append(f"largest error of a tensor {error.db:.1f} dB ({what}, {name})")
    return tuple(why)


def _advice(errors: Mapping[str, OperatorError], finer: str | None) -> str:
    """Return what to try next: a more exact setting, or excluding a tensor with more than a third of all errors."""
    tries = [] if finer is None else [finer]
    powers = {name: 10 ** (e.db / 10) for name, e in errors.items()}
    if len(powers) > 1:
        name = max(powers, key=lambda n: powers[n])
        plain = name.isprintable() and len(name) <= _LONGEST_NAME
        if plain and powers[name] > sum(powers.values()) / 3:
            tries.append(f"--exclude {shlex.quote(name)}")
    return " or ".join(tries) or "--data with inputs of your own"
