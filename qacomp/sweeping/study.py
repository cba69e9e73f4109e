"""An Optuna study as a sweep keeps it: opened by URL, bound to one model, with trials that any process can go on with.

Its storage is a file or a server that others may write too: what comes out of it is checked before it is used, and no
path, code or data is taken from it.
"""

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from qacomp.errors import QacompError
from qacomp.plain_text import printable

if TYPE_CHECKING:
    from optuna import Study
    from optuna.samplers import BaseSampler
    from optuna.storages import RDBStorage

BEAT_SECONDS, SILENT_SECONDS = 15, 120
"""How often a running trial says that it runs, and after how long a silent one counts as killed."""
_WAIT_SECONDS = 120  # for an SQLite file that another process writes
_MOST_ATTEMPTS = 3  # at one trial: a model that ends its process does so each time
_LONGEST = 300  # characters of a message
ERROR, SETTINGS, TWIN, ATTEMPT, AGAIN = "error", "settings", "same_as", "attempt", "again_of"
FOLDER, VERDICT = "folder", "verdict"
"""The attributes of a trial."""
IDENTITY, MEASURE, PEERS = "qacomp", "measure", "peers"
"""The attributes of a study."""


class MissingOptunaError(QacompError):
    """Optuna, an optional dependency, can't be imported."""


class StudyError(QacompError):
    """A study can't be opened, or doesn't hold what a sweep's study holds."""


class StudyMismatchError(StudyError):
    """A study was made of another model, or with other settings."""


@dataclass(frozen=True)
class Identity:
    """What a study is of. model: the file's name; sha256: of the model; base: settings as TOML; space: as --vary.

    loss_fn: name of the trials' loss, "" for the one that fits the targets.
    """

    model: str
    sha256: str
    base: str
    space: tuple[str, ...]
    loss_fn: str = ""


def require_optuna() -> None:
    """Raise MissingOptunaError where Optuna can't be imported."""
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        message = f"a sweep needs Optuna ({error}); install it: pip install 'qacomp[sweep]'"
        raise MissingOptunaError(message) from error


@contextmanager
def quiet_optuna() -> Iterator[None]:
    """Keep Optuna from writing to the terminal while the block runs. Raise MissingOptunaError."""
    require_optuna()
    import optuna

    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # of the trials' heartbeats
            yield
    finally:
        optuna.logging.set_verbosity(before)


def file_url(path: Path) -> str:
    """Return the storage URL of an SQLite file. Raise MissingOptunaError."""
    require_optuna()
    from sqlalchemy.engine import URL

    return str(URL.create("sqlite", database=str(path.resolve())).render_as_string(hide_password=False))


def shown_url(url: str) -> str:
    """Return a storage URL without its password."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        return printable(make_url(url).render_as_string(hide_password=True), _LONGEST)
    except (ArgumentError, ValueError):
        return printable(url, _LONGEST)


@contextmanager
def study_errors(url: str, *others: type[Exception]) -> Iterator[None]:
    """Turn what Optuna and the database raise, and `others`, into a StudyError that names the storage."""
    import optuna
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.OptunaError, *others) as error:
        cause = getattr(error, "orig", None) or error
        line = printable(" ".join(f"{type(cause).__name__}: {cause}".split()), _LONGEST)
        raise StudyError(f"{shown_url(url)}: can't be used as a study's storage ({line}); give another one") from error


def open_storage(url: str, beat: int = BEAT_SECONDS, silent: int = SILENT_SECONDS) -> "RDBStorage":
    """Open a storage by its URL, and make its tables where there are none.

    beat, silent: seconds, see BEAT_SECONDS. Raise StudyError.
    """
    from optuna.storages import RDBStorage

    waiting = {"connect_args": {"timeout": _WAIT_SECONDS}} if url.startswith("sqlite") else {}
    with study_errors(url, ImportError, ValueError, RuntimeError):  # no such driver, no such database, a newer version
        return RDBStorage(url, engine_kwargs=waiting, heartbeat_interval=beat, grace_period=silent)


def study_names(storage: "RDBStorage") -> list[str]:
    """Return the names of the studies in a storage."""
    import optuna

    return list(optuna.get_all_study_names(storage))


def open_study(storage: "RDBStorage", name: str) -> "Study":
    """Open a study of two objectives, bytes and loss, and make it where there is none."""
    import optuna

    return optuna.create_study(
        storage=storage, study_name=name, directions=["minimize", "minimize"], load_if_exists=True
    )


def seeded_sampler(seed: int, number: int) -> "BaseSampler":
    """Return what draws the settings of the trial with a number, of which no two processes have the same."""
    from optuna.samplers import TPESampler

    return TPESampler(seed=int(np.random.SeedSequence([seed, number]).generate_state(1)[0]))


def identity_of(study: "Study") -> Identity | None:
    """Return what a study says that it is of; None where it says nothing. Raise StudyError for what it can't be."""
    told = study.user_attrs.get(IDENTITY)
    if told is None:
        return None
    table = told if isinstance(told, Mapping) else {}
    model, sha256, base, space = (table.get(name) for name in ("model", "sha256", "base", "space"))
    if not all(isinstance(text, str) for text in (model, sha256, base)) or not isinstance(space, list):
        raise StudyError(f"study {study.study_name[:80]!r}: isn't a sweep's; give another --study")
    loss_fn = table.get("loss_fn", "")  # absent in studies of older versions
    return Identity(str(model), str(sha256), str(base), tuple(map(str, space)), str(loss_fn))


