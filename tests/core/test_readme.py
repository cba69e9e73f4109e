"""README's examples run as they stand, and its tables are those of the committed results."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def words(text: str) -> list[str]:
    """The words of each line, without the figures, the rules, and the codecs that a codec's figures choose."""
    codecs = "bitpack|context|rans|planes"
    return [" ".join(re.sub(rf"[\d.,─-]+|{codecs}", " ", line).split()) for line in text.splitlines()]


def test_the_lines_of_use_run_as_printed(run_printed: Callable[..., str], tmp_path: Path) -> None:
    commands, _ = blocks("console")
    assert len(commands.splitlines()) == 5
    out = run_printed([("console", commands)])
    assert {"model.pt", "model.qac", "model.onnx"} == {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "model.pt").stat().st_size > 10 * (tmp_path / "model.qac").stat().st_size
    original, decoded = (float(re.findall(rf"{word} ([\d.]+) %", out)[0]) for word in ("original", "decoded"))
    assert decoded >= original - 1.0
    (printed,) = blocks("text")
    run, shown = commands.splitlines()[1:3], words(out)
    assert [line.removeprefix("$ ") for line in printed.splitlines() if line.startswith("$")] == run
    assert [line for line in words(printed) if not line.startswith("$")] == shown[
        1 : 1 + len(words(printed)) - len(run)
    ]
    python = blocks("python")
    assert len(python) == 2
    out = run_printed([("python", code) for code in python])
    assert re.search(r"x smaller, accuracy [\d.]+ -> [\d.]+ % 8$", out, re.MULTILINE), out
    assert "(20, 1, 5, 5)" in out


def test_ones_own_network_runs_as_printed(run_printed: Callable[..., str], tmp_path: Path) -> None:
    """The file that README refers to is printed in docs/own-data.md."""
    _, commands = blocks("console")
    page = (ROOT / "docs" / "own-data.md").read_text(encoding="utf-8")
    (network,) = re.findall(r"`squares\.py`:\n\n```python\n(.*?)```", page, re.DOTALL)
    (tmp_path / "squares.py").write_text(network, encoding="utf-8")
    out = run_printed([("console", commands)])
    assert {"squares.py", "unet.pt", "unet.qac"} <= {path.name for path in tmp_path.iterdir()}
    trained, decoded = (float(re.findall(rf"{word}[^\n]*?(0\.\d+)", out)[0]) for word in ("dice", "decoded"))
    assert trained > 0.6 and decoded > trained - 0.1


def test_the_tables_are_those_of_the_results() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "tables.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_links_lead_somewhere() -> None:
    for document in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (document.parent / target).exists(), f"{document.name}: {target}"
