"""Widths, colours and progress of what commands say: names that are cut, columns that go, logs without bars."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from screens import COLOURS, Screen

from qacomp.cli.console import print_verdict
from qacomp.cli.main import main
from qacomp.cli.progress import JsonProgress, LogProgress, TerminalProgress, make_progress
from qacomp.cli.shortening import shortened
from qacomp.cli.table import TableColumn, print_table
from qacomp.evaluation.verdict import WORDS, Verdict


def test_names_lose_their_middle() -> None:
    assert shortened("abcdefghij", 10) == "abcdefghij"
    assert shortened("abcdefghij", 7) == "abc…hij"
    assert shortened("abcdefghij", 7, share=0.2) == "a…fghij"
    assert shortened("重み重み重み", 8) == "重み…み" and shortened("abcdef", 1) == "…"


def test_columns_go_by_rank_and_numbers_never_wrap(screen: Callable[..., Screen]) -> None:
    columns = [TableColumn("name", 0, text=True), TableColumn("first", 2), TableColumn("last", 1)]
    rows = [["n" * 30, "1" * 20, "2" * 20], ["m", "3", "4"]]
    at = screen(40)
    print_table(columns, rows)
    text = COLOURS.sub("", at.text)
    assert "2" * 20 in text and "1" * 20 not in text and "at a width of 40: first;" in " ".join(text.split())
    assert text.split("\n")[3] == f"m{' ' * 17}{' ' * 21}4"
    at = screen(30)
    print_table(columns, rows)
    assert "left out at a width of 30: first, last" in " ".join(COLOURS.sub("", at.text).split())


def test_a_terminal_of_ascii(screen: Callable[..., Screen]) -> None:
    at = screen(40, encoding="ascii")
    print_table([TableColumn("name", 0, text=True), TableColumn("size", 1)], [["n" * 60, "3 → 4"]])
    lines = COLOURS.sub("", at.text).split("\n")
    assert "3 -> 4" in lines[2] and "..." in lines[2] and max(map(len, lines)) <= 40


@pytest.mark.parametrize(("word", "code"), list(zip(WORDS, ("32", "33", "31", "2"), strict=True)))
def test_a_verdict_has_its_colour(
    word: str, code: str, screen: Callable[..., Screen], monkeypatch: pytest.MonkeyPatch
) -> None:
    at = screen(80)
    print_verdict(Verdict(word, ("a reason",)))
    assert f"\x1b[{code}m{word}\x1b[0m: a reason" in at.text
    monkeypatch.setenv("NO_COLOR", "1")
    at = screen(80)
    print_verdict(Verdict(word, ("a reason",)))
    assert at.text == f"verdict: {word}: a reason\n"


def test_notes_and_errors_have_a_colour(screen: Callable[..., Screen], monkeypatch: pytest.MonkeyPatch) -> None:
    at = screen(40, "stderr")
    JsonProgress().note("a remark that is longer than the forty columns")
    with pytest.raises(SystemExit):
        main(["inspect", "absent.qac"])
    assert at.text.startswith("\x1b[36mnote:\x1b[0m a remark") and "\x1b[31mqacomp: error: " in at.text
    monkeypatch.setenv("TERM", "dumb")
    at = screen(40, "stderr")
    monkeypatch.setenv("TERM", "dumb")
    JsonProgress().note("a remark")
    assert at.text == "note: a remark\n"


class Clock:
    """A clock that tests move."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_log_gets_lines_at_growing_intervals(capfd: pytest.CaptureFixture[str]) -> None:
    clock, times = Clock(), []
    with LogProgress(clock).task("fine-tune", 1000) as task:
        for second in range(1, 1001):
            clock.now = second
            task.describe(f"epoch {second // 100} of 10")
            task.advance()
            if capfd.readouterr().err:
                times.append(second)
    assert times == [5, 15, 35, 75, 155, 315, 635]
    assert capfd.readouterr().err == "fine-tune: 1,000 of 1,000 steps, done in 16 min 40 s; epoch 10 of 10\n"
    with LogProgress(clock).task("tune", 10) as task:
        clock.now += 20
        task.advance(4)
    assert capfd.readouterr().err.startswith("tune: step 4 of 10 (40 %) after 20 s, about 30 s left\n")
    with LogProgress(clock).task("short", 10) as task:
        task.advance(10)
    assert capfd.readouterr().err == ""


def test_bars_are_for_terminals_alone(screen: Callable[..., Screen], monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_progress(False), LogProgress) and isinstance(make_progress(True), JsonProgress)
    at = screen(60, "stderr")
    assert isinstance(make_progress(True), JsonProgress)
    progress = make_progress(False)
    assert isinstance(progress, TerminalProgress)
    with progress.task("fine-tune", 10) as task:
        task.describe("a detail that is much longer than what is left of the line on a terminal")
        task.advance(10)
    assert "fine-tune" in at.text
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", at.text)
    assert all(len(line) <= 60 for line in re.split(r"[\r\n]", plain))
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(make_progress(False), LogProgress)


def test_json_is_silent_while_it_works(qacomp: Callable[..., Any], tmp_path: Path) -> None:
    command = ["train", "--arch", "lenet300", "--data", "digits", "--epochs", "1", "-o", tmp_path / "t.pt", "--json"]
    answer = qacomp(*command)
    assert answer.code == 0 and answer.err == ""
