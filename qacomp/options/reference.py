"""Generate docs/options.md, the reference of all settings: `python -m qacomp.options.reference docs/options.md`."""

import sys
from dataclasses import Field, fields
from pathlib import Path
from typing import Any

from qacomp.options.converting import type_name
from qacomp.options.declaration import Option, declarations, default_of, flag
from qacomp.options.method_table import method_table

_HEAD = """# Options of `qacomp compress`

Generated from the declarations by `python -m qacomp.options.reference docs/options.md`. On the command line an option
is written as here; in a TOML file (`--config`) and in Python its name has underscores: `tune_epochs = 3`. An option
that has no effect with the other options is refused, with a message that says what it needs.
"""


def page(config: type) -> str:
    """Return the page as Markdown: one table for each group of options."""
    known = declarations(config)
    by_layer = {declared.of for declared in known.values()}
    groups: dict[str, list[str]] = {}
    for found in fields(config):
        declared = known[found.name]
        if declared.of is None:
            row = _row(flag(found.name), declared, found, found.name in by_layer)
            rows = groups.setdefault(declared.group, [])
            rows += [row, *_hyperparameters(found.name, declared), *_parts(found.name, declared)]
    text = [_HEAD]
    for group, rows in groups.items():
        text.append(f"## {group}\n\n| option | takes | default | what it does |\n| --- | --- | --- | --- |")
        text.append("\n".join(rows) + "\n")
    return "\n".join(text)


def _hyperparameters(setting: str, declared: Option) -> list[str]:
    """Return a row for each hyper-parameter of each method of a setting."""
    if declared.methods is None:
        return []
    each = [(f"{flag(setting)} {method}:{found.name}=", found) for method, found in method_table(declared).each()]
    return [_row(written, found.metadata["option"], found, False) for written, found in each]


def _parts(setting: str, declared: Option) -> list[str]:
    """Return a row for each part of a setting that has some."""
    own = () if declared.parts is None else fields(declared.parts)
    return [_row(f"{flag(setting)} {part.name}=", part.metadata["option"], part, False) for part in own]


def _row(written: str, declared: Option, found: "Field[Any]", by_layer: bool) -> str:
    """Return one row of a table; written: the option on the command line."""
    takes = _takes(declared, type_name(found.type)) + (", also by layer: `LAYER=...`" if by_layer else "")
    default = default_of(found)
    empty = default is None or default == () or declared.parts is not None
    given = "" if empty else f"`{str(default).lower() if default is False else default}`"
    shown = ": ".join(part for part in (given, declared.shown or "") if part)
    needs = "".join(f" No effect {need.reason}." for need in declared.needs)
    cells = (f"`{written}`", takes, shown, declared.help + needs)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _takes(declared: Option, wanted: str) -> str:
    """Return a description of the values that an option accepts: words, numbers within bounds, or text."""
    if declared.choices or declared.words:
        words = [f"`{word}`" for word in declared.choices or declared.words]
        return ", ".join([*words, f"`{declared.metavar}`"] if declared.words else words)
    kind = wanted.removesuffix(" | None")
    if declared.methods is not None:
        table = method_table(declared)
        names = ", ".join(f"`{name}`" for name in table.words(table.registry.here()))
        return f"{names}; `NAME:HYPER_PARAMETER=VALUE,...`"
    if declared.parts is not None:
        return "`PART=VALUE,...`"
    word = "`true`, `false`" if kind == "bool" else "a number" if kind in ("int", "float") else "text"
    if kind.startswith("tuple"):
        word = "names, repeated" if "str" in kind else "numbers separated by commas"
    return word if declared.bounds is None else f"{word}, must {declared.bounds}"


def main() -> None:
    """Write the page to the path in the first argument."""
    from qacomp.options.config import CompressConfig

    Path(sys.argv[1]).write_text(page(CompressConfig), encoding="utf-8")


if __name__ == "__main__":
    main()
