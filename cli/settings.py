"""Make command-line options from the declarations of settings; `--help` lists basic ones, `--help all` all."""

from collections.abc import Mapping
from dataclasses import Field, fields
from typing import Any

import click

from qacomp.cli.completion import complete_method, complete_part, complete_word
from qacomp.cli.help_page import OWN, BriefOption, HelpEntry, write_all, write_short
from qacomp.cli.options import LayerNumbers, Numbers

_HELP = ("--help", "-h")
_ALL = "qacomp.help_all"
_SHORT_HEADINGS = {"Network and data": OWN, "Sharing": "Sharing", "Quality": "Sharing"}
"""Groups of settings -> headings of the short help; all other groups are "Training"."""


class SettingOption(click.Option):
    """A command-line option made from a declaration; the group of the declaration is its heading in the help."""

    def __init__(self, *names: str, declared: Any, brief: str, **attributes: Any) -> None:
        """Take the declaration, the text for the short help page, and what click's option takes."""
        super().__init__(list(names), **attributes)
        self.declared, self.brief = declared, brief


class SettingsCommand(click.Command):
    """A command with options of its own and options for settings: all settings, or those named in `settings`.

    basic: the settings on the short help page; None: those whose declarations have a brief text. The options for
    settings are made when the command is parsed, so that `qacomp --help` doesn't import numpy.
    """

    def __init__(
        self,
        *args: Any,
        settings: tuple[str, ...] | None = None,
        basic: tuple[str, ...] | None = None,
        **attributes: Any,
    ) -> None:
        super().__init__(*args, **attributes)
        self.settings, self.basic = settings, basic
        self._made: list[click.Parameter] | None = None

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Return the command's own parameters and the options for settings, with --help at the end."""
        if self._made is None:
            self._made = list(self.make_options())
        own = super().get_params(ctx)  # the last one is --help
        return [*own[:-1], *self._made, *own[-1:]]

    def make_options(self) -> list[SettingOption]:
        """Return the options for the command's settings."""
        return setting_options(self.settings)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Handle `--help all`, then parse as usual."""
        for word in _HELP:
            if word in args and args[args.index(word) + 1 : args.index(word) + 2] == ["all"]:
                ctx.meta[_ALL] = True
                args = [*args[: args.index(word) + 1], *args[args.index(word) + 2 :]]
        return super().parse_args(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the short page, or the whole one after `--help all`."""
        entries = [self._entry(p, ctx) for p in self.get_params(ctx) if isinstance(p, click.Option)]
        if _ALL in ctx.meta:
            write_all(ctx, formatter, entries)
        else:
            first = [e for e in entries if e.short_heading == OWN and isinstance(e.parameter, SettingOption)]
            write_short(ctx, formatter, [*first, *(e for e in entries if e not in first)])

    def _entry(self, parameter: click.Option, ctx: click.Context) -> HelpEntry:
        """Return an option's place and texts on the help pages."""
        if isinstance(parameter, SettingOption):
            declared = parameter.declared
            heading = OWN if self.settings is not None else _SHORT_HEADINGS.get(declared.group, "Training")
            basic = bool(declared.brief) if self.basic is None else parameter.name in self.basic
            further = _hyperparameters(declared) + _parts(declared) if _ALL in ctx.meta else []  # they import torch
            return HelpEntry(parameter, declared.group, heading, parameter.brief if basic else None, further)
        if _HELP[0] in parameter.opts:
            return HelpEntry(parameter, OWN, OWN, "Show this page; --help all lists every option")
        brief = parameter.brief if isinstance(parameter, BriefOption) else parameter.help or ""
        return HelpEntry(parameter, OWN, OWN, brief)


def setting_options(
    names: tuple[str, ...] | None = None,
    defaults: Mapping[str, Any] | None = None,
    briefs: Mapping[str, str] | None = None,
) -> list[SettingOption]:
    """Return an option for each declared setting, or for each setting in `names`, in that order.

    defaults, briefs: what the help shows in place of the declared defaults and brief texts.
    """
    from qacomp.options.config import CompressConfig

    known = {found.name: found for found in fields(CompressConfig)}
    chosen = known if names is None else {name: known[name] for name in names}
    by_layer = {found.metadata["option"].of for found in known.values()}
    return [
        _option(found, found.name in by_layer, (defaults or {}, briefs or {}))
        for found in chosen.values()
        if found.metadata["option"].of is None
    ]


