"""Find plug-ins that installed packages offer through entry points. A package's code is imported only by `load`."""

import sys
from dataclasses import dataclass
from functools import lru_cache
from importlib.metadata import Distribution, EntryPoint, distributions

from qacomp.formats.errors import PluginError


@dataclass(frozen=True)
class Plugin:
    """One entry point: its name, the package that offers it ("name version"), and the entry point itself."""

    name: str
    package: str
    entry: EntryPoint

    def load(self) -> object:
        """Import the code and return the object of the entry point. Raises PluginError, which names the package."""
        try:
            return self.entry.load()
        except (Exception, SystemExit) as error:  # the import of a package may raise anything
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            raise PluginError(
                f"'{self.name}' of the installed package {self.package} can't be imported ({reason}): "
                "repair the package or remove it"
            ) from error


def plugins(group: str) -> tuple[Plugin, ...]:
    """Return the plug-ins of all installed packages in an entry-point group such as `qacomp.codecs`, each once."""
    return _offered(tuple(sys.path)).get(group, ())


@lru_cache(maxsize=8)
def _offered(path: tuple[str, ...]) -> dict[str, tuple[Plugin, ...]]:
    """Return the plug-ins of all qacomp groups by group; `path` is sys.path, so that the cache follows its changes."""
    found: dict[str, dict[tuple[str, str], Plugin]] = {}
    for installed in distributions(path=list(path)):
        for entry in _entries(installed):
            package = f"{installed.metadata['Name']} {installed.version}"
            found.setdefault(entry.group, {}).setdefault((entry.name, entry.value), Plugin(entry.name, package, entry))
    return {group: tuple(sorted(known.values(), key=lambda p: (p.name, p.package))) for group, known in found.items()}


def _entries(installed: Distribution) -> list[EntryPoint]:
    """Return a package's entry points for qacomp; an empty list if the package's list of entry points can't be read."""
    try:
        if "[qacomp." not in (installed.read_text("entry_points.txt") or ""):
            return []
        return [entry for entry in installed.entry_points if entry.group.startswith("qacomp.")]
    except (OSError, ValueError):  # a broken file of an unrelated package must not stop qacomp
        return []
