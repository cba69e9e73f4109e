"""Two processes train what one trains: the same losses, one output, and all end when one does."""

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from warm_process import WarmProcess

from qacomp.errors import RanksError
from qacomp.formats import open_file
from qacomp.progress import SilentProgress
from qacomp.ranks.joining import joined
from qacomp.ranks.launch import launched
from qacomp.ranks.ranks import ALONE, Ranks
from qacomp.stages.run import Run

GIVEN = Path(__file__).resolve().parents[1] / "given"
DATA = '''
import os

import numpy as np
import torch
from own_networks import DigitsCNN
from sklearn.datasets import load_digits


def digits():
    x, y = load_digits(return_X_y=True)
    x = x[:403].reshape(-1, 1, 8, 8).astype("float32") / 8 - 1  # 323 to train: the last batches have 3 examples
    return {"x_train": x[:323], "y_train": y[:323], "x_val": x[323:363], "y_val": y[323:363],
            "x_test": x[363:], "y_test": y[363:403]}


class Failing(list):
    """Batches of which a process other than the first gets two."""

    def __iter__(self):
        for number, batch in enumerate(super().__iter__()):
            if number == 2 and os.environ.get("RANK") == "1":
                raise OSError("the disk is gone")
            yield batch


def _batches(kind):
    rng = np.random.default_rng(0)
    whole = [(torch.from_numpy(rng.normal(size=(8, 1, 8, 8))), torch.arange(8)) for _ in range(4)]
    return {"train": kind(whole), "val": whole[:1], "test": whole[:1]}


def failing():
    return _batches(Failing)


class Drawn(list):
    def __iter__(self):
        return iter([self[int(i)] for i in np.random.default_rng().permutation(400) % len(self)][:len(self)])


def drawn():
    return _batches(Drawn)
'''
PROGRAM = """
import json, sys
import accelerate, torch
from own_networks import DigitsCNN
from several_processes import killed_after_an_epoch, leaving_digests, together
import qacomp.api, qacomp.pipeline

torch.manual_seed(0)
torch.save(DigitsCNN().state_dict(), "net.pt")
settings = ("--reg", "exp", "--k", "4", "--tune-epochs", "1", "--lr", "0.05", "--batch-size", "32", "--distill", "none")
settings += ("--prune", "energy:epochs=2,population=4", "--precision", "fp32", "--device", "cpu", "--json")


def command(data, output, epochs=1):
    return ["compress", "net.pt", "--arch", "data:DigitsCNN", "--data", f"data:{data}", "--epochs", str(epochs),
            *settings, "-o", output]


whole = command("digits", "two.qac")
again = command("digits", "again.qac")
found = {"one": together(command("digits", "one.qac"), "one", 1)}
found["two"] = together(whole, "two", 2, leaving_digests("two"))
found["killed"] = together(again, "killed", 2, killed_after_an_epoch)
found["resumed"] = together(again, "resumed", 2)
for data in ("failing", "drawn"):
    found[data] = together(command(data, f"{data}.qac"), data, 2)
found["verify"] = together(["verify", "two.qac"], "verify", 2)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def ran(warm_process: WarmProcess, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder, and what each run in one or two processes gave."""
    pytest.importorskip("accelerate")
    folder = tmp_path_factory.mktemp("processes")
    (folder / "data.py").write_text(DATA)
    return folder, json.loads(warm_process.run(PROGRAM, folder, path=[GIVEN]).splitlines()[-1])


