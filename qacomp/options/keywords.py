"""Generate the keyword types of `qacomp.compress` from the declarations: `python -m qacomp.options.keywords`.

Editors and type checkers read types from files only, so they are written to `qacomp/options/settings.py`. A test
compares that file with the declarations.
"""

import re
import sys
from dataclasses import fields
from pathlib import Path
from textwrap import wrap

from qacomp.options.converting import type_name
from qacomp.options.declaration import declarations

_OWN = ("data",)  # has a parameter of its own in qacomp.compress, which accepts more than a spec
_HEAD = '''"""The settings of a compression as keywords, for editors and type checkers.

Generated from the declarations in `qacomp.options` by `python -m qacomp.options.keywords`; not edited by hand.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from qacomp.options.method import MethodLike
from qacomp.options.parts import PartsLike


class Settings(TypedDict, total=False):
    """Keywords of `qacomp.compress`, fields of `CompressConfig`, and keys of a TOML file."""
'''


def source(config: type) -> str:
    """Return the text of the module: a TypedDict with the type and help of each setting."""
    known, lines = declarations(config), [_HEAD]
    for found in fields(config):
        if found.name in _OWN:
            continue
        declared = known[found.name]
        text = declared.help if declared.of is None else f"Values of {declared.of} by layer: name or pattern -> value."
        typed = "MethodLike" if declared.methods else "PartsLike" if declared.parts else type_name(found.type)
        given = re.sub(r"tuple\[(\w+), \.\.\.\]", r"Sequence[\1]", typed)  # a list is accepted too
        lines.append(f"    {found.name}: {given}")
        lines += _documented(text)
    return "\n".join(lines) + "\n"


def _documented(text: str) -> list[str]:
    """Return the lines of a docstring, each of at most 120 characters."""
    rows = wrap(text, 108)
    if len(rows) == 1:
        return [f'    """{rows[0]}"""']
    return [f'    """{rows[0]}', *(f"    {row}" for row in rows[1:]), '    """']


def main() -> None:
    """Write settings.py in this folder."""
    from qacomp.options.config import CompressConfig

    target = Path(__file__).with_name("settings.py")
    target.write_text(source(CompressConfig), encoding="utf-8")
    sys.stdout.write(f"{target.name} written\n")


if __name__ == "__main__":
    main()
