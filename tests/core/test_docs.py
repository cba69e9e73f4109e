"""What docs/ and examples/ show runs as it stands, and says what is true of the code."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from qacomp.cli.compress import compress_command

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def blocks(document: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block, in order."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return re.findall(r"```(python|console)\n(.*?)```", text, re.DOTALL)


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def python_with_commands(parts: list[tuple[str, str]]) -> str:
    """One program: the commands run between the Python blocks, where they stand on the page."""
    lines = ["import subprocess"]
    for language, code in parts:
        lines.append(code if language == "python" else f"subprocess.run(['bash', '-ec', {code!r}], check=True)")
    return "\n".join(lines)


def test_the_quickstart_runs(tmp_path: Path) -> None:
    out = run([sys.executable, "-P", "-c", python_with_commands(blocks("quickstart.md"))], tmp_path)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {
        *("net.qac", "net.onnx", "report.html", "small.onnx", "weights.qac", "again.qac", "onnx.html", "step.onnx")
    }
    assert "state is carried on" in out
    before, after = re.findall(r"accuracy ([\d.]+) -> ([\d.]+) %", out)[0]
    assert float(before) > 85 and float(after) > float(before) - 5
    assert (tmp_path / "small.onnx").stat().st_size < (tmp_path / "net.onnx").stat().st_size / 3
    assert "layer.weight 16" in out


def test_the_new_regularizer_and_the_new_codec_work(tmp_path: Path) -> None:
    out = run([sys.executable, "-P", "-c", python_with_commands(blocks("extending.md"))], tmp_path)
    assert "regularizer: abs" in out and "'bz2': " in out
    penalties = [float(v) for v in re.findall(r"[\d.]+", out.partition("abs")[2].partition("\n")[0])]
    assert len(penalties) == 4 and penalties[2] > 0


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("cnn", {"cnn.qac", "cnn.onnx", "report.html"}),
        ("onnx_speech", {"original.onnx", "speech.qac", "speech.onnx", "report.html"}),
        ("transformer", {"model.safetensors", "transformer.qac", "report.html"}),
    ],
)
def test_an_example_runs(name: str, written: set[str], tmp_path: Path) -> None:
    out = run([sys.executable, "-P", str(ROOT / "examples" / f"{name}.py"), str(tmp_path)], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == written
    assert "smaller" in out
    if name == "cnn":
        before, after = re.findall(r"accuracy ([\d.]+) -> ([\d.]+) %", out)[0]
        assert float(before) > 90 and float(after) > float(before) - 3
    if name == "onnx_speech":
        assert float(re.findall(r"cosine.*: ([\d.]+)", out)[0]) > 0.999
    if name == "transformer":
        assert "(2, 128) of (500, 128)" in out


def test_the_speech_example_takes_a_real_model(shared_dir: Path, tmp_path: Path) -> None:
    model = shared_dir / "ckpt" / "silero_vad_16k_op15.onnx"
    out = run([sys.executable, "-P", str(ROOT / "examples" / "onnx_speech.py"), str(tmp_path), str(model)], tmp_path)
    assert "cosine" in out and (tmp_path / "speech.onnx").stat().st_size < model.stat().st_size / 2


def test_every_option_that_the_pages_name_exists() -> None:
    known = {option for parameter in compress_command.params for option in parameter.opts}
    known |= {"--json", "--debug", "--allow-truncated", "--exit-code", "--onnx", "--level", "--no-measure"}
    for document in sorted((ROOT / "docs").glob("*.md")):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", document.read_text(encoding="utf-8")):
            if document.name in ("methods.md", "troubleshooting.md", "quickstart.md", "format.md"):
                assert option in known, f"{document.name}: {option}"
