"""Size against quality over settings: trials of an Optuna study, of which the files of the front are kept."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from qacomp.options.config import CompressConfig
from qacomp.outputs import make_folder
from qacomp.progress import Progress, SilentProgress
from qacomp.sources.how_to_read import Reading
from qacomp.sources.open_any import open_source
from qacomp.sources.torch_source import TorchSource
from qacomp.sweeping.front import SweepReport
from qacomp.sweeping.peers import measured_peers
from qacomp.sweeping.reading import STUDY_FILE, TRIALS, read_study, trial_file
from qacomp.sweeping.space import DEFAULT, combinations, space_of
from qacomp.sweeping.study import (
    FOLDER,
    PEERS,
    Identity,
    StudyError,
    bind,
    enqueue,
    file_url,
    identity_of,
    open_storage,
    open_study,
    queue_killed_again,
    quiet_optuna,
    study_errors,
)
from qacomp.sweeping.trials import FAILURES, SweepJob, objective

if TYPE_CHECKING:
    from optuna import Study

_MOST_COMBINATIONS = 256  # of choices alone: up to so many are tried one by one, each once


@dataclass(frozen=True)
class SweepPlan:
    """What to sweep. folder: for the study and the containers of its front; trials: to run now.

    vary: settings with their values, such as `k=4:256` (see `read_dimension`); empty: those of the study, or DEFAULT.
    base: settings that stay; its seed is that of the sweep too. storage: a database's URL in place of the folder's
    SQLite file, by which several processes work on one study; study: its name, by default the model's. loss_fn: of the
    trials' training, a text as `compress` takes it.
    """

    model: Path
    folder: Path
    trials: int
    vary: tuple[str, ...] = ()
    base: CompressConfig = field(default_factory=CompressConfig)
    storage: str | None = None
    study: str | None = None
    trust_pickle: bool = False
    loss_fn: str | None = None

    @property
    def name(self) -> str:
        """Return the study's name."""
        return self.study or self.model.stem


def sweep(plan: SweepPlan, progress: Progress | None = None) -> SweepReport:
    """Run trials, keep the containers of the front, and return what the study holds then.

    An interruption keeps what has finished; the next call goes on. On one process the same seed gives the same trials,
    in one call or in several. Raises MissingOptunaError, StudyError, StudyMismatchError, ConfigError, and the errors of
    reading the model and the data; an error that only some settings run into fails their trial.
    """
    progress = progress or SilentProgress()
    with quiet_optuna():
        look = _look(plan, progress)
        make_folder(plan.folder / TRIALS)
        url = plan.storage or file_url(plan.folder / STUDY_FILE)
        storage = open_storage(url)
        with study_errors(url):
            study = open_study(storage, plan.name)
            told = identity_of(study)
            texts = plan.vary or (DEFAULT if told is None else told.space)
            space = space_of(texts, look.used)
            job = SweepJob(plan.model, plan.folder, look.base, space, plan.trust_pickle, plan.loss_fn)
            if plan.vary and len(job.space) < len(texts):
                kept = {dimension.text for dimension in job.space}
                progress.note(
                    f"without effect on this model, not varied: {', '.join(t for t in texts if t not in kept)}"
                )
            own = Identity(plan.model.name, look.sha256, look.base.to_toml(), tuple(texts), plan.loss_fn or "")
            bind(study, own)
            _run(job, study, plan.trials, progress)
            report = read_study(study, url, plan.folder)
            if report.front and PEERS not in study.user_attrs:
                _measure_peers(job, study, report, progress)
                report = read_study(study, url, plan.folder)
    if not report.points and report.errors:
        raise StudyError(f"no trial has finished: {report.errors[0]}")
    return report


@dataclass(frozen=True)
class _Look:
    """What a sweep must know of its model. base: with the data that is used; used: settings with an effect, or None."""

    base: CompressConfig
    sha256: str
    used: tuple[str, ...] | None


def _look(plan: SweepPlan, progress: Progress) -> _Look:
    """Read the model once. Raise what can be wrong with it, with the settings, and with the data."""
    how = Reading(plan.trust_pickle)
    source, base, data = open_source(plan.model, None, plan.base.check(), how, progress.note)
    used = None if isinstance(source, TorchSource) else source.effects(data is not None).used
    return _Look(base, source.origin.digest, used)


def _run(job: SweepJob, study: "Study", trials: int, progress: Progress) -> None:
    """Run the trials, one after the other."""
    import optuna

    listed = combinations(job.base, job.space, _MOST_COMBINATIONS)
    if listed is not None:
        enqueue(study, listed, job.base.seed)
    with progress.task("sweep", trials) as task:
        for done in range(trials):
            if again := queue_killed_again(study):
                progress.note(f"{again} trials whose process was ended are tried again")
            waiting = study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,))
            if listed is not None and not waiting:
                progress.note(f"all {len(listed)} combinations are tried; {trials - done} trials weren't needed")
                return
            study.optimize(objective(job, study), n_trials=1, catch=FAILURES)
            task.advance()
            report = read_study(study, "", job.folder)
            _keep_front(study, report, job.folder)
            if report.points:
                last = report.points[-1]
                task.describe(f"trial {last.number}: {last.bytes:,} bytes, loss {last.loss:.4g}")


def _keep_front(study: "Study", report: SweepReport, folder: Path) -> None:
    """Remove the containers that this folder's finished trials made and that aren't on the front."""
    kept, here = {point.number for point in report.front}, str(folder.resolve())
    for trial in study.get_trials(deepcopy=False):
        if trial.state.is_finished() and trial.number not in kept and trial.user_attrs.get(FOLDER) == here:
            trial_file(folder, trial.number).unlink(missing_ok=True)


def _measure_peers(job: SweepJob, study: "Study", report: SweepReport, progress: Progress) -> None:
    """Measure the model's other forms beside a container of the front, and write them into the study."""
    file = next((point.file for point in reversed(report.front) if point.file is not None), None)
    if file is None:
        return
    peers = measured_peers(job, file, progress.note)
    study.set_user_attr(PEERS, [{"name": p.name, "bytes": p.bytes, "loss": p.loss} for p in peers])
