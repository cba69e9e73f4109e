"""Ctrl-C and a full disk: one clear line, exit code 1, no partial output, and the finished epochs are kept."""

import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from qacomp.cli.interruption import Terminated

Qacomp = Callable[..., Any]  # the fixture `qacomp`: runs a command line, gives .code, .out, .err and .json
LONG = ("--reg", "exp", "--k", "4", "--epochs", "4", "--tune-epochs", "1", "--json")


def test_ctrl_c_keeps_finished_epochs_and_the_same_command_goes_on(
    qacomp: Qacomp, patience: Callable[[float], float], trained: Path, tmp_path: Path
) -> None:
    output, resume = tmp_path / "a.qac", tmp_path / "a.qac.resume"
    command = [sys.executable, "-P", "-m", "qacomp.cli.main", "compress", str(trained), *LONG, "-o", str(output)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + patience(60)
        while not resume.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=patience(60))
    if process.returncode == 0:
        pytest.skip("the run was over before it could be interrupted")
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "interrupted; finished epochs are kept" in err
    assert not output.exists() and resume.exists()
    assert qacomp("compress", trained, *LONG, "-o", output).code == 0
    assert not resume.exists()
    whole = tmp_path / "whole" / "a.qac"
    whole.parent.mkdir()
    assert qacomp("compress", trained, *LONG, "-o", whole).code == 0
    assert output.read_bytes() == whole.read_bytes()


def test_ctrl_c_while_python_builds_a_class_is_no_defect(qacomp: Qacomp, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupting:
        def __set_name__(self, owner: type, name: str) -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr("qacomp.cli.main.import_module", lambda name: type("Building", (), {"field": Interrupting()}))
    answer = qacomp("verify", "m.qac", "--json")
    assert answer.code == 1 and answer.err == "qacomp: error: interrupted; no half-written output is left behind\n"
    assert answer.json["error"]["type"] == "Interrupted"


@pytest.mark.parametrize(("raised", "code"), [(KeyboardInterrupt(), 1), (Terminated(signal.SIGTERM), 143)], ids=str)
def test_an_error_that_an_interruption_leads_to_is_no_defect(
    qacomp: Qacomp, monkeypatch: pytest.MonkeyPatch, raised: KeyboardInterrupt, code: int
) -> None:
    def left(name: str) -> None:
        try:
            raise raised
        finally:  # as PyTorch does, where a mode is left before it was entered
            raise RuntimeError("trying to pop from empty mode stack")

    monkeypatch.setattr("qacomp.cli.main.import_module", left)
    answer = qacomp("verify", "m.qac")
    assert answer.code == code and "a bug" not in answer.err and answer.err.count("\n") == 1


@contextmanager
def small_disk() -> Iterator[None]:
    """No file of this process may grow past 2,000 bytes: writes fail as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("command", ["compress", "decode", "train"])
def test_a_full_disk(qacomp: Qacomp, trained: Path, packed: Path, tmp_path: Path, command: str) -> None:
    arguments = {
        "compress": [trained, "--tune-epochs", "0", "-o", tmp_path / "x.qac"],
        "decode": [packed, "--no-measure", "-o", tmp_path / "x.onnx"],
        "train": ["--arch", "lenet300", "--data", "digits", "--epochs", "1", "-o", tmp_path / "x.pt"],
    }[command]
    with small_disk():
        answer = qacomp(command, *arguments)
    assert answer.code == 1, answer.err
    assert "can't be written" in answer.err.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())
