"""Options under headings: a long --help that can be skimmed."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[Any], Any]


class _SectionedOption(click.Option):
    """An option that knows the heading under which --help lists it."""

    def __init__(self, *names: Any, section: str, **settings: Any) -> None:
        super().__init__(*names, **settings)
        self.section = section


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


def section(heading: str) -> Callable[..., Decorator]:
    """`click.option` for options that stand under `heading`."""

    def option(*names: str, **settings: Any) -> Decorator:
        return click.option(*names, cls=_SectionedOption, section=heading, **settings)

    return option


def together(*options: Decorator) -> Callable[[F], F]:
    """One decorator of many options, listed in this order."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
