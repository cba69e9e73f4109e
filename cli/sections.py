"""Options under headings: a long --help that can be skimmed."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


class SectionedCommand(click.Command):
    """Lists its options under their headings, in the order in which these first appear; the others come last."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """One section a heading."""
        sections: dict[str, list[tuple[str, str]]] = {}
        rest: list[tuple[str, str]] = []
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx) if isinstance(parameter, click.Option) else None
            if record is not None:
                heading = getattr(parameter, "section", None)
                (rest if heading is None else sections.setdefault(heading, [])).append(record)
        for heading, records in (sections | {"Other": rest}).items():
            with formatter.section(heading):
                formatter.write_dl(records)


def section(heading: str, *options: Decorator) -> Callable[[F], F]:
    """One decorator of many options, listed in this order under `heading`."""

    def decorate(function: F) -> F:
        known = len(getattr(function, "__click_params__", ()))
        for option in reversed(options):
            function = option(function)
        for parameter in getattr(function, "__click_params__", ())[known:]:
            parameter.section = heading
        return function

    return decorate