def settings_given(flags: dict[str, Any], config: Any) -> dict[str, Any]:
    """Return the settings that were given on the command line, by name.

    Values for layers, such as several --k LAYER=K, are merged with those of `config`; later ones win.
    """
    settings: dict[str, Any] = {}
    for name, value in flags.items():
        own = f"{name}_layers"
        if hasattr(config, own):
            merged = dict(getattr(config, own))
            for default, overrides in value:
                merged |= overrides
                if default is not None:
                    settings[name] = default
            settings[own] = merged
        elif value not in (None, ()):
            settings[name] = value
    return settings


def _option(found: "Field[Any]", by_layer: bool, shown: tuple[Mapping[str, Any], Mapping[str, str]]) -> SettingOption:
    """Return the command-line option of one setting; by_layer: the setting takes values for single layers.

    shown: defaults and brief texts that differ from the declared ones.
    """
    from qacomp.options.converting import type_name
    from qacomp.options.declaration import default_of

    declared, wanted = found.metadata["option"], type_name(found.type)
    default = shown[0].get(found.name, default_of(found))
    attributes: dict[str, Any] = {"default": None, "metavar": declared.metavar, "help": _help(declared, default)}
    attributes["brief"] = shown[1].get(found.name) or _brief(declared, default)
    if declared.methods is not None:
        attributes |= {"metavar": "METHOD", "shell_complete": complete_method(declared)}
    elif declared.parts is not None:
        attributes |= {"metavar": "PART=...", "shell_complete": complete_part(declared)}
    elif wanted.startswith("bool"):
        attributes |= {"is_flag": True, "metavar": None}
    elif declared.choices:
        attributes["type"] = click.Choice(declared.choices)
    else:
        attributes["type"] = _type(wanted, by_layer)
    if declared.registry is not None:
        attributes["shell_complete"] = complete_word(declared)
    attributes["multiple"] = by_layer or wanted.startswith("tuple[str")
    name = "--" + found.name.replace("_", "-")
    return SettingOption(name, found.name, declared=declared, **attributes)


def _type(wanted: str, by_layer: bool) -> Any:
    """Return the click type for an annotation such as `int` or `tuple[int, int] | None`."""
    kind = int if "int" in wanted else float if "float" in wanted else str
    if by_layer:
        return LayerNumbers(kind)  # type: ignore[arg-type]
    if wanted.startswith("tuple[str"):
        return str
    return Numbers(kind) if wanted.startswith("tuple") else kind


def _help(declared: Any, default: Any) -> str:
    """Return the help text of a setting, followed by its default in brackets."""
    empty = default is None or default == () or declared.parts is not None
    shown = declared.shown if empty else f"{default}: {declared.shown}" if declared.shown else str(default)
    return declared.help if shown is None or default is False else f"{declared.help} [{shown}]"


def _brief(declared: Any, default: Any) -> str:
    """Return the text of the short help page, with the default in brackets if it is a number or a chosen word."""
    said = isinstance(default, int | float) or str(default) not in ("None", "none", "auto", "()")
    said = said and not isinstance(default, bool) and declared.parts is None
    return f"{declared.brief or declared.help}{f' [{default}]' if said else ''}"


def _parts(declared: Any) -> list[tuple[str, str]]:
    """Return a line of help for each part of a setting that has some."""
    if declared.parts is None:
        return []
    from qacomp.options.declaration import default_of

    rows = []
    for found in fields(declared.parts):
        own = found.metadata["option"]
        rows.append((f"  {found.name}={_values(own, found)}", _help(own, default_of(found))))
    return rows


def _hyperparameters(declared: Any) -> list[tuple[str, str]]:
    """Return (option, help) for each hyper-parameter of each method of an option."""
    if declared.methods is None:
        return []
    from qacomp.options.declaration import default_of
    from qacomp.options.method_table import method_table

    rows = []
    for method, found in method_table(declared).each():
        own, default = found.metadata["option"], default_of(found)
        default = str(default).lower() if isinstance(default, bool) else default
        rows.append((f"  {method}:{found.name}={_values(own, found)}", _help(own, default)))
    return rows


def _values(own: Any, found: "Field[Any]") -> str:
    """Return the words that a hyper-parameter accepts, or the type of its value, for the help."""
    from qacomp.options.converting import type_name

    kind = type_name(found.type).removesuffix(" | None")
    names = {"bool": "true|false", "int": "INTEGER", "float": "FLOAT"}
    return "|".join([*(own.choices or own.words), own.metavar or ""]).strip("|") or names.get(kind, "TEXT")
