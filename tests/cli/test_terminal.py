"""What commands draw on terminals of 60, 80 and 200 columns, and what they write to a pipe or a log."""

import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from screens import COLOURS, Screen

from qacomp.cli import demo
from qacomp.cli.main import main
from qacomp.cli.table import print_table
from qacomp.formats import SharedTensor, save_file

WIDTHS = (60, 80, 200)
RULE = re.compile(r"─+(  ─+)*")
TEXTS = {"tensor", "codec", "stored as", "size", "weight", "form", "how", "file", "kind", "operating point"}
TEXTS |= {"setting", "provenance", "a", "b"}
LAYERS = [f"backbone.encoder.layers.{i}.self_attention.{part}" for i in range(2) for part in ("query", "key", "value")]


def drawn(command: Sequence[str | Path], at: Screen) -> str:
    """What a command draws on a screen."""
    with pytest.raises(SystemExit) as left:
        main([str(word) for word in command])
    assert left.value.code == 0
    return at.text


def tables(text: str) -> list[list[dict[str, str]]]:
    """Each table's rows as heading -> cell; a rule below the headings says where the columns are."""
    lines = COLOURS.sub("", text).split("\n")
    found = []
    for number, line in enumerate(lines):
        if not RULE.fullmatch(line):
            continue
        places = [match.span() for match in re.finditer("─+", line)]
        headings = [lines[number - 1][a:b].strip() for a, b in places]
        rows = []
        for row in lines[number + 1 :]:
            if not row or row.startswith("columns left out"):
                break
            rows.append({h: row[a:b].strip() for h, (a, b) in zip(headings, places, strict=True)})
        found.append(rows)
    return found


def check(narrow: str, wide: str, columns: int) -> None:
    """No line is longer than the terminal, and what is drawn is what a pipe gets, less columns that a line names."""
    plain = COLOURS.sub("", narrow)
    assert all(len(line) <= columns for line in plain.split("\n")), plain
    told = re.findall(rf"columns left out at a width of {columns}: (.*?); --json has", " ".join(plain.split()))
    wide_tables, narrow_tables = tables(wide), tables(narrow)
    assert len(wide_tables) == len(narrow_tables)
    missing = []
    for whole, part in zip(wide_tables, narrow_tables, strict=True):
        assert len(whole) == len(part) > 0
        missing.append([heading for heading in whole[0] if heading not in part[0]])
        for row, cut in zip(whole, part, strict=True):
            for heading, cell in cut.items():
                text, number = heading in TEXTS, heading == "latency" or "p50" in heading or "p95" in heading
                if text and "…" in cell:
                    start, _, end = cell.partition("…")
                    assert row[heading].startswith(start) and row[heading].endswith(end)
                elif not number:  # a time is another each time
                    assert cell == row[heading]
    assert told == [", ".join(names) for names in missing if names]
    if columns == 200:
        assert not told and "…" not in re.sub("sha256.*|SHA-256.*|root:.*", "", plain)
    numbers = re.findall(r"\d+(?:[.,]\d+)*", re.sub("latency.*|sha256.*|(SHA-256|root:).*\n.*|.* ms.*", "", plain))
    assert set(numbers) - set(re.findall(r"\d+(?:[.,]\d+)*", wide)) - {str(columns)} == set()


