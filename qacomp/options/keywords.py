"""Generate the keyword types of `qacomp.compress` and `qacomp.train`: `python -m qacomp.options.keywords`.

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
from qacomp.options.from_scratch import taken

_OWN = ("data",)  # has a parameter of its own in qacomp.compress, which accepts more than a spec
_OF_TRAIN = (*_OWN, "arch")  # and in qacomp.train the architecture has one too
_HEAD = '''"""The settings of a training and of a compression as keywords, for editors and type checkers.

Generated from the declarations in `qacomp.options` by `python -m qacomp.options.keywords`; not edited by hand.
"""

from collections.abc import Mapping, Sequence
from typing import TypedDict

from qacomp.options.method import MethodLike
from qacomp.options.parts import PartsLike


class TrainSettings(TypedDict, total=False):
    """Keywords of `qacomp.train`: the settings of `qacomp train`."""
'''
_COMPRESSION = '''

class Settings(TrainSettings, total=False):
    """Keywords of `qacomp.compress`, fields of `CompressConfig`, and keys of a TOML file."""
'''


def source(config: type) -> str:
    """Return the text of the module: two TypedDicts with the type and help of each setting."""
    names = [found.name for found in fields(config) if found.name not in _OWN]
    training = [name for name in names if taken(name) and name not in _OF_TRAIN]
    rest = [name for name in names if name not in training]
    lines = [_HEAD, *_keys(config, training), _COMPRESSION, *_keys(config, rest)]
    return "\n".join(lines) + "\n"


def _keys(config: type, names: list[str]) -> list[str]:
    """Return the lines of these settings in a TypedDict."""
    known, types, lines = declarations(config), {f.name: type_name(f.type) for f in fields(config)}, []
    for name in names:
        declared = known[name]
        text = declared.help if declared.of is None else f"Values of {declared.of} by layer: name or pattern -> value."
        typed = "MethodLike" if declared.methods else "PartsLike" if declared.parts else types[name]
        given = re.sub(r"tuple\[(\w+), \.\.\.\]", r"Sequence[\1]", typed)  # a list is accepted too
        lines += [f"    {name}: {given}", *_documented(text)]
    return lines


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
