"""Generate docs/options.md, the reference of all settings: `python -m qacomp.options.reference docs/options.md`."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from qacomp.options.converting import type_name
from qacomp.options.declaration import Option, declarations, default_of

_HEAD = """# Options of `qacomp compress`

Generated from the declarations by `python -m qacomp.options.reference docs/options.md`. On the command line an option
is written as here; in a TOML file (`--config`) and in Python with underscores: `tune_epochs = 3`. An option that would
change nothing beside the others is refused, with a line that says what it needs.
"""


def page(config: type) -> str:
    """Return the page's Markdown: one table for each group of options."""
    known = declarations(config)
    by_layer = {declared.of for declared in known.values()}
    groups: dict[str, list[str]] = {}
    for found in fields(config):
        declared = known[found.name]
        if declared.of is None:
            row = _row(found.name, declared, type_name(found.type), default_of(found), found.name in by_layer)
            groups.setdefault(declared.group, []).append(row)
    text = [_HEAD]
    for group, rows in groups.items():
        text.append(f"## {group}\n\n| option | takes | default | what it does |\n| --- | --- | --- | --- |")
        text.append("\n".join(rows) + "\n")
    return "\n".join(text)


def _row(name: str, declared: Option, wanted: str, default: Any, by_layer: bool) -> str:
    """Return one row of a table."""
    takes = _takes(declared, wanted) + (", also by layer: `LAYER=...`" if by_layer else "")
    empty = default is None or default == () or default is False
    given = "" if empty else f"`{default}`"
    shown = ": ".join(part for part in (given, declared.shown or "") if part)
    needs = "".join(f" No effect {need.reason}." for need in declared.needs)
    cells = (f"`--{name.replace('_', '-')}`", takes, shown, declared.help + needs)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _takes(declared: Option, wanted: str) -> str:
    """Return what an option takes: words, numbers within bounds, or text."""
    if declared.choices:
        return ", ".join(f"`{choice}`" for choice in declared.choices)
    kind = wanted.removesuffix(" | None")
    word = "nothing" if kind == "bool" else "a number" if kind in ("int", "float") else "text"
    if kind.startswith("tuple"):
        word = "names, repeated" if "str" in kind else "numbers with commas"
    return word if declared.bounds is None else f"{word}, must {declared.bounds}"


def main() -> None:
    """Write the page to the path that is given."""
    from qacomp.options.config import CompressConfig

    Path(sys.argv[1]).write_text(page(CompressConfig), encoding="utf-8")


if __name__ == "__main__":
    main()
