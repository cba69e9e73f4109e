"""Run one trial: draw settings, compress, and hand back bytes and loss."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.api import compress
from qacomp.errors import AgreementNotReachedError, ConfigError, QacompError, TargetNotReachedError
from qacomp.options.config import CompressConfig
from qacomp.outputs import journal_path
from qacomp.plain_text import printable
from qacomp.stages.figures import Figures
from qacomp.sweeping.dimension import Choice, Dimension
from qacomp.sweeping.loss import quality_loss
from qacomp.sweeping.reading import trial_file
from qacomp.sweeping.space import drawn
from qacomp.sweeping.study import (
    ERROR,
    FOLDER,
    MEASURE,
    SETTINGS,
    TWIN,
    VERDICT,
    StudyError,
    StudyMismatchError,
    canonical,
    seeded_sampler,
    told_values,
)

if TYPE_CHECKING:
    from optuna import Study, Trial

FAILURES = (AgreementNotReachedError, ConfigError, TargetNotReachedError)
"""What a trial's settings may run into; the sweep goes on. Every other error would come each time."""
_LONGEST = 500  # characters of an error that a trial keeps


@dataclass(frozen=True)
class SweepJob:
    """What the trials of a sweep have in common. folder: where their containers go; base: what isn't varied.

    loss_fn: of their training, as `compress` takes it.
    """

    model: Path
    folder: Path
    base: CompressConfig
    space: tuple[Dimension, ...]
    trust_pickle: bool = False
    loss_fn: str | None = None


def objective(job: SweepJob, study: "Study") -> "Callable[[Trial], tuple[int, float]]":
    """Return the function of one trial, which compresses into the trial's container. Raises what `compress` does."""

    def run(trial: "Trial") -> tuple[int, float]:
        study.sampler = seeded_sampler(job.base.seed, trial.number)
        file = trial_file(job.folder, trial.number)
        try:
            trial.set_user_attr(FOLDER, str(job.folder.resolve()))
            settings = drawn(job.base, job.space, lambda dimension: _suggested(trial, dimension))
            trial.set_user_attr(SETTINGS, settings)
            twin = _twin(study, settings)
            if twin is not None:
                trial.set_user_attr(TWIN, twin[0])
                return twin[1]
            return _compressed(job, study, trial, settings)
        except QacompError as error:
            trial.set_user_attr(ERROR, str(error)[:_LONGEST])
            raise
        finally:
            for kept in (file.with_name(f"{file.name}.resume"), journal_path(file)):
                kept.unlink(missing_ok=True)  # a trial isn't resumed, but begun again

    return run


def _compressed(job: SweepJob, study: "Study", trial: "Trial", settings: dict[str, Any]) -> tuple[int, float]:
    file, config = trial_file(job.folder, trial.number), job.base.with_settings(settings, "sweep")
    result = compress(job.model, None, config, file, progress=False, trust_pickle=job.trust_pickle, loss_fn=job.loss_fn)
    try:
        measure, loss = loss_of(result)
        known = study.user_attrs.get(MEASURE)
        if known is None:
            study.set_user_attr(MEASURE, measure)
        elif known != measure:
            raise StudyMismatchError(
                f"study {study.study_name[:80]!r}: its loss is {known!s:.80}, and here {measure} was measured; give the"
                " same data, or another -o"
            )
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    trial.set_user_attr(VERDICT, result.verdict.word)
    return result.container_bytes, loss


def loss_of(result: Figures) -> tuple[str, float]:
    """Return (what the loss is, the loss) of a compression. Raise UnmeasuredTrialError."""
    a = result.accuracy
    return quality_loss({"original": a.original, "decoded": a.decoded}, result.metric, result.agreement)


def _suggested(trial: "Trial", dimension: Dimension) -> Choice:
    """Return what the study draws for a dimension. Raise StudyError where its trials have other values there."""
    name, low, high = dimension.name, dimension.low, dimension.high
    try:
        value: Choice
        if dimension.choices:
            value = trial.suggest_categorical(name, dimension.choices)
        elif dimension.whole:
            value = trial.suggest_int(name, int(low), int(high), log=dimension.log)
        else:
            value = trial.suggest_float(name, low, high, log=dimension.log)
        return value
    except ValueError as error:
        line = printable(str(error), _LONGEST)
        raise StudyError(
            f"--vary {dimension.text}: the study's trials don't fit it ({line}); give another -o"
        ) from error


def _twin(study: "Study", settings: dict[str, Any]) -> tuple[int, tuple[int, float]] | None:
    """Return number and values of a finished trial with the same settings, which would make the same bytes."""
    wanted = canonical(settings)
    for trial in study.get_trials(deepcopy=False):
        values = told_values(trial.values)
        if values is not None and TWIN not in trial.user_attrs and canonical(trial.user_attrs.get(SETTINGS)) == wanted:
            return trial.number, values
    return None
