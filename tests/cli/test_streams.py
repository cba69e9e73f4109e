"""What is shown: names of every kind in every command, terminals without UTF-8, readers that leave, full disks."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import qacomp as package
from qacomp.cli.streams import shown, shown_name
from qacomp.formats import SharedTensor, save_file

Qacomp = Callable[..., Any]
COMMAND = (sys.executable, "-P", "-m", "qacomp.cli.main")
NAMES = {
    "\x1b[31mred": r"\x1b[31mred",
    "\x9b2Jm": r"\x9b2Jm",
    "a\nb\r\tc": r"a\nb\r\tc",
    "right\u202eto\u2066left": r"right\u202eto\u2066left",
    "blk[/0]w": "blk[/0]w",
    "x[red]y[/red]": "x[red]y[/red]",
    ":smile:": ":smile:",
    "a\0b": r"a\x00b",
    "../../etc/passwd": "../../etc/passwd",
    "/abs/w": "/abs/w",
    "__metadata__": "__metadata__",
    "$x_1$ {0} %s": "$x_1$ {0} %s",
    "größe.вес.重み": "größe.вес.重み",
    "": "''",
    "  ": "'  '",
    "n" * 5000: "more)",
}


@pytest.fixture(scope="module")
def named(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint m.pt, and containers m.qac and n.qac of other values, with tensors of all these names."""
    folder = tmp_path_factory.mktemp("named")
    torch.manual_seed(0)
    torch.save({name: torch.randn(16, 16) for name in NAMES}, folder / "m.pt")
    book = np.array([-0.5, 0.0, 0.25, 0.75], np.float32)
    for seed, name in enumerate(("m.qac", "n.qac")):
        rng = np.random.default_rng(seed)
        indices = rng.integers(0, 4, (len(NAMES), 12, 10)).astype(np.uint8)
        tensors = {n: SharedTensor(book, indices[i]) for i, n in enumerate(NAMES)}
        save_file(folder / name, tensors, meta={"settings": "k = 4\n", "arch": "\x1b]0;title\x07[red]"})
    return folder


def clean(text: str) -> bool:
    return all(c == "\n" or c.isprintable() for c in text)


def test_every_name_is_seen_in_every_table(qacomp: Qacomp, named: Path, tmp_path: Path) -> None:
    m, n = named / "m.qac", named / "n.qac"
    checkpoint = ["compress", named / "m.pt", "--k", "16", "--min-size", "16", "-o", tmp_path / "c.qac"]
    for arguments in (checkpoint, ["inspect", m], ["diff", m, n], ["verify", m]):
        answer = qacomp(*arguments)
        assert answer.code == 0 and clean(answer.out) and clean(answer.err), answer
        if arguments[0] != "verify":
            assert all(name in answer.out for name in NAMES.values()), arguments[0]
    assert set(qacomp("inspect", tmp_path / "c.qac", "--json").json["tensors"][0]) >= {"name"}


def test_every_name_comes_back_from_json(qacomp: Qacomp, named: Path) -> None:
    for arguments in (["inspect", named / "m.qac"], ["diff", named / "m.qac", named / "n.qac"]):
        answer = qacomp(*arguments, "--json")
        assert clean(answer.out) and {t["name"] for t in answer.json["tensors"]} == set(NAMES)


