"""Ctrl-C, SIGTERM, SIGKILL and a full disk in the middle of real work leave the output that stood there whole."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("killed_work.py")
EXIT_CODES = {"SIGINT": {0, 1}, "SIGTERM": {0, 143}, "SIGKILL": {0, -9}, "full": {1}}
SAID = {"SIGINT": "interrupted; ", "SIGTERM": "ended by SIGTERM; ", "full": "can't be written (File too large); "}


@pytest.fixture(scope="module")
def trials(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("killed")
    done = subprocess.run([sys.executable, "-P", str(SCRIPT), str(folder)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[dict[str, Any]]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("command", ["compress", "decode"])
@pytest.mark.parametrize("how", EXIT_CODES)
def test_what_stood_there_is_whole(trials: dict[str, list[dict[str, Any]]], command: str, how: str) -> None:
    own = [trial for trial in trials[command] if trial["how"] == how]
    for trial in own:
        assert trial["code"] in EXIT_CODES[how] and "Traceback" not in trial["log"], trial
        assert trial["state"] in (("new",) if trial["code"] == 0 else ("old", "new")), trial
        if trial["code"] != 0 and how in SAID:
            assert SAID[how] in trial["log"].splitlines()[-1], trial
        if how in ("SIGINT", "SIGTERM"):
            assert trial["parts"] == 0, trial
        assert trial["parts"] <= 1, trial  # what one kill left is gone after the next run has written
    assert sum(trial["state"] == "old" for trial in own) == 3, "the work was met in its middle"
