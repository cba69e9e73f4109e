"""Find members of a kind by name: from files of a folder, from a program, and from installed packages.

Each kind (regularizers, models, ...) has one registry. A file of its folder registers a member when it is imported,
which happens on the first use of the registry. Another package has an entry point for each member, with the member's
name, in the group `qacomp.KINDS`; it is imported only when that name is requested.
"""

import difflib
import pkgutil
from collections.abc import Callable, Mapping
from importlib import import_module
from types import MappingProxyType
from typing import Generic, TypeVar

from qacomp.errors import ConfigError, PluginError, QacompError
from qacomp.formats.plugins import Plugin, plugins

T = TypeVar("T")


class Registry(Generic[T]):
    """The members of one kind by name.

    kind: word for a member in messages; folder: the package whose files register the built-in members, or a single
    module that does; group: the entry-point group of other packages, or "" if there is none; unknown: the error for
    an unknown name.
    """

    def __init__(self, kind: str, folder: str, group: str, unknown: type[QacompError] = ConfigError) -> None:
        self.kind, self.folder, self.group, self.unknown = kind, folder, group, unknown
        self._members: dict[str, T] = {}
        self._files_done = False

    def add(self, name: str, member: T) -> T:
        """Register `member` under `name` and return it. Raises ValueError if the name is taken."""
        if name in self._members:
            raise ValueError(f"a {self.kind} {name!r} is already registered; choose another name")
        self._members[name] = member
        return member

    def here(self) -> Mapping[str, T]:
        """Return the imported members by name: the built-in ones and those that a program registered."""
        if not self._files_done:
            self._files_done = True
            try:
                for found in pkgutil.iter_modules(getattr(import_module(self.folder), "__path__", ())):
                    if not found.name.startswith("_"):
                        import_module(f"{self.folder}.{found.name}")
            except BaseException:
                self._files_done = False
                raise
        return MappingProxyType(self._members)

    def names(self) -> list[str]:
        """Return all names, those of installed packages last; the packages aren't imported."""
        return list(dict.fromkeys([*self.here(), *(plugin.name for plugin in plugins(self.group))]))

    def find(self, name: str, *, told: bool = False) -> T:
        """Return the member called `name`; an installed package that offers it is imported.

        told: the name comes from a file, so no package is imported for it. Raises the error `unknown`, which has the
        most similar name and all known ones, and PluginError if the package can't be used.
        """
        if name not in self.here():
            plugin = self._offered(name)
            if told:
                raise self.unknown(
                    f"the file names the {self.kind} {name!r} of the package {plugin.package}, which isn't imported "
                    "because of a file; if you trust the file, name it yourself"
                )
            plugin.load()
            if name not in self._members:
                raise PluginError(
                    f"the installed package {plugin.package} offers the {self.kind} {name!r} but doesn't register it;"
                    " update the package"
                )
        return self._members[name]

    def _offered(self, name: str) -> Plugin:
        """Return the only entry point called `name`; raises `unknown` if there is none, PluginError if several."""
        offered = [plugin for plugin in plugins(self.group) if plugin.name == name]
        if not offered:
            known = self.names()
            close = difflib.get_close_matches(name[:80], known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise self.unknown(f"unknown {self.kind} {name[:80]!r}: {hint}known are {', '.join(known)}")
        if len(offered) > 1:
            packages = " and ".join(plugin.package for plugin in offered)
            raise PluginError(f"{self.kind} {name!r} is offered by {packages}; remove one of these packages")
        return offered[0]


def described(function: Callable[..., object]) -> str:
    """Return the first line of a function's or class's docstring, which describes it in the help."""
    return (function.__doc__ or "").strip().split("\n")[0]


def check_by(finder: str) -> Callable[[str], object]:
    """Return a check that calls `module:function` with a name; the module is imported only then."""

    def check(name: str) -> object:
        module, _, function = finder.partition(":")
        return getattr(import_module(module), function)(name)

    return check