def test_names_in_pictures_reports_and_errors(qacomp: Qacomp, named: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    m = named / "m.qac"
    plot: list[Any] = ["plot", "weights", m, "-o"]
    report: list[Any] = ["inspect", m, "--report"]
    for arguments, made in ((plot, "w.svg"), (report, "r.html")):
        answer = qacomp(*arguments, tmp_path / made)
        assert answer.code == 0 and clean(answer.err), answer
        assert "\x1b" not in (tmp_path / made).read_text(encoding="utf-8")
    answer = qacomp("decode", m, "-o", tmp_path / "m.safetensors")
    assert answer.code == 1 and "__metadata__" in answer.err and "to='torch'" in answer.err
    assert not (tmp_path / "m.safetensors").exists()
    assert set(package.decode(m, to="numpy")) == set(NAMES)


def test_a_name_that_is_no_unicode_is_named_escaped(qacomp: Qacomp, tmp_path: Path) -> None:
    torch.save({"x\ud800": torch.randn(16, 16)}, tmp_path / "m.pt")
    answer = qacomp("compress", tmp_path / "m.pt")
    assert answer.code == 1 and r"x\ud800" in answer.err and "rename" in answer.err
    for name in (b"\xff.qac", b"\x1b[1m.qac"):
        answer = qacomp("inspect", tmp_path / os.fsdecode(name))
        assert answer.code == 1 and clean(answer.err)


def test_what_is_too_long_loses_its_middle() -> None:
    assert shown("a" * 100, 40) == f"{'a' * 10}…(80 more){'…'}{'a' * 10}"
    assert shown("a\nb\u202e\ud800") == r"a\nb\u202e\ud800" and shown_name("") == "''"


ASCII = {"LC_ALL": "POSIX", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": "ascii"}


@pytest.mark.parametrize("extra", [{"PYTHONIOENCODING": "ascii"}, {**ASCII, "PYTHONIOENCODING": ""}, ASCII])
def test_a_terminal_without_utf8(named: Path, extra: dict[str, str]) -> None:
    environment = {k: v for k, v in (os.environ | extra).items() if v}
    commands = [["inspect", "m.qac"], ["diff", "m.qac", "n.qac"], ["inspect", "m.qac", "--json"], ["inspect", "é.qac"]]
    commands += [["--help"], ["compress", "--help"]] if extra is ASCII else []
    for arguments in commands:
        done = subprocess.run([*COMMAND, *arguments], cwd=named, env=environment, capture_output=True, check=False)
        assert done.returncode == (1 if "é.qac" in arguments else 0), done.stderr
        assert "--help" in arguments or (done.stdout.isascii() and done.stderr.isascii())  # click writes UTF-8 itself
        assert b"Traceback" not in done.stderr
        if arguments[0] == "inspect" and "--json" in arguments:
            assert {t["name"] for t in json.loads(done.stdout)["tensors"]} == set(NAMES)
        elif arguments[0] in ("inspect", "diff") and not done.returncode:
            assert b"12x10" in done.stdout and rb"gr\xf6\xdfe" in done.stdout


def in_shell(folder: Path, arguments: str, rest: str) -> subprocess.CompletedProcess[str]:
    """The command in a pipe or with its streams redirected; stdout ends with its exit code where `rest` is a pipe."""
    script = f"{sys.executable} -P -m qacomp.cli.main {arguments} {rest}"
    script += "; echo ${PIPESTATUS[0]}" if "|" in rest else ""
    return subprocess.run(["bash", "-c", script], cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("arguments", ["inspect m.qac", "inspect m.qac --json", "diff m.qac n.qac", "compress --help"])
def test_a_reader_that_leaves_is_no_error(named: Path, arguments: str) -> None:
    done = in_shell(named, arguments, "| true")
    assert (done.stdout, done.stderr) == ("0\n", "")


def test_work_goes_on_where_nobody_reads_the_remarks(named: Path, tmp_path: Path) -> None:
    done = in_shell(named, f"compress m.pt -o {tmp_path}/c.qac", "2>&1 | true")
    assert (done.stdout, done.stderr) == ("0\n", "") and (tmp_path / "c.qac").is_file()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("extra", ["", "--json"])
def test_a_full_disk_behind_stdout_is_one_line(named: Path, extra: str) -> None:
    done = in_shell(named, f"inspect m.qac {extra}", "> /dev/full")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert "stdout: can't be written (No space left on device); free space" in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(named: Path, closed: str) -> None:
    done = in_shell(named, "inspect m.qac", f"{closed} | cat >/dev/null")
    assert done.stdout == "0\n" and "Traceback" not in done.stderr
