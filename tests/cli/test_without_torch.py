"""Decoding, inspecting, verifying and evaluating a container on a machine that has no torch."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BLOCKED = """
import sys
class NoTorch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name="torch")
sys.meta_path.insert(0, NoTorch())
from qacomp.cli.main import main
main(sys.argv[1:])
"""


@pytest.mark.parametrize("command", ["decode", "inspect", "verify", "eval", "gate"])
def test_a_device_needs_no_torch(packed: Path, tmp_path: Path, command: str) -> None:
    target = tmp_path / "model.onnx"
    arguments = [command, str(packed), "--json", *(["-o", str(target)] if command == "decode" else [])]
    done = subprocess.run(
        [sys.executable, "-P", "-c", BLOCKED, *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    if command in ("decode", "eval"):
        assert document["accuracy"] > 90
    assert target.exists() == (command == "decode")
