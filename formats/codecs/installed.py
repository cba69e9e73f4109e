"""Load codecs of other installed packages: each has an entry point of its name in the group `qacomp.codecs`.

A reader imports all of them before it looks at a file, so that no file decides what is imported.
"""

from functools import cache

from qacomp.formats.codecs.base import CODECS, PRIVATE, PROBLEMS
from qacomp.formats.errors import PluginError
from qacomp.formats.plugins import plugins

GROUP = "qacomp.codecs"


def installed_codecs() -> list[str]:
    """Return the names of the codecs of other packages; no package is imported."""
    registered = [codec.name for number, codec in sorted(CODECS.items()) if number >= PRIVATE]
    return list(dict.fromkeys([*registered, *(plugin.name for plugin in plugins(GROUP))]))


def load_codec(name: str) -> None:
    """Import the package of the codec `name`, if needed. Raises PluginError if there is none or it can't be used."""
    if any(codec.name == name for codec in CODECS.values()):
        return
    for plugin in plugins(GROUP):
        if plugin.name == name:
            plugin.load()
            if all(codec.name != name for codec in CODECS.values()):
                raise PluginError(
                    f"the installed package {plugin.package} offers a codec '{name}' but doesn't register it; update it"
                )
            return
    known = ", ".join(installed_codecs()) or "none"
    raise PluginError(f"unknown codec '{name[:80]}'; codecs of installed packages: {known}")


@cache
def load_installed() -> None:
    """Import the codecs of all installed packages, once; add a line to PROBLEMS for each that can't be used."""
    for plugin in plugins(GROUP):
        try:
            load_codec(plugin.name)
        except PluginError as error:
            PROBLEMS.append(str(error))
