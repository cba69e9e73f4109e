"""The runner of the papers' trials: pieces that outlive a kill, equal seeds, and the bootstrap over seeds."""

import argparse
import importlib
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qacomp.errors import QacompError

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"

SCRIPT = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from _papers_claims import Claim
from _papers_pieces import Trial
from _papers_queue import work_off

def measure(settings, seed):
    if seed == 2 and not Path(sys.argv[3]).exists():
        Path(sys.argv[3]).touch()
        time.sleep(120)
    return {"a": seed * settings["by"]}

trials = tuple(Trial("claim", "", seed, {"by": 2}, measure) for seed in range(4))
print(work_off([Claim("claim", "", "", "", trials)], 10.0, Path(sys.argv[2])))
"""


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Import modules of benchmarks, which go when the test ends, since their names are common ones."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    yield importlib.import_module
    for name, found in list(sys.modules.items()):
        if str(getattr(found, "__file__", "")).startswith(str(BENCHMARKS)):
            del sys.modules[name]


def trials(module: Callable[[str], Any], called: list[int], count: int = 3) -> list[Any]:
    def measure(settings: dict[str, Any], seed: int) -> dict[str, Any]:
        called.append(seed)
        return {"a": seed + settings["more"]}

    return [
        module("_papers_pieces").Trial("claim", "part", seed, {"more": 1, "ks": (2, 3)}, measure)
        for seed in range(count)
    ]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_queue_goes_on_where_it_was_broken_off(
    tmp_path: Path, number: signal.Signals, patience: Callable[[float], float]
) -> None:
    folder, started = tmp_path / "pieces", tmp_path / "started"
    command = [sys.executable, "-c", SCRIPT, str(BENCHMARKS), str(folder), str(started)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not started.exists() and process.poll() is None:
            time.sleep(0.02)
        before = sorted(folder.iterdir())
        process.send_signal(number)
        out, err = process.communicate(timeout=patience(60))
    assert [path.name for path in before] == ["claim-seed0.json", "claim-seed1.json"]
    if number != signal.SIGKILL:
        assert process.returncode == 0 and out.splitlines()[-1] == "2" and "the same command goes on" in err
    kept = [path.read_bytes() for path in before]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "2"  # only those that weren't there
    assert [path.read_bytes() for path in before] == kept
    assert [json.loads((folder / f"claim-seed{n}.json").read_text())["figures"]["a"] for n in range(4)] == [0, 2, 4, 6]


def test_pieces_that_are_broken_or_of_other_settings_are_measured_anew(
    module: Callable[[str], Any], tmp_path: Path
) -> None:
    pieces = module("_papers_pieces")
    called: list[int] = []
    some = trials(module, called)
    for trial in some:
        pieces.run_trial(trial, tmp_path)
    assert called == [0, 1, 2] and pieces.waiting(some, tmp_path) == []
    assert [piece.figures["a"] for piece in pieces.all_kept(some, tmp_path)] == [1, 2, 3]
    files = sorted(tmp_path.iterdir())
    whole = files[0].read_bytes()
    for broken in (whole[: len(whole) // 2], b"", b"[]", b"\xff\x00", b'{"trial": "part"}'):
        files[0].write_bytes(broken)
        assert [trial.seed for trial in pieces.waiting(some, tmp_path)] == [0]
    document = json.loads(whole)
    files[0].write_text(json.dumps({**document, "settings": {"more": 2, "ks": [2, 3]}}))
    assert [trial.seed for trial in pieces.waiting(some, tmp_path)] == [0]
    assert [piece.seed for piece in pieces.all_kept(some, tmp_path)] == [1, 2]
    pieces.run_trial(some[0], tmp_path)
    assert json.loads(files[0].read_text())["figures"] == document["figures"]


def test_the_time_ends_the_queue_and_turns_order_it(module: Callable[[str], Any], tmp_path: Path) -> None:
    queue, claims, pieces = module("_papers_queue"), module("_papers_claims"), module("_papers_pieces")
    some = [pieces.Trial("c", name, 0, {}, lambda s, n: {}, turn) for name, turn in (("late", 2), ("a", 0), ("b", 0))]
    claim = claims.Claim("c", "", "", "", tuple(some))
    assert [trial.name for trial in pieces.waiting(some, tmp_path)] == ["a", "b", "late"]
    assert queue.work_off([claim], -1.0, tmp_path) == 0
    assert queue.work_off([claim], 1.0, tmp_path) == 3 and queue.work_off([claim], 1.0, tmp_path) == 0


def test_a_trial_that_fails_doesnt_stop_the_queue(
    module: Callable[[str], Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    queue, claims, pieces = module("_papers_queue"), module("_papers_claims"), module("_papers_pieces")

    def measure(settings: dict[str, Any], seed: int) -> dict[str, Any]:
        if seed == 1:
            raise QacompError("the loss became nan")
        return {}

    some = tuple(pieces.Trial("c", "", seed, {}, measure) for seed in range(3))
    assert queue.work_off([claims.Claim("c", "", "", "", some)], 1.0, tmp_path) == 2
    assert "c-seed1: failed, the loss became nan" in capsys.readouterr().err
    assert [trial.seed for trial in pieces.waiting(some, tmp_path)] == [1]


@pytest.mark.parametrize("values", [[1.0, 2.0, 4.0], [0.3, -0.2, 0.1, 0.9], [5.0, 5.0, 5.0, 5.0]])
def test_the_bootstrap_against_all_resamples(module: Callable[[str], Any], values: list[float]) -> None:
    """With few values every resample can be listed: the interval's ends are quantiles of all their means."""
    found = module("_papers_statistics").bootstrap(values)
    every = sorted(sum(chosen) / len(values) for chosen in itertools.product(values, repeat=len(values)))
    assert found.mean == pytest.approx(sum(values) / len(values)) and found.n == len(values)
    for end, share in ((found.low, 0.025), (found.high, 0.975)):
        assert np.quantile(every, share - 0.006, method="lower") <= end + 1e-9
        assert np.quantile(every, share + 0.006, method="higher") >= end - 1e-9


