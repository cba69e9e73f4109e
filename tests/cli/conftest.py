"""One small network, trained and compressed once a session, that the command line's tests share."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from made_once import made_once
from screens import Screen

from qacomp.cli.main import main


@dataclass(frozen=True)
class Answer:
    """Exit code, stdout and stderr of one command."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """stdout as the one JSON document that it must be."""
        return json.loads(self.out)


Qacomp = Callable[..., Answer]


@pytest.fixture
def qacomp(capfd: pytest.CaptureFixture[str]) -> Qacomp:
    """Run a command line in this process."""

    def run(*arguments: str | Path) -> Answer:
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            main([str(a) for a in arguments])
        captured = capfd.readouterr()
        assert "Traceback" not in captured.err
        assert isinstance(left.value.code, int)
        return Answer(left.value.code, captured.out, captured.err)

    return run


def quiet(*arguments: str | Path) -> None:
    with pytest.raises(SystemExit) as left:
        main([str(a) for a in arguments])
    assert left.value.code == 0


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LeNet-300-100 trained on digits by `qacomp train`."""

    def make(folder: Path) -> None:
        quiet("train", "--arch", "lenet300", "--data", "digits", "--epochs", "12", "-o", folder / "model.pt", "--json")

    return made_once(tmp_path_factory, "trained", make) / "model.pt"


@pytest.fixture(scope="session")
def packed(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same compressed with a regularizer."""

    def make(folder: Path) -> None:
        settings = ("--reg", "exp", "--k", "8", "--epochs", "4", "--tune-epochs", "2")
        quiet("compress", trained, *settings, "-o", folder / "model.qac")

    return made_once(tmp_path_factory, "packed", make) / "model.qac"


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Screen]:
    """Put a terminal of some width in the place of stdout or stderr."""
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")

    def make(columns: int, stream: str = "stdout", encoding: str = "utf-8") -> Screen:
        monkeypatch.setenv("COLUMNS", str(columns))
        made = Screen(encoding)
        monkeypatch.setattr(sys, stream, made)
        return made

    return make
