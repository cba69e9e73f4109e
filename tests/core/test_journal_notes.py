"""A file that can't keep what a long run would lose says so once, in the result and on the terminal."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_networks
import pytest
import torch

import qacomp
from qacomp.errors import OutputNotWritableError
from qacomp.progress import SilentProgress
from qacomp.stages import journal
from qacomp.stages.journal import Journal
from qacomp.training import resume
from qacomp.training.resume import ResumeStore


class Heard(SilentProgress):
    """Keeps what a terminal would show."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Let opening files of a name for writing fail: as on a full disk, or in a folder that became read-only."""

    def fail(name: str, number: int = errno.ENOSPC) -> None:
        call = Path.open

        def opened(path: Path, mode: str = "r", *given: Any, **named: Any) -> Any:
            if path.name == name and mode != "rb":
                raise OSError(number, os.strerror(number), str(path))
            return call(path, mode, *given, **named)

        monkeypatch.setattr(Path, "open", opened)

    return fail


def compressed(output: Path, heard: Heard) -> qacomp.Result:
    rng = np.random.default_rng(0)
    state = {f"w{i}.weight": rng.normal(size=(24, 24)).astype(np.float32) for i in range(2)}
    return qacomp.compress(state, output=output, target_size="700", progress=heard)


def notes_of(result: qacomp.Result) -> list[str]:
    return [note for note in result.notes if "can't keep all that is measured" in note]


@pytest.mark.parametrize(("number", "words"), [(errno.ENOSPC, "No space left"), (errno.EROFS, "Read-only file system")])
def test_a_search_whose_journal_can_not_be_written(
    full: Callable[..., None], tmp_path: Path, number: int, words: str
) -> None:
    wanted, heard = compressed(tmp_path / "whole.qac", Heard()), Heard()
    assert notes_of(wanted) == []
    full("m.qac.journal", number)
    found = compressed(tmp_path / "m.qac", heard)
    (note,) = notes_of(found)
    assert words in note and "m.qac.journal" in note and note in heard.notes
    assert found.output.read_bytes() == wanted.output.read_bytes()
    assert {path.name for path in tmp_path.iterdir()} == {"m.qac", "whole.qac"}


def test_a_search_whose_journal_would_be_too_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "_LARGEST", 300)
    heard = Heard()
    (note,) = notes_of(compressed(tmp_path / "m.qac", heard))
    assert "it would be larger than 300 bytes" in note and heard.notes.count(note) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["m.qac"]


def test_what_was_kept_before_the_bound_is_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[str] = []
    first = Journal(tmp_path / "j", "mine", heard.append)
    first.add("a", 1)
    size = (tmp_path / "j").stat().st_size
    monkeypatch.setattr(journal, "_LARGEST", size + 10)
    for number in range(3):
        first.add(f"b{number}", number)
    assert len(heard) == 1 and (tmp_path / "j").stat().st_size == size
    assert Journal(tmp_path / "j", "mine").kept == 1


def test_values_that_are_too_large_are_told_and_smaller_ones_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_MOST_ARRAYS", 100)
    heard: list[str] = []
    first = Journal(tmp_path / "j", "mine", heard.append)
    for number in range(2):
        first.add(f"large{number}", 0, {"a": np.zeros(101, np.uint8)})
    first.add("small", 0, {"a": np.zeros(99, np.uint8)})
    assert len(heard) == 1 and "values of 101 bytes" in heard[0]
    assert Journal(tmp_path / "j", "mine").kept == 1


def test_a_training_whose_state_can_not_be_saved_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(path: Path, parts: Any) -> None:
        raise OutputNotWritableError(f"{path}: No space left on device")

    monkeypatch.setattr(resume, "write_atomically", refused)
    monkeypatch.setattr(resume, "_MIN_INTERVAL_S", 0.0)
    heard = Heard()
    trained = qacomp.train(
        own_networks.Regression, own_networks.diabetes(), tmp_path / "m.pt", epochs=3, progress=heard
    )
    (note,) = [note for note in trained.notes if "isn't saved any more" in note]
    assert "No space left on device" in note and heard.notes.count(note) == 1
    assert len(trained.history) == 3 and [path.name for path in tmp_path.iterdir()] == ["m.pt"]
    store = ResumeStore(tmp_path / "r", "mine")
    store.save("a", {"w": torch.zeros(2)}, last=True)  # without a note too it fails nothing