def test_the_bootstrap_of_many_normal_values_is_that_of_theory(module: Callable[[str], Any]) -> None:
    values = np.random.default_rng(3).normal(1.0, 2.0, 400)
    found = module("_papers_statistics").bootstrap(values.tolist())
    half = 1.96 * values.std(ddof=1) / 20
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


@pytest.mark.parametrize(
    ("values", "decided", "holds"),
    [
        ([1.0, 1.2, 0.9, 1.1, 1.0], True, True),
        ([-1.0, -1.2, -0.9, -1.1, -1.0], True, False),
        ([0.1, -0.1, 0.05, 0.0, -0.02], True, False),  # narrower than ± 0.3
        ([2.0, -1.9, 1.5, -0.5, 0.2], False, False),
        ([1.0, 1.2, 0.9], False, False),  # too few seeds
        ([1.0], False, False),
    ],
)
def test_what_decides_a_claim(module: Callable[[str], Any], values: list[float], decided: bool, holds: bool) -> None:
    found = module("_papers_statistics").bootstrap(values)
    assert (found.decided, found.holds) == (decided, holds)


def test_equal_seeds_give_equal_pieces_and_other_seeds_other_ones(module: Callable[[str], Any]) -> None:
    slimmable, assistants = module("_papers_slimmable"), module("_papers_assistants")
    small = {"data": "digits", "pixels": 4, "images": 60, "validation": 20, "passes": 2, "passes_per_epoch": 1}
    settings = slimmable.SETTINGS | small | {"batch": 30, "units": [8], "strategies": ["none", "ta-m"]}
    first, again, other = (slimmable.measure(settings, seed) for seed in (0, 0, 1))
    assert first == again != other
    assert set(first) == {"none", "ta-m"} and first["none"] != first["ta-m"]
    pieces = [
        module("_papers_pieces").Piece("", seed, settings, found, 1.0) for seed, found in ((0, first), (1, other))
    ]
    differences = assistants.less("ta-m", "none", "width0.125")(pieces)
    assert differences == [found["ta-m"]["width0.125"] - found["none"]["width0.125"] for found in (first, other)]


def test_the_page_tells_what_has_not_run(module: Callable[[str], Any], tmp_path: Path) -> None:
    claims, pieces, page = module("_papers_claims"), module("_papers_pieces"), module("_papers_page")
    papers, cells = module("papers"), module("_papers_cells")
    some = tuple(pieces.Trial("claim", "", seed, {}, lambda settings, n: {"a": 1.0 + n / 10}) for seed in range(6))

    def values(found: Any) -> list[float]:
        return [piece.figures["a"] for piece in found]

    claim = claims.Claim(
        *("claim", "a paper", "something helps", "a small network", some, (claims.Question("a", values, 6),)),
        cells=lambda found: cells.cell("ours", "row", "gain", values(found), cells.DIFFERENCE),
    )
    verdicts = []
    for count in (0, 3, 5, 6):
        for trial in some[:count]:
            pieces.run_trial(trial, tmp_path)
        found = claims.standing(claim, tmp_path)
        verdicts.append(found.verdict)
        rows = [json.loads(json.dumps(vars(papers.row(found))))]
    assert verdicts == [
        "not run yet (0 of 6 pieces)",
        "not decided yet (3 of 6 pieces)",
        "not decided yet (5 of 6 pieces)",  # the interval excludes zero already, but not all seeds are there
        "**holds**",
    ]
    text = page.section(rows, "verdicts")
    assert "(a) a paper: something helps | **holds** | a: +1.25 [" in text and "(6 of 6 seeds)" in text
    assert "| row | +1.25 [" in page.section(rows, "claim") and "| claim | 6 of 6 |" in page.section(rows, "hours")


def test_a_claim_that_stays_open_with_all_seeds_says_so(module: Callable[[str], Any], tmp_path: Path) -> None:
    claims, pieces = module("_papers_claims"), module("_papers_pieces")
    some = tuple(
        pieces.Trial("claim", "", seed, {}, lambda settings, n: {"a": 1.0 + n, "b": -5.0 + 2 * n}) for seed in range(6)
    )
    questions = tuple(
        claims.Question(name, lambda found, name=name: [piece.figures[name] for piece in found], 6) for name in "ab"
    )
    for trial in some:
        pieces.run_trial(trial, tmp_path)
    found = claims.standing(claims.Claim("claim", "", "", "", some, questions), tmp_path)
    assert found.verdict == "**not decided**: 1 of 2 questions are" and not found.decided


def test_the_suite_has_arguments_of_its_own(module: Callable[[str], Any]) -> None:
    parser = argparse.ArgumentParser()
    module("papers").arguments(parser)
    found = parser.parse_args(["--claim", "sinreq", "--minutes", "2"])
    assert (found.claim, found.minutes, found.threads) == ("sinreq", 2.0, 1)
    stems = [trial.stem for claim in module("_papers_list").claims() for trial in claim.trials]
    assert len(stems) == len(set(stems)) > 100
