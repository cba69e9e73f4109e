"""Errors of the operating system name the path and say what to do, for reading as for writing."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from qacomp.errors import NotACheckpointError, OutputNotWritableError
from qacomp.formats import write_atomically

NUMBERS = ("E2BIG", "ENOSPC", "ENOMEM", "EFBIG", "EDQUOT", "EROFS", "ENAMETOOLONG", "EACCES", "EIO")


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("call", ["open", "fsync", "replace"])
def test_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, call: str) -> None:
    number = getattr(errno, name)
    target = tmp_path / "m.qac"
    target.write_bytes(b"old")

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(f"os.{call}", fail)
        with pytest.raises(OutputNotWritableError) as error:
            write_atomically(target, [b"new"])
    assert str(error.value).startswith(f"{target}: can't be written ({os.strerror(number)}); ")
    assert len(str(error.value).rpartition("; ")[2]) > 10
    assert target.read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["m.qac"]


@pytest.mark.parametrize("name", NUMBERS)
def test_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    from qacomp.checkpoints import read_checkpoint

    number = getattr(errno, name)
    torch.save({"w": torch.zeros(4, 4)}, tmp_path / "m.pt")

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("hashlib.file_digest", fail)
    with pytest.raises(NotACheckpointError) as error:
        read_checkpoint(tmp_path / "m.pt")
    assert f"m.pt: can't be read ({os.strerror(number)}); " in str(error.value)


def test_what_nobody_caught_names_its_path(qacomp_main: Callable[[OSError], str]) -> None:
    line = qacomp_main(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/some/file"))
    assert line == "qacomp: error: /some/file: No space left on device; free space there, or choose another path\n"
    line = qacomp_main(OSError(errno.ENOMEM, os.strerror(errno.ENOMEM)))
    assert line.startswith("qacomp: error: Cannot allocate memory; close other programs")


@pytest.fixture
def qacomp_main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[[OSError], str]:
    """What the command line says of an error that comes out of a command."""
    from qacomp.cli import main as module

    def run(error: OSError) -> str:
        def fail(*_: Any, **__: Any) -> None:
            raise error

        monkeypatch.setattr(module.cli, "main", fail)
        with pytest.raises(SystemExit) as left:
            module.main(["verify", "x"])
        assert left.value.code == 1
        return capsys.readouterr().err

    return run
