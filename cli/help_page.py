"""Help pages: `--help` is one screen of what most users need, `--help all` lists every option below its heading."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

OWN = "Options"
"""The heading of a command's own options."""


@dataclass(frozen=True)
class HelpEntry:
    """One option on a page: its heading, how it is written, and the text beside it. brief: of the short page, if any.

    further: rows below it on the whole page, such as the hyper-parameters of methods.
    """

    heading: str
    written: str
    text: str
    brief: str | None
    further: Sequence[tuple[str, str]] = ()


class BriefOption(click.Option):
    """A command's own option; `brief` stands in place of its help on the short page, None leaves it out there."""

    def __init__(self, *names: Any, brief: str | None = None, **attributes: Any) -> None:
        super().__init__(*names, **attributes)
        self.brief = brief


def write_short(formatter: click.HelpFormatter, entries: Iterable[HelpEntry], all_of: str) -> None:
    """Write the entries that have a brief text, columns aligned; the last line says how to see the others.

    all_of: the command, such as `qacomp compress`.
    """
    entries = list(entries)
    shown = [entry for entry in entries if entry.brief is not None]
    width = max((len(entry.written) for entry in shown), default=0)
    for heading in dict.fromkeys(entry.heading for entry in shown):
        rows = [(e.written.ljust(width), e.brief or "") for e in shown if e.heading == heading]
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=width)
    hidden = len(entries) - len(shown)
    if hidden:
        methods = ", and what a METHOD takes" if any("METHOD" in entry.written for entry in shown) else ""
        formatter.write_paragraph()
        formatter.write_text(f"{hidden} more option{'s' if hidden > 1 else ''}{methods}: {all_of} --help all")


def write_all(formatter: click.HelpFormatter, entries: Iterable[HelpEntry]) -> None:
    """Write a section for each heading, in the order in which they first stand."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for entry in entries:
        sections.setdefault(entry.heading, []).extend([(entry.written, entry.text), *entry.further])
    for heading, rows in sections.items():
        with formatter.section(heading):
            formatter.write_dl(rows)