def bind(study: "Study", own: Identity) -> None:
    """Write down what a new study is of; raise StudyMismatchError where an old one is of something else."""
    told = identity_of(study)
    if told is None:
        study.set_user_attr(IDENTITY, {**vars(own), "space": list(own.space)})
        return
    where = f"study {study.study_name[:80]!r}"
    if told.sha256 != own.sha256:
        raise StudyMismatchError(
            f"{where}: is of another model ({printable(told.model, 80)}); give another -o or --study"
        )
    if told.space != own.space:
        said = printable(" ".join(f"--vary {text}" for text in told.space), _LONGEST)
        raise StudyMismatchError(f"{where}: varies other settings; give {said}, or another -o or --study")
    if told.base != own.base:
        lines = set(told.base.splitlines()) ^ set(own.base.splitlines())
        said = printable("; ".join(sorted(lines)), _LONGEST)
        raise StudyMismatchError(f"{where}: was made with other settings ({said}); give the same, or another -o")
    if told.loss_fn != own.loss_fn:
        said = f"--loss-fn {printable(told.loss_fn, 80)}" if told.loss_fn else "no --loss-fn"
        raise StudyMismatchError(f"{where}: was made with {said}; give the same, or another -o")


def enqueue(study: "Study", combinations: Sequence[Mapping[str, Any]], seed: int) -> None:
    """Let a new study try all these combinations, in an order that the seed gives."""
    if study.get_trials(deepcopy=False):
        return
    for place in np.random.default_rng(seed).permutation(len(combinations)):
        study.enqueue_trial(dict(combinations[int(place)]), skip_if_exists=True)


def queue_killed_again(study: "Study") -> int:
    """Put what a killed or interrupted process had begun back into the queue; return how many trials that are.

    A trial that failed by an error of its own says so, and stays failed.
    """
    import optuna

    optuna.storages.fail_stale_trials(study)
    trials = study.get_trials(deepcopy=False)
    again = {trial.user_attrs.get(AGAIN) for trial in trials}
    count = 0
    for trial in trials:
        if trial.state != optuna.trial.TrialState.FAIL or ERROR in trial.user_attrs or trial.number in again:
            continue
        attempt = trial.user_attrs.get(ATTEMPT, 1)
        params = trial.system_attrs.get("fixed_params") or trial.params
        if params and isinstance(attempt, int) and attempt < _MOST_ATTEMPTS:
            study.enqueue_trial(params, user_attrs={AGAIN: trial.number, ATTEMPT: attempt + 1})
            count += 1
    return count


def told_values(values: Any) -> tuple[int, float] | None:
    """Return (bytes, loss) of a trial as it is stored; None where they can't be that."""
    if not isinstance(values, list | tuple) or len(values) != 2 or not all(isinstance(v, int | float) for v in values):
        return None
    size, loss = values
    return (int(size), float(loss)) if math.isfinite(size) and math.isfinite(loss) and size >= 0 else None


def canonical(settings: Any) -> str:
    """Return settings as text that is equal for equal settings."""
    return json.dumps(settings, sort_keys=True, default=str)
