"""Read a study: its finished trials, the front, and its peers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qacomp.evaluation.verdict import WORDS
from qacomp.plain_text import printable
from qacomp.sweeping.front import SweepPeer, SweepPoint, SweepReport, pareto
from qacomp.sweeping.study import (
    ERROR,
    MEASURE,
    PEERS,
    SETTINGS,
    TWIN,
    VERDICT,
    StudyError,
    identity_of,
    open_storage,
    open_study,
    quiet_optuna,
    shown_url,
    study_errors,
    study_names,
    told_values,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

STUDY_FILE, TRIALS = "study.db", "trials"
"""What a sweep's folder holds: the study, unless a URL names another storage, and the containers of its front."""
_LONGEST = 200  # characters of a name, a setting or an error


def trial_file(folder: Path, number: int) -> Path:
    """Return where the container of a trial stands in a sweep's folder."""
    return folder / TRIALS / f"{number:03d}.qac"


def read_study(study: "Study", url: str, folder: Path | None) -> SweepReport:
    """Return what a study holds. folder: of the sweep, where its containers may be. Raise StudyError."""
    identity = identity_of(study)
    if identity is None:
        raise StudyError(f"study {study.study_name[:80]!r} in {shown_url(url)}: isn't a sweep's; give another --study")
    trials = study.get_trials(deepcopy=False)
    points = tuple(p for t in trials if (p := _point(t, folder)) is not None)
    counts = dict.fromkeys(("complete", "fail", "waiting", "running"), 0)
    for trial in trials:
        counts[trial.state.name.lower()] = counts.get(trial.state.name.lower(), 0) + 1
    errors = dict.fromkeys(printable(str(t.user_attrs[ERROR]), _LONGEST) for t in trials if ERROR in t.user_attrs)
    measure = printable(str(study.user_attrs.get(MEASURE, "loss")), _LONGEST)
    where, model = shown_url(url), printable(identity.model, _LONGEST)
    peers = _peers(study.user_attrs.get(PEERS))
    return SweepReport(study.study_name, where, model, measure, points, pareto(points), peers, counts, tuple(errors))


def show(where: str, name: str | None) -> SweepReport:
    """Return what a sweep's folder, or a storage's URL, holds. name: of the study, where there are several.

    Raise StudyError where there is none, MissingOptunaError.
    """
    folder = None if "://" in where else Path(where)
    with quiet_optuna():
        from qacomp.sweeping.study import file_url

        url = where if folder is None else file_url(folder / STUDY_FILE)
        _check_there(url)
        storage = open_storage(url)
        with study_errors(url):
            names = study_names(storage)
            if name is None and len(names) != 1:
                listed = printable(", ".join(sorted(names)), _LONGEST)
                which = f"holds several, {listed}: give --study" if names else "holds no study"
                raise StudyError(f"{shown_url(url)}: {which}")
            if name is not None and name not in names:
                raise StudyError(f"{shown_url(url)}: holds no study {name[:80]!r}")
            return read_study(open_study(storage, name or names[0]), url, folder)


def _check_there(url: str) -> None:
    """Raise StudyError for an SQLite file that isn't there; opening it would make it."""
    from sqlalchemy.engine import make_url

    with study_errors(url):
        parsed = make_url(url)
    if parsed.get_backend_name() == "sqlite" and parsed.database and not Path(parsed.database).is_file():
        raise StudyError(f"{printable(parsed.database, _LONGEST)}: no such file; give the folder of a sweep")


def _point(trial: "FrozenTrial", folder: Path | None) -> SweepPoint | None:
    """Return a finished trial as a point; None for one that isn't finished, or has the settings of another."""
    values = told_values(trial.values)
    settings = trial.user_attrs.get(SETTINGS)
    if values is None or TWIN in trial.user_attrs or not isinstance(settings, Mapping):
        return None
    shown = {printable(str(name), 80): _plain(value) for name, value in settings.items()}
    file = None if folder is None else trial_file(folder, trial.number)
    verdict = trial.user_attrs.get(VERDICT)
    told = str(verdict) if verdict in WORDS else ""
    return SweepPoint(trial.number, *values, shown, told, file if file is not None and file.is_file() else None)


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float) else printable(str(value), 80)


def _peers(told: Any) -> tuple[SweepPeer, ...]:
    peers = []
    for peer in told if isinstance(told, list) else ():
        values = told_values([peer.get("bytes"), peer.get("loss")]) if isinstance(peer, Mapping) else None
        if values is not None:
            peers.append(SweepPeer(printable(str(peer.get("name")), 80), *values))
    return tuple(peers)
