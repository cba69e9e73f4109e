"""What docs/ and examples/ show runs as it stands, and says what is true of the code."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import click
import pytest

from qacomp.cli.compress import compress_command
from qacomp.cli.main import cli

ROOT = Path(__file__).resolve().parents[2]


def blocks(document: str) -> list[tuple[str, str]]:
    """(language, code) of each fenced block, in order."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return re.findall(r"```(python|console)\n(.*?)```", text, re.DOTALL)


def test_the_quickstart_runs(run_printed: Callable[..., str], tmp_path: Path) -> None:
    out = run_printed(blocks("quickstart.md"))
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {
        *("net.qac", "net.onnx", "report.html", "small.onnx", "weights.qac", "again.qac", "onnx.html", "step.onnx")
    }
    assert "state is carried on" in out
    before, after = re.findall(r"accuracy ([\d.]+) -> ([\d.]+) %", out)[0]
    assert float(before) > 85 and float(after) > float(before) - 5
    assert (tmp_path / "small.onnx").stat().st_size < (tmp_path / "net.onnx").stat().st_size / 3
    assert "layer.weight 16" in out


def test_ones_own_network_runs_as_printed(
    run_printed: Callable[..., str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, network), (_, commands), (_, call) = blocks("own-data.md")
    (tmp_path / "squares.py").write_text(network, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    out = run_printed([("console", commands), ("python", call)])
    before, after = (float(re.findall(rf"{word}[^\n]*?(0\.\d+)", out)[0]) for word in ("squares:dice", "unet.onnx"))
    assert before > 0.6 and after > before - 0.1
    assert re.search(r"^dice 0\.\d+ after 8 epochs of 1135 parameters$", out, re.MULTILINE), out
    assert re.search(r"x smaller, dice 0\.\d+ -> 0\.\d+$", out, re.MULTILINE), out


def printed_lines() -> list[tuple[str, str]]:
    """(page, command line) of each line of README and docs that starts with `qacomp`, without what the shell does."""
    found = []
    for page in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))):
        commands = "|".join(cli.list_commands(click.Context(cli)))
        for line in re.findall(
            rf"^(?: {{4}})?(qacomp (?:{commands}) .*)$", page.read_text(encoding="utf-8"), re.MULTILINE
        ):
            plain = re.split(r"   *|  *# | > ", line)[0]
            found += [(page.name, part.strip()) for part in plain.split("&&")]
    return found


def test_every_printed_line_is_one_that_the_command_takes() -> None:
    """Whatever stands in a page parses, with the values of its settings; those in blocks also run, see above."""
    lines = printed_lines()
    assert len(lines) > 50
    parent = cli.make_context("qacomp", [], resilient_parsing=True)  # commands keep its names of the help option
    for page, line in lines:
        name, *arguments = shlex.split(line)[1:]
        command = cli.get_command(click.Context(cli), name)
        assert command is not None, f"{page}: {line}"
        try:
            command.make_context(name, arguments, parent=parent)
        except click.UsageError as error:
            pytest.fail(f"{page}: {line}: {error.format_message()}")


def test_the_gate_runs_from_python(run_printed: Callable[..., str]) -> None:
    assert "or --target-size 8x" in run_printed(blocks("ci.md"))


def test_the_sweep_runs_from_python(run_printed: Callable[..., str], tmp_path: Path) -> None:
    out = run_printed(blocks("sweep.md"))
    assert "{'k': 4}" in out and "{'k': 16}" in out
    assert len(list((tmp_path / "product-sweep" / "trials").glob("*.qac"))) == 2


@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("cnn", {"cnn.qac", "cnn.onnx", "report.html"}),
        ("onnx_speech", {"original.onnx", "speech.qac", "speech.onnx", "report.html"}),
        ("transformer", {"model.safetensors", "transformer.qac", "report.html"}),
    ],
)
def test_an_example_runs(name: str, written: set[str], run_script: Callable[..., str], tmp_path: Path) -> None:
    out = run_script(ROOT / "examples" / f"{name}.py", tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == written
    assert "smaller" in out
    if name == "cnn":
        before, after = re.findall(r"accuracy ([\d.]+) -> ([\d.]+) %", out)[0]
        assert float(before) > 90 and float(after) > float(before) - 3
    if name == "onnx_speech":
        assert float(re.findall(r"cosine.*: ([\d.]+)", out)[0]) > 0.999
    if name == "transformer":
        assert "(2, 128) of (500, 128)" in out


def test_the_speech_example_takes_a_real_model(
    run_script: Callable[..., str], shared_dir: Path, tmp_path: Path
) -> None:
    model = shared_dir / "ckpt" / "silero_vad_16k_op15.onnx"
    out = run_script(ROOT / "examples" / "onnx_speech.py", tmp_path, model)
    assert "cosine" in out and (tmp_path / "speech.onnx").stat().st_size < model.stat().st_size / 2


def test_every_option_that_the_pages_name_exists() -> None:
    parameters = compress_command.get_params(click.Context(compress_command))
    known = {option for parameter in parameters for option in parameter.opts}
    known |= {"--json", "--debug", "--allow-truncated", "--toml", "--exit-code", "--onnx", "--level", "--no-measure"}
    for document in sorted((ROOT / "docs").glob("*.md")):
        for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", document.read_text(encoding="utf-8")):
            if document.name in ("methods.md", "troubleshooting.md", "quickstart.md", "format.md"):
                assert option in known, f"{document.name}: {option}"


def test_the_page_on_folders_runs_as_printed(run_printed: Callable[..., str], tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    run_printed(blocks("folders.md"))
    for folder in ("restored", "again"):
        assert {path.name for path in (tmp_path / folder).iterdir()} == {
            *("model.safetensors", "config.json", "tokenizer.json")
        }
    assert len(list((tmp_path / "parts").glob("net-0*.qac"))) > 1