def model(path: Path) -> Path:
    """An ONNX model of two layers with long names."""
    rng = np.random.default_rng(0)
    names = [f"/model/encoder/layers.{i}/attention/self/value/MatMul_weight" for i in range(2)]
    tensors = [numpy_helper.from_array(rng.normal(size=(64, 64)).astype(np.float32), name) for name in names]
    nodes = [helper.make_node("MatMul", ["x", names[0]], ["h"]), helper.make_node("MatMul", ["h", names[1]], ["y"])]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4, 64]) for name in "xy"]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m.onnx, m.qac of it with two levels; a.qac and b.qac with long names; names and values differ."""
    made = tmp_path_factory.mktemp("terminal")
    model(made / "m.onnx")
    with pytest.raises(SystemExit) as left:
        main(["compress", str(made / "m.onnx"), "--levels", "4,16", "-o", str(made / "m.qac"), "--json"])
    assert left.value.code == 0
    indices = (np.arange(6000).reshape(60, 100) % 4).astype(np.uint8)
    for name, step in (("a", 0.25), ("b", 1 / 3)):
        book = np.arange(4, dtype=np.float32) * np.float32(step)
        tensors: dict[str, Any] = {f"{layer}.weight": SharedTensor(book, indices) for layer in LAYERS}
        settings = f"k = 4\nstrength = {step}\ninclude = {[f'{layer}.weight' for layer in LAYERS]}\n"
        save_file(
            made / f"{name}.qac", tensors, meta={"settings": settings, "accuracy": {"original": 97.123456 + step}}
        )
    return made


COMMANDS: dict[str, list[str]] = {
    "compress": ["compress", "m.onnx", "--k", "16", "-o", "c.qac"],
    "compress, levels": ["compress", "m.onnx", "--levels", "4,16", "-o", "c.qac"],
    "decode": ["decode", "m.qac", "--onnx", "lut", "-fo", "d.onnx"],
    "inspect": ["inspect", "a.qac"],
    "inspect, levels": ["inspect", "m.qac"],
    "eval": ["eval", "m.qac", "--data", "npz:d.npz"],
    "diff": ["diff", "a.qac", "b.qac"],
    "verify": ["verify", "m.qac", "--source", "m.onnx"],
    "train": ["train", "--arch", "lenet300", "--data", "digits", "--epochs", "1", "-fo", "t.pt"],
    "plot": ["plot", "penalty", "--reg", "sin", "--k", "4", "-fo", "p.svg"],
}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_fits_the_terminal(
    name: str, folder: Path, screen: Callable[..., Screen], qacomp: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "plot":
        pytest.importorskip("matplotlib")
    monkeypatch.chdir(folder)
    rng = np.random.default_rng(1)
    np.savez(folder / "d.npz", x=rng.normal(size=(8, 64)).astype(np.float32), y=np.arange(8) % 64)
    answer = qacomp(*COMMANDS[name])
    assert answer.code == 0, answer.err
    assert "\x1b" not in answer.out + answer.err and "\r" not in answer.out + answer.err
    for columns in WIDTHS:
        check(drawn(COMMANDS[name], screen(columns)), answer.out, columns)


@pytest.mark.parametrize("columns", WIDTHS)
def test_the_table_of_the_demo_fits(
    columns: int, screen: Callable[..., Screen], capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [
        ["demo/model.pt", "1,727,821", "1.0×", "original 97.77 %", ""],
        ["  shared, before tuning", "", "", "shared 97.77 %", ""],
        ["demo/model.onnx", "1,728,900", "1.0×", "decoded 97.77 %", "0.123 ms (p95 0.234)"],
    ]
    print_table(demo.COLUMNS, rows)
    wide = capsys.readouterr().out
    at = screen(columns)
    print_table(demo.COLUMNS, rows)
    check(at.text, wide, columns)


def test_a_pipe_gets_every_column_and_name_whole(
    qacomp: Callable[..., Any], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    out = qacomp("inspect", folder / "a.qac").out
    assert all(f"{layer}.weight" in out for layer in LAYERS) and "left out" not in out
    out = qacomp("diff", folder / "a.qac", folder / "b.qac").out
    assert "0.25" in out and "97.37" in out and "97.46" in out and "0.3333" in out and "0.33333" not in out


def test_a_narrow_terminal_tells_names_apart(folder: Path, screen: Callable[..., Screen]) -> None:
    names = [row["tensor"] for row in tables(drawn(["inspect", folder / "a.qac"], screen(60)))[0]]
    assert len(set(names)) == len(LAYERS) and all("…" in name for name in names)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.parametrize("columns", WIDTHS)
def test_a_real_terminal(columns: int, folder: Path, qacomp: Callable[..., Any]) -> None:
    import fcntl
    import struct
    import termios

    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "NO_COLOR")} | {"TERM": "xterm"}
    command = [sys.executable, "-P", "-m", "qacomp", "diff", "a.qac", "b.qac"]
    process = subprocess.Popen(command, cwd=folder, env=environment, stdout=theirs, stderr=theirs)
    os.close(theirs)
    text = b""
    while part := _read(ours):
        text += part
    os.close(ours)
    assert process.wait() == 0
    wide = qacomp("diff", folder / "a.qac", folder / "b.qac").out.replace(f"{folder}{os.sep}", "")
    check(text.decode().replace("\r\n", "\n"), wide, columns)


def _read(handle: int) -> bytes:
    try:
        return os.read(handle, 65536)
    except OSError:  # Linux says so where the other end is closed
        return b""


def test_the_quickstart_has_the_columns_in_their_order() -> None:
    from qacomp.cli import compress, diff, inspect, onnx_forms

    text = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text(encoding="utf-8").replace("\\|", "|")
    modules = {"compress": compress, "inspect": inspect, "decode --onnx": onnx_forms, "diff": diff, "demo": demo}
    for command, module in modules.items():
        names = ("COLUMNS", "_COLUMNS", "_TENSORS")
        columns = next(getattr(module, name) for name in names if hasattr(module, name))
        wanted = ", ".join(column.heading for column in sorted(columns, key=lambda column: column.rank))
        assert f"| `{command}` | {wanted} |" in text