def test_two_processes_give_the_losses_of_one(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, found = ran
    one, two = (json.loads(found[name]["out"][0]) for name in ("one", "two"))
    assert found["two"]["codes"] == [0, 0], found["two"]["err"]
    stages = [("prune", 1), ("prune", 2), ("fine-tune", 1), ("tune", 1)]
    assert [(r["stage"], r["epoch"]) for r in two["history"]] == stages
    for figure in ("loss", "penalty", "validation_accuracy"):
        curves = [[record[figure] for record in done["history"]] for done in (one, two)]
        np.testing.assert_allclose(curves[1], curves[0], rtol=1e-4)
    assert two["history"][0]["loss"] > 1.5 > two["history"][1]["loss"], "something is learned"
    assert two["pruning"]["parameters_left"] == one["pruning"]["parameters_left"]
    with open_file(folder / "one.qac") as first, open_file(folder / "two.qac") as second:
        assert list(first.names) == list(second.names)
        for name in first.names:
            if first.info(name).k is not None:
                np.testing.assert_array_equal(first.shared(name).indices, second.shared(name).indices)
            a, b = (np.asarray(opened.tensor(name), np.float64) for opened in (first, second))
            np.testing.assert_allclose(b, a, rtol=2e-3, atol=1e-4)  # fp16 rounds the codebook by up to 1/2048


@pytest.mark.parametrize("stage", ["prune", "fine-tune", "tune"])
def test_networks_of_both_processes_are_equal(ran: tuple[Path, dict[str, Any]], stage: str) -> None:
    """Weights, batch statistics, representatives; after tuning also the clusters, which are a buffer."""
    first, second = ((ran[0] / f"two-{stage}-{rank}.sha").read_text() for rank in (0, 1))
    assert first == second


def test_only_the_first_process_prints_and_writes(ran: tuple[Path, dict[str, Any]]) -> None:
    folder, found = ran
    for name, done in found.items():
        assert [done[end][1:] for end in ("out", "err")] == ([[], []] if name == "one" else [[""], [""]]), name
    assert {path.name for path in folder.glob("*.qac*")} == {"one.qac", "two.qac", "again.qac"}
    assert found["verify"]["codes"] == [0, 0] and "two.qac" in found["verify"]["out"][0]


def test_a_killed_run_ends_everywhere_and_goes_on(
    ran: tuple[Path, dict[str, Any]], patience: Callable[[float], float]
) -> None:
    folder, found = ran
    assert found["killed"]["codes"] == [-9, 1]
    assert found["killed"]["seconds"] < patience(60)
    assert found["resumed"]["codes"] == [0, 0]
    two, resumed = (json.loads(found[name]["out"][0]) for name in ("two", "resumed"))
    assert resumed["history"] == two["history"]
    assert (folder / "again.qac").read_bytes() == (folder / "two.qac").read_bytes()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ("failing", "process 1: data:failing: train: the loader failed: OSError: the disk is gone"),
        ("drawn", "data:drawn: process 1 got another batch than process 0"),
    ],
)
def test_an_error_of_one_process_ends_all(
    ran: tuple[Path, dict[str, Any]], patience: Callable[[float], float], data: str, says: str
) -> None:
    done = ran[1][data]
    assert done["codes"] == [1, 1]
    (line,) = (line for line in done["err"][0].splitlines() if "error" in line)
    assert line.startswith(f"qacomp: error: {says}")
    assert json.loads(done["out"][0])["error"]["message"].startswith(says)
    assert done["seconds"] < patience(60)


def test_torchrun_without_accelerate_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(RanksError, match=r"pip install 'qacomp\[distributed\]'"), joined(True, cpu=True):
        pass


def test_one_process_needs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with joined(False) as ranks:
        assert ranks is ALONE and ranks.first and ranks.from_first(os.getpid) == os.getpid()
        assert ranks.rows(5) == slice(0, 5) and ranks.gathered([3, 4]) == [(3, 4)]


def test_work_that_is_not_shared_is_told() -> None:
    several, one = (Run(SilentProgress(), Path("x.qac"), ranks=ranks) for ranks in (Ranks(0, 4), ALONE))
    for run in (several, one):
        run.note_alone("nothing is trained")
    assert several.notes == ["4 processes were started, but nothing is trained, so the first one works alone"]
    assert one.notes == []


@pytest.mark.parametrize("count", [2, 3, 7, 32, 33])
def test_parts_are_fair_and_complete(count: int) -> None:
    numbers = list(range(count))
    parts = [numbers[Ranks(rank, 3).rows(count)] for rank in range(3)]
    assert [number for part in parts for number in part] == numbers
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize(
    ("environment", "place"),
    [
        ({}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2"}, (0, 1)),
        ({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, (1, 2)),
        ({"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, (0, 1)),
        ({"RANK": "x", "WORLD_SIZE": "2", "MASTER_ADDR": "a", "MASTER_PORT": "1"}, (0, 1)),
    ],
)
def test_torchrun_is_told_by_the_environment(environment: dict[str, str], place: tuple[int, int]) -> None:
    assert launched(environment) == place
