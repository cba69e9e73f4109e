"""`qacomp delta` and `qacomp apply`: a chain of updates, and one line for what can't be applied."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from range_server import range_server

import qacomp
from qacomp.cli.main import cli, main
from qacomp.errors import OutputExistsError, OutputIsInputError, RemoteError
from qacomp.formats import Coding, FormatError, SharedTensor, save_file


@pytest.fixture
def versions(tmp_path: Path) -> list[Path]:
    """Three versions of a model, each with a few other indices than the one before."""
    rng = np.random.default_rng(0)
    indices, made = rng.integers(0, 8, (40, 50)).astype(np.uint8), []
    for number in range(3):
        save_file(tmp_path / f"{number}.qac", {"w": SharedTensor(np.linspace(-1, 1, 8, dtype=np.float32), indices)})
        made.append(tmp_path / f"{number}.qac")
        indices = np.where(rng.random(indices.shape) < 0.02, 7 - indices, indices)
    return made


def run(*arguments: object) -> str:
    answer = CliRunner().invoke(cli, [str(argument) for argument in arguments], prog_name="qacomp")
    assert answer.exit_code == 0, answer.output
    return answer.output


def line_of(arguments: list[object], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as left:
        main([str(argument) for argument in arguments])
    assert left.value.code == 1
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_chain_of_updates(versions: list[Path], tmp_path: Path) -> None:
    first, second, third = versions
    told = run("delta", first, second, "-o", tmp_path / "a.qacd")
    assert "sections: 1 equal, 1 as differences, 0 whole" in told
    made = json.loads(run("delta", second, third, "-o", tmp_path / "b.qacd", "--json"))
    assert made["bytes"] == (tmp_path / "b.qacd").stat().st_size < 0.6 * made["new_bytes"]
    run("apply", first, tmp_path / "a.qacd", tmp_path / "b.qacd", "-o", tmp_path / "new.qac")
    assert (tmp_path / "new.qac").read_bytes() == third.read_bytes()
    done = qacomp.apply(first, tmp_path / "a.qacd", tmp_path / "again.qac")
    assert done.deltas == 1 and (tmp_path / "again.qac").read_bytes() == second.read_bytes()


def test_what_cant_be_applied(versions: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, third = versions
    one, two, out = tmp_path / "a.qacd", tmp_path / "b.qacd", tmp_path / "new.qac"
    qacomp.delta(first, second, one)
    qacomp.delta(second, third, two)
    assert "isn't what" in line_of(["apply", third, one, "-o", out], capsys)
    assert "in their order" in line_of(["apply", first, two, one, "-o", out], capsys)
    assert "already is the file" in line_of(["apply", second, one, "-o", out], capsys)
    assert "not a .qacd delta" in line_of(["apply", first, second, "-o", out], capsys)
    assert "not a .qac container" in line_of(["delta", one, second, "-o", tmp_path / "c.qacd"], capsys)
    one.write_bytes(one.read_bytes()[:-1])
    assert "fetch the file again" in line_of(["apply", first, one, "-o", out], capsys)
    one.write_bytes(b"")
    assert "not a .qacd delta" in line_of(["apply", first, one, "-o", out], capsys)
    assert not out.exists() and not [path for path in tmp_path.iterdir() if path.suffix not in (".qac", ".qacd")]


def test_no_file_is_lost(versions: list[Path], tmp_path: Path) -> None:
    first, second, _ = versions
    with pytest.raises(OutputIsInputError):
        qacomp.delta(first, second, second, force=True)
    (tmp_path / "mine.qacd").write_text("my own notes")
    with pytest.raises(OutputExistsError):
        qacomp.delta(first, second, tmp_path / "mine.qacd")
    qacomp.delta(first, second, tmp_path / "mine.qacd", force=True)
    qacomp.delta(first, second, tmp_path / "mine.qacd")  # its own kind is replaced
    with pytest.raises(OutputIsInputError):
        qacomp.apply(first, tmp_path / "mine.qacd", first, force=True)


def test_an_update_by_ranges(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    served, large = tmp_path / "served", rng.normal(size=90_000).astype(np.float32)
    served.mkdir()
    for path, last in ((tmp_path / "old.qac", 1.0), (served / "new.qac", 2.0)):
        save_file(path, {"a": large, "b": np.full(3, last)}, coding=Coding(chunk_log2=15))
    qacomp.delta(tmp_path / "old.qac", served / "new.qac", served / "update.qacd")
    with range_server(served) as server:
        by_ranges = qacomp.apply(tmp_path / "old.qac", f"{server.url}/new.qac", tmp_path / "ranges.qac")
        assert by_ranges.deltas == 0 and by_ranges.delta_bytes < server.sent < 20_000 < by_ranges.bytes
        run("apply", tmp_path / "old.qac", f"{server.url}/update.qacd", "-o", tmp_path / "delta.qac")
        assert "were fetched" in run("apply", tmp_path / "old.qac", f"{server.url}/new.qac", "-o", tmp_path / "cli.qac")
        server.ranges = False
        whole = qacomp.apply(tmp_path / "old.qac", f"{server.url}/update.qacd", tmp_path / "whole.qac")
        assert whole.deltas == 1
        with pytest.raises(RemoteError, match="sends no parts of files"):
            qacomp.apply(tmp_path / "old.qac", f"{server.url}/new.qac", tmp_path / "none.qac")
        server.ranges, server.wrong = True, True
        with pytest.raises((FormatError, RemoteError)):
            qacomp.apply(tmp_path / "old.qac", f"{server.url}/new.qac", tmp_path / "none.qac")
    for name in ("ranges", "delta", "cli", "whole"):
        assert (tmp_path / f"{name}.qac").read_bytes() == (served / "new.qac").read_bytes()
    assert not (tmp_path / "none.qac").exists()
