"""Codecs of other installed packages: an entry point each in the group `qacomp.codecs`, called as the codec.

A reader imports all of them before it looks at a file, so that nothing is imported for what the file says.
"""

from functools import cache

from qacomp.formats.codecs.base import CODECS, PRIVATE, PROBLEMS
from qacomp.formats.errors import PluginError
from qacomp.formats.plugins import plugins

GROUP = "qacomp.codecs"


def installed_codecs() -> list[str]:
    """Return the names of all codecs that SPEC.md lacks; no package is imported."""
    registered = [codec.name for number, codec in sorted(CODECS.items()) if number >= PRIVATE]
    return list(dict.fromkeys([*registered, *(plugin.name for plugin in plugins(GROUP))]))


def load_codec(name: str) -> None:
    """Import the package that offers the codec `name`. Raise PluginError where none does, or where it can't be used."""
    if any(codec.name == name for codec in CODECS.values()):
        return
    for plugin in plugins(GROUP):
        if plugin.name == name:
            plugin.load()
            if all(codec.name != name for codec in CODECS.values()):
                raise PluginError(f"the installed package {plugin.package} registers no codec '{name}'")
            return
    known = ", ".join(installed_codecs()) or "none"
    raise PluginError(f"unknown codec '{name[:80]}': those of installed packages are {known}")


@cache
def load_installed() -> None:
    """Import the codecs of all installed packages, once. Those that can't be used become lines in PROBLEMS."""
    for plugin in plugins(GROUP):
        try:
            load_codec(plugin.name)
        except PluginError as error:
            PROBLEMS.append(str(error))
