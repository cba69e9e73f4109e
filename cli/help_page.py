"""Write help pages: `--help` is one screen of what most users need, `--help all` lists every option by group."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import click

OWN = "Options"
"""The heading of a command's own options."""
_WORDS = {"INTEGER": "N", "FLOAT": "X", "TEXT": "NAME"}


@dataclass(frozen=True)
class HelpEntry:
    """One option on a page: how it is written and what it does, on the whole page and on the short one.

    heading: of the whole page; short_heading: of the short page; brief: a text for the short page, None to leave the
    option out there; further: rows below the option on the whole page, such as the hyper-parameters of methods.
    """

    parameter: click.Option
    heading: str
    short_heading: str
    brief: str | None
    further: Sequence[tuple[str, str]] = ()

    def row(self, ctx: click.Context) -> tuple[str, str]:
        """Return how the option is written and its help, for the whole page."""
        record = self.parameter.get_help_record(ctx)
        assert record is not None
        return record

    def written(self, ctx: click.Context) -> str:
        """Return how the short page writes the option: a choice of words is WORD, a number N or X."""
        names = ", ".join(sorted(self.parameter.opts, key=len))
        if self.parameter.is_flag or self.parameter.is_eager:
            return names
        if isinstance(self.parameter.type, click.Choice):
            return f"{names} {self.parameter.metavar or 'WORD'}"
        value = self.parameter.make_metavar(ctx).removesuffix(" RANGE")
        return f"{names} {_WORDS.get(value, value)}"


class BriefOption(click.Option):
    """A command's own option with a text for the short help page; None leaves the option out there."""

    def __init__(self, *names: Any, brief: str | None = None, **attributes: Any) -> None:
        super().__init__(*names, **attributes)
        self.brief = brief


def write_short(ctx: click.Context, formatter: click.HelpFormatter, entries: Sequence[HelpEntry]) -> None:
    """Write the entries that have a brief text, in aligned columns; the last line names the page with all options."""
    shown = [entry for entry in entries if entry.brief is not None]
    width = max((len(entry.written(ctx)) for entry in shown), default=0)
    for heading in dict.fromkeys(entry.short_heading for entry in shown):
        rows = [(e.written(ctx).ljust(width), e.brief or "") for e in shown if e.short_heading == heading]
        with formatter.section(heading):
            formatter.write_dl(rows, col_max=width)
    hidden = len(entries) - len(shown)
    if hidden:
        chosen = any(entry.parameter.metavar == "METHOD" for entry in shown)
        methods = ", and what a METHOD takes" if chosen else ""
        more = f"{hidden} more option{'s' if hidden > 1 else ''}{methods}: {ctx.command_path} --help all"
        formatter.write_paragraph()
        formatter.write_text(more)


def write_all(ctx: click.Context, formatter: click.HelpFormatter, entries: Iterable[HelpEntry]) -> None:
    """Write a section for each heading, in the order of their first entries."""
    sections: dict[str, list[tuple[str, str]]] = {}
    for entry in entries:
        sections.setdefault(entry.heading, []).extend([entry.row(ctx), *entry.further])
    for heading, rows in sections.items():
        with formatter.section(heading):
            formatter.write_dl(rows)
