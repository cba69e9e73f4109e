"""A folder is replaced whole: the old one is there until the new one takes its place, and stays if it can't."""

import os
from pathlib import Path
from typing import Any

import pytest

from qacomp.formats import OutputNotWritableError, atomic
from qacomp.formats.atomic import atomic_folder


@pytest.fixture(params=[True, False], ids=["at once", "in two steps"])
def target(request: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An old folder, on a system that lets folders change places, and on one that doesn't."""
    if not request.param:
        monkeypatch.setattr(atomic, "_exchanged", lambda one, other: False)
    old = tmp_path / "model"
    old.mkdir()
    (old / "a").write_text("old")
    return old


def test_a_folder_is_replaced_and_nothing_else_stays(target: Path) -> None:
    with atomic_folder(target, replace=True) as made:
        (made / "b").write_text("new")
        assert (target / "a").read_text() == "old"
    assert [path.name for path in target.iterdir()] == ["b"] and os.listdir(target.parent) == ["model"]


def test_the_old_folder_stays_if_the_new_one_fails(target: Path) -> None:
    with pytest.raises(OutputNotWritableError), atomic_folder(target, replace=True):
        raise OSError(28, "No space left on device")
    assert (target / "a").read_text() == "old" and os.listdir(target.parent) == ["model"]


def test_the_old_folder_comes_back_if_the_new_one_can_not_move(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic, "_exchanged", lambda one, other: False)
    rename = os.rename

    def refuses_new(source: Any, place: Any) -> None:
        if Path(source).name == "new":
            raise OSError(1, "Operation not permitted")
        rename(source, place)

    monkeypatch.setattr(os, "rename", refuses_new)
    with pytest.raises(OutputNotWritableError), atomic_folder(target, replace=True) as made:
        (made / "b").write_text("new")
    assert (target / "a").read_text() == "old" and os.listdir(target.parent) == ["model"]
