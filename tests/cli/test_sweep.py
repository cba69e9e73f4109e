"""`qacomp sweep`: trials that go on, files of the front, what a study must be of, and what a hostile one may hold."""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import optuna
import pytest
from two_products import two_products

from qacomp.errors import TargetNotReachedError
from qacomp.formats import save_file
from qacomp.options.config import CompressConfig
from qacomp.sweeping import SweepPlan, SweepReport, sweep
from qacomp.sweeping import trials as trials_file
from qacomp.sweeping.loss import UnmeasuredTrialError
from qacomp.sweeping.study import (
    AGAIN,
    IDENTITY,
    PEERS,
    SETTINGS,
    StudyError,
    StudyMismatchError,
    file_url,
    open_storage,
    open_study,
    queue_killed_again,
    quiet_optuna,
)

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sweep") / "m.onnx"
    onnx.save(two_products(), path)
    return path


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Let trials compress nothing: bytes and loss follow from k. Return the settings of each call, as they come."""
    calls: list[dict[str, Any]] = []

    def compress(model: Path, data: None, config: CompressConfig, output: Path, **call: Any) -> Any:
        calls.append({"k": config.shared_values, "codebook": config.codebook})
        if config.shared_values == 13:
            raise TargetNotReachedError("13 can't be reached")
        save_file(output, {"w0": np.zeros((32, 32), np.float32), "w1": np.zeros((32, 32), np.float32)})
        return SimpleNamespace(
            accuracy=no_accuracy(),
            metric=None,
            agreement=SimpleNamespace(centred=1 - 1 / config.shared_values, cosine=None),
            verdict=SimpleNamespace(word="good"),
            container_bytes=1000 * config.shared_values,
        )

    monkeypatch.setattr(trials_file, "compress", compress)
    return calls


def no_accuracy() -> Any:
    return SimpleNamespace(original=None, decoded=None)


def test_six_trials_in_two_calls(qacomp: Qacomp, model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "s"
    flags = ("--vary", "k=4,8,16", "--codebook", "tensor,channel", "-o", folder)
    first = qacomp("sweep", model, *flags, "--trials", "4", "--json")
    assert first.code == 0, first.err
    assert first.json["states"] == {"complete": 4, "fail": 0, "waiting": 2, "running": 0}
    second = qacomp("sweep", model, "-o", folder, "--trials", "9", "--json")  # varies what the study does
    assert second.code == 0 and "all 6 combinations are tried" in second.err
    points = second.json["points"]
    assert second.json["states"]["complete"] == len(points) == 6
    assert [p["loss"] for p in points[:4]] == [p["loss"] for p in first.json["points"]]
    assert {(p["settings"]["k"], p["settings"]["codebook"]) for p in points} == {
        (k, book) for k in (4, 8, 16) for book in ("tensor", "channel")
    }
    front = second.json["front"]
    for best in front:
        assert not any(p["bytes"] <= best["bytes"] and p["loss"] < best["loss"] for p in points)
    kept = {Path(p["file"]) for p in front}
    assert kept == set((folder / "trials").iterdir())
    assert all(Path(p["file"]).stat().st_size == p["bytes"] for p in front)
    assert second.json["measure"] == "1 - cosine of centred outputs"
    (peer,) = second.json["peers"]
    assert peer["name"] == "int8 per channel, zstd -19" and 0 < peer["loss"] < min(p["loss"] for p in points)
    shown = qacomp("sweep", "--show", folder)
    assert shown.code == 0 and all(f"{p['bytes']:,}" in shown.out for p in (*front, peer))
    drawn = qacomp("sweep", "--show", f"sqlite:///{folder}/study.db", "--plot", tmp_path / "f.svg", "--json")
    assert drawn.code == 0 and [p["bytes"] for p in drawn.json["front"]] == [p["bytes"] for p in front]
    picture = (tmp_path / "f.svg").read_text(encoding="utf-8")
    assert 'id="front"' in picture and 'id="peers"' in picture and "int8 per channel" in picture
    assert qacomp("sweep", "--show", folder, "--plot", tmp_path / "f.svg").code == 1  # it is there already


def settings_of(report: SweepReport) -> list[tuple[int, Any, float]]:
    return [(p.bytes, p.settings, p.loss) for p in report.points]


def test_the_seed_decides_however_often_it_is_called(model: Path, tmp_path: Path, quick: list[dict[str, Any]]) -> None:
    plan = SweepPlan(model, tmp_path / "a", 13, ("k=4:256", "codebook=tensor,channel"))  # from 10 on TPE learns
    whole = sweep(plan)
    for trials in (11, 2):
        parts = sweep(replace(plan, folder=tmp_path / "b", trials=trials))
    assert settings_of(whole) == settings_of(parts) and len(whole.points) >= 11
    other = sweep(replace(plan, folder=tmp_path / "c", base=CompressConfig(seed=1), trials=2))
    assert settings_of(other) != settings_of(whole)[:2]
    assert len({json.dumps(call) for call in quick[:13]}) == len(whole.points)  # nothing is compressed twice


def test_what_is_interrupted_is_tried_again(
    model: Path, tmp_path: Path, quick: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, whole = SweepPlan(model, tmp_path / "a", 6, ("k=4:256",)), SweepPlan(model, tmp_path / "b", 6, ("k=4:256",))
    inner = vars(trials_file)["compress"]

    def interrupted(*arguments: Any, **call: Any) -> Any:
        if len(quick) == 2:
            Path(f"{arguments[3]}.resume").write_bytes(b"")
            quick.append({"k": arguments[2].shared_values, "codebook": "tensor"})
            raise KeyboardInterrupt
        return inner(*arguments, **call)

    monkeypatch.setattr(trials_file, "compress", interrupted)
    with pytest.raises(KeyboardInterrupt):
        sweep(plan)
    report = sweep(replace(plan, trials=1))
    assert quick[3] == quick[2] and report.states == {"complete": 3, "fail": 1, "waiting": 0, "running": 0}
    assert not list((tmp_path / "a" / "trials").glob("*.resume"))
    del quick[:]
    monkeypatch.setattr(trials_file, "compress", inner)
    assert settings_of(sweep(whole))[:2] == settings_of(report)[:2]


@pytest.mark.filterwarnings("ignore:Heartbeat of storage is supposed")
def test_what_a_killed_process_began_is_queued_again(tmp_path: Path) -> None:
    with quiet_optuna():
        study = open_study(storage := open_storage(file_url(tmp_path / "s.db"), beat=1, silent=1), "s")
        trial = study.ask()
        trial.suggest_int("k", 4, 256)
        running = study.trials[0]
        storage.record_heartbeat(running._trial_id)
        assert queue_killed_again(study) == 0
        time.sleep(2.2)  # whole seconds are compared
        assert queue_killed_again(study) == 1 and queue_killed_again(study) == 0
        killed, again = study.trials
        assert killed.state.name == "FAIL" and again.state.name == "WAITING" and again.user_attrs[AGAIN] == 0
        assert study.ask().suggest_int("k", 4, 256) == running.params["k"]


def test_settings_that_fail_are_told_and_the_rest_goes_on(
    qacomp: Qacomp, model: Path, tmp_path: Path, quick: list[dict[str, Any]]
) -> None:
    answer = qacomp("sweep", model, "-o", tmp_path / "s", "--k", "4,13,16", "--trials", "3", "--json")
    assert answer.code == 0 and answer.json["states"]["fail"] == 1 and answer.json["errors"] == ["13 can't be reached"]
    assert len(answer.json["front"]) == 2
    again = qacomp("sweep", model, "-o", tmp_path / "s", "--trials", "3")
    assert again.code == 0 and "failed: 13 can't be reached" in again.out and len(quick) == 3
    answer = qacomp("sweep", model, "-o", tmp_path / "t", "--k", "13", "--trials", "3")
    assert answer.code == 1 and "no trial has finished: 13 can't be reached" in answer.err


def test_two_processes_share_a_study(model: Path, tmp_path: Path, quick: list[dict[str, Any]]) -> None:
    """As two machines would, each with a folder of its own: no trial is run twice, each folder keeps its part."""
    url, vary = file_url(tmp_path / "shared.db"), ("k=4,8,16,32",)
    a = SweepPlan(model, tmp_path / "a", 2, vary, storage=url)
    sweep(a)
    report = sweep(replace(a, folder=tmp_path / "b", trials=9))
    assert sorted(call["k"] for call in quick) == [4, 8, 16, 32] and len(report.front) == 4
    for folder in ("a", "b"):
        assert len(list((tmp_path / folder / "trials").iterdir())) == 2
    assert sum(point.file is not None for point in report.front) == 2


def test_a_study_of_something_else_is_refused(
    qacomp: Qacomp, model: Path, tmp_path: Path, quick: list[dict[str, Any]]
) -> None:
    folder = ("-o", tmp_path / "s", "--study", "s")
    assert qacomp("sweep", model, *folder, "--k", "4,8", "--trials", "1").code == 0
    other = onnx.load(model)
    other.doc_string = "another"
    onnx.save(other, tmp_path / "other.onnx")
    for arguments, said in (
        ((tmp_path / "other.onnx", *folder), "is of another model (m.onnx)"),
        ((model, *folder, "--k", "4,16"), "varies other settings; give --vary k=4,8"),
        ((model, *folder, "--seed", "3"), "seed = 3"),
    ):
        answer = qacomp("sweep", *arguments, "--trials", "1")
        assert answer.code == 1 and said in answer.err and len(answer.err.splitlines()) == 1
    with pytest.raises(StudyMismatchError):
        sweep(SweepPlan(tmp_path / "other.onnx", tmp_path / "s", 1, study="s"))
    assert len(quick) == 1


def test_a_storage_that_is_none(qacomp: Qacomp, model: Path, tmp_path: Path) -> None:
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "study.db").write_bytes(b"no database" * 100)
    empty = file_url(tmp_path / "empty.db")
    with quiet_optuna():
        open_storage(empty)
        open_study(open_storage(file_url(tmp_path / "foreign.db")), "foreign")
    for where, said in (
        (tmp_path / "bad", "can't be used as a study's storage"),
        (tmp_path / "none", "no such file"),
        (empty, "holds no study"),
        (file_url(tmp_path / "foreign.db"), "isn't a sweep's"),
        ("nosuch://user:secret@host/db", "can't be used as a study's storage"),
    ):
        answer = qacomp("sweep", "--show", where)
        assert answer.code == 1 and said in answer.err and "secret" not in answer.err
        assert len(answer.err.splitlines()) == 1
    assert not (tmp_path / "none").exists()
    assert qacomp("sweep", model, "--storage", "nonsense", "-o", tmp_path / "x").code == 1
    assert qacomp("sweep").code == qacomp("sweep", model, "--show", tmp_path).code == 2


def test_a_hostile_study_is_only_text(qacomp: Qacomp, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    with quiet_optuna():
        study = open_study(open_storage(file_url(tmp_path / "s" / "study.db")), "x\x1b[31m\n")
        study.set_user_attr(IDENTITY, {"model": "\x1b]0;t\x07", "sha256": "", "base": "", "space": ["data=os:system"]})
        study.set_user_attr(PEERS, [None, 3, {"name": "\x1b[2J", "bytes": 5, "loss": 1.0}, {"bytes": "many"}])
        for values, settings in (
            ([10.0, 1.0], {"\x1b[31mk": "\u202e", "n" * 5000: ["x" * 5000]}),
            ([1.0, 2.0], {"k": 4}),
            ([-5.0, 0.0], {"k": 5}),
            ([2.0, float("inf")], {"k": 6}),
            ([3.0, 1.0], "no table"),
        ):
            attrs = {SETTINGS: settings, "verdict": "\x1b", "folder": "/", "error": "\x1b[31m" * 500}
            study.add_trial(optuna.trial.create_trial(values=values, user_attrs=attrs))
    shown = qacomp("sweep", "--show", tmp_path / "s", "--plot", tmp_path / "f.png")
    assert shown.code == 0, shown.err
    assert all(c == "\n" or c.isprintable() for c in shown.out) and len(shown.out) < 10_000
    report = qacomp("sweep", "--show", tmp_path / "s", "--json").json
    assert [p["bytes"] for p in report["points"]] == [10, 1] and len(report["peers"]) == 1


def test_without_optuna_the_line_that_installs_it(
    qacomp: Qacomp, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "optuna", None)
    for arguments in ((model, "-o", tmp_path / "s"), ("--show", tmp_path)):
        answer = qacomp("sweep", *arguments)
        assert answer.code == 1 and "pip install 'qacomp[sweep]'" in answer.err and len(answer.err.splitlines()) == 1
    assert not (tmp_path / "s").exists()


def test_a_model_that_says_nothing_fails(model: Path, tmp_path: Path) -> None:
    save = pytest.importorskip("safetensors.numpy").save_file
    save({"w": np.random.default_rng(0).standard_normal((32, 32)).astype(np.float32)}, tmp_path / "w.safetensors")
    with pytest.raises(UnmeasuredTrialError, match="give --data"):
        sweep(SweepPlan(tmp_path / "w.safetensors", tmp_path / "s", 2, ("k=4,8",)))
    assert list((tmp_path / "s" / "trials").iterdir()) == []
    with pytest.raises(StudyError):
        sweep(SweepPlan(model, tmp_path / "t", 1, ("k=4,8",), storage="sqlite:////none/such/folder/s.db"))
