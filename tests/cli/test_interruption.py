"""Ctrl-C and a full disk: one clear line, exit code 1, no partial output, and the finished epochs are kept."""

import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

COMMAND = (sys.executable, "-P", "-m", "qacomp.cli.main")
LONG = ("--reg", "exp", "--k", "4", "--epochs", "60", "--tune-epochs", "2")


def test_ctrl_c_keeps_finished_epochs_and_the_same_command_goes_on(trained: Path, tmp_path: Path) -> None:
    output, resume = tmp_path / "a.qac", tmp_path / "a.qac.resume"
    command = [*COMMAND, "compress", str(trained), *LONG, "-o", str(output), "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        deadline = time.monotonic() + 60
        while not resume.exists() and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    if process.returncode == 0:
        pytest.skip("the run was over before it could be interrupted")
    assert process.returncode == 1
    assert "Traceback" not in err
    assert "interrupted; the finished epochs are kept" in err
    assert not output.exists() and resume.exists()
    assert subprocess.run(command, capture_output=True, check=False, timeout=120).returncode == 0
    assert not resume.exists()
    whole = tmp_path / "whole" / "a.qac"
    whole.parent.mkdir()
    again = [*COMMAND, "compress", str(trained), *LONG, "-o", str(whole), "--json"]
    assert subprocess.run(again, capture_output=True, check=False, timeout=120).returncode == 0
    assert output.read_bytes() == whole.read_bytes()


def _small_disk() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))


@pytest.mark.parametrize("command", ["compress", "decode", "train"])
def test_a_full_disk(trained: Path, packed: Path, tmp_path: Path, command: str) -> None:
    arguments = {
        "compress": [str(trained), "--tune-epochs", "0", "-o", str(tmp_path / "x.qac")],
        "decode": [str(packed), "--no-measure", "-o", str(tmp_path / "x.onnx")],
        "train": ["--arch", "lenet300", "--data", "digits", "--epochs", "1", "-o", str(tmp_path / "x.pt")],
    }[command]
    done = subprocess.run(
        [*COMMAND, command, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        preexec_fn=_small_disk,
    )
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    assert "can't be written" in done.stderr.strip().splitlines()[-1]
    assert not list(tmp_path.iterdir())
