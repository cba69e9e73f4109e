"""Search the largest scale of all steps that keeps --max-drop and --min-agreement where samples decide.

The search is bracketed: the scale grows or falls by a factor until the limit lies between two scales, which are then
brought together. Where a model is tuned, which takes most of the time, the limit is searched without tuning first. Then
a few trials are tuned, and these alone decide.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from qacomp.errors import AgreementNotReachedError, DataError, TargetNotReachedError
from qacomp.options.config import CompressConfig
from qacomp.options.quality import QUALITY
from qacomp.progress import Task
from qacomp.rate.quality import DISTANCES
from qacomp.rate.record import LimitKept, RateSearch
from qacomp.rate.search import largest_scale
from qacomp.rate.tuned_search import TUNINGS, largest_tuned_scale
from qacomp.stages.made import Made
from qacomp.stages.run import Run
from qacomp.stages.scaled import Scaled
from qacomp.stages.trial_log import TrialLog
from qacomp.stages.validation import Validation

_TRIALS = 14  # by factors of 1.6 they reach steps eight bits finer than those of the quality that the search begins at
_NARROW = 1.03  # ratio of the last two scales: about one per cent of the bytes
_TINY = 1e-12  # least distance of a cosine from one that counts
_ERRORS = 2.0  # standard errors that a figure on other samples may be off


@dataclass(frozen=True)
class _Limit:
    """A limit of the settings, and what a model reached."""

    option: str
    asked: float
    reached: float

    @property
    def of_loss(self) -> bool:
        """Return whether it is --max-drop."""
        return self.option == "--max-drop"

    @property
    def is_kept(self) -> bool:
        """Return whether the limit is kept; NaN never keeps it."""
        return self.reached <= self.asked if self.of_loss else self.reached >= self.asked

    @property
    def excess(self) -> float:
        """Return by how much the limit is missed, at most 0 if it is kept: of a cosine as the logarithm of 1 - cosine.

        That logarithm grows evenly with the logarithm of the scale.
        """
        if not math.isfinite(self.reached):
            return -math.inf if self.is_kept else math.inf
        if self.of_loss:
            found = self.reached - self.asked
        else:
            found = math.log(max(1 - self.reached, _TINY) / max(1 - self.asked, _TINY))
        return min(found, 0.0) if self.is_kept else max(found, _TINY)

    def __str__(self) -> str:
        if self.of_loss:
            return f"{self.option} {self.asked:.10g}: lost {self.reached:.6g}"
        return f"{self.option} {self.asked:.10g}: reached cosine {self.reached:.10g}"


def made_within_limits(scaled: Scaled, config: CompressConfig, run: Run) -> Made:
    """Return the smallest model that keeps the limits on the samples that decide; see `with_limits` for the others.

    Raises TargetNotReachedError where no steps keep them, DataError and AgreementNotReachedError where nothing can be
    measured.
    """
    log = TrialLog(scaled)
    scale = scale_within_limits(log, config, run)
    made = replace(scaled.made(scale), search=log.chosen(scale))
    return with_limits(made, log.validated(scale), config, run)


def scale_within_limits(log: TrialLog, config: CompressConfig, run: Run) -> float:
    """Return the largest scale at which the limits are kept where samples decide, to 3 %; errors as above.

    Of a model that is tuned it is the largest one that is tried; see `largest_tuned_scale`.
    """
    with run.stage("share"):
        start = largest_scale(lambda scale: log.distance(scale) <= DISTANCES[QUALITY]) or 1.0
    before = log.before_tuning
    with run.progress.task("steps within the limit", _TRIALS) as task:
        trials = _Trials(log.validated if before is None else before, config, task)
        scale = largest_scale(lambda s: trials.excess(s) <= 0, start, _TRIALS, _NARROW)
    if before is not None:
        untuned = {s: _excess(limits) for s, limits in trials.tried.items()} if scale else {}
        with run.progress.task("steps within the limit, tuned", TUNINGS) as task:
            trials = _Trials(log.validated, config, task)
            scale = largest_tuned_scale(trials.excess, scale or start, untuned, _TRIALS)
    if scale is None:
        finest = trials.tried[min(trials.tried)]
        told = "; ".join(str(limit) for limit in finest if not limit.is_kept)
        raise TargetNotReachedError(f"{told} with the finest steps that were tried, so nothing is written; allow more")
    return scale


@dataclass(frozen=True)
class _Trials:
    """Measures scales against the limits, and shows each in a task. tried: scale -> the limits, with what was reached.

    validated: measures what decides at a scale.
    """

    validated: Callable[[float], Validation]
    config: CompressConfig
    task: Task
    tried: dict[float, list[_Limit]] = field(default_factory=dict)

    def excess(self, scale: float) -> float:
        """Return by how much a scale misses the limits, at most 0 if it keeps them."""
        self.tried[scale] = _limits(self.validated(scale), self.config)
        self.task.describe("; ".join(map(str, self.tried[scale])))
        self.task.advance()
        return _excess(self.tried[scale])


def _excess(limits: list[_Limit]) -> float:
    return max(limit.excess for limit in limits)


def with_limits(made: Made, found: Validation, config: CompressConfig, run: Run) -> Made:
    """Return `made` with its limits in the record, and a note on each; one that isn't kept is said in `missed`.

    found: what was measured on the samples that decide. A loss on other samples may be larger by two standard errors of
    the difference between both: they decide nothing, and are measured once.
    """
    kept, missed = [], []
    for limit in _limits(found, config):
        reported = _reported_loss(made) if limit.of_loss else _reported_cosine(made)
        noise = _noise(found, made) if limit.of_loss else None
        kept.append(LimitKept(limit.option, limit.asked, limit.reached, found.inputs, reported, noise))
        text = f"{limit} on {found.inputs}"
        if found.apart and reported is not None:
            text += f", {reported:.6g} on the samples that decided nothing"
        if noise is not None:
            text += f"; samples tell it to ±{noise:.2g}"
        if not limit.is_kept or (
            limit.of_loss and (reported or 0.0) > limit.asked + (math.inf if noise is None else noise)
        ):
            missed.append(text)
        else:
            run.note(text)
    search = replace(made.search or RateSearch(), limits=tuple(kept))
    return replace(made, search=search, missed="; ".join(filter(None, [made.missed, *missed])))


def _limits(found: Validation, config: CompressConfig) -> list[_Limit]:
    """Return the limits that the user asks for, with what was reached. Raises an error where it isn't known."""
    limits = []
    if config.max_drop is not None:
        if found.loss is None:
            raise DataError(
                f"--max-drop {config.max_drop:g}: no metric was measured; give --data with targets (y, or y_test) and "
                "a --metric that fits them"
            )
        limits.append(_Limit("--max-drop", config.max_drop, found.loss.lost))
    if config.min_agreement:
        if found.agreement is None:
            raise AgreementNotReachedError(
                f"--min-agreement {config.min_agreement:g}: the outputs can't be compared with the original's, so "
                "nothing is written; give --data with inputs that the model accepts, or leave --min-agreement out"
            )
        limits.append(_Limit("--min-agreement", config.min_agreement, found.agreement))
    return limits


def _reported_loss(made: Made) -> float | None:
    """Return the loss on the samples that are reported, None if none was measured."""
    metric, accuracy = made.measured.metric, made.measured.accuracy
    if metric is not None:
        return metric.lost
    if accuracy.original is None or accuracy.tuned is None:
        return None
    return accuracy.original - accuracy.tuned


def _reported_cosine(made: Made) -> float | None:
    return None if made.measured.agreement is None else made.measured.agreement.cosine


def _noise(found: Validation, made: Made) -> float | None:
    """Return two standard errors of the difference between the losses on both parts of the samples.

    The error on the reported part is that on the deciding one, scaled by the root of their numbers of samples.
    """
    loss = found.loss
    if loss is None or loss.error is None:
        return None
    reported = found.reported if made.measured.metric is None else made.measured.metric.samples
    other = loss.samples / reported if found.apart and reported else 0.0
    return _ERRORS * loss.error * math.sqrt(1 + other)
