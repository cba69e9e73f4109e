"""The first two commands of README: what they print of a network that was trained before."""

import subprocess
import sys
import tempfile

from result import Headline, Row

TRAIN = "qacomp train --arch lenet5 --data digits --epochs 10 -o model.pt"
COMMANDS = (
    "qacomp compress model.pt --reg exp --k 8 --epochs 6 --tune-epochs 2",
    "qacomp decode model.qac -o model.onnx",
)


def run(size: str, seeds: int) -> tuple[list[Row], dict[str, Headline]]:
    """One seed; stdout of each command behind its line."""
    printed = ""
    with tempfile.TemporaryDirectory() as folder:
        for line in (TRAIN, *COMMANDS):
            words = [sys.executable, "-P", "-m", *line.split()]
            out = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=True).stdout
            printed += "" if line == TRAIN else f"$ {line}\n{out}"
    settings = {"train": TRAIN, "commands": list(COMMANDS)}
    return [Row("first_commands", "LeNet-5 on scikit-learn's digits", settings, {"printed": printed})], {}
