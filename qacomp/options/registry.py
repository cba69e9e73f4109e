"""One way to find members by name: files of a folder, what a program registers, and what installed packages offer.

Each kind (regularizers, models, codecs, ...) has one registry. A file of its folder registers a member when it is
imported, which happens once, at the first look. A package of somebody else has an entry point for each member, in the
group `qacomp.KINDS`, called as the member; it is imported when that name is asked for, and not before.
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

    kind: what one member is called in messages; folder: the package whose files register the built-in members, or the
    one file that does; group: the entry-point group of other packages, empty where they have none; unknown: the error
    for a name that nobody has.
    """

    def __init__(self, kind: str, folder: str, group: str, unknown: type[QacompError] = ConfigError) -> None:
        self.kind, self.folder, self.group, self.unknown = kind, folder, group, unknown
        self._members: dict[str, T] = {}
        self._files_done = False

    def add(self, name: str, member: T) -> T:
        """Register `member` under a name of its own and return it. Raise ValueError for a name that is taken."""
        if name in self._members:
            raise ValueError(f"two members are registered as {self.kind} {name!r}")
        self._members[name] = member
        return member

    def here(self) -> Mapping[str, T]:
        """Return the members that are imported: the built-in ones and those registered by a program."""
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
        """Return all names, those of installed packages last; none of these packages is imported."""
        return list(dict.fromkeys([*self.here(), *(plugin.name for plugin in plugins(self.group))]))

    def find(self, name: str, *, told: bool = False) -> T:
        """Return the member called `name`, importing the installed package that offers it.

        told: the name is a file's word, for which nothing is imported. Raises `unknown`, which has the most similar
        name and the known ones, and PluginError where the package can't be used.
        """
        if name not in self.here():
            plugin = self._offered(name)
            if told:
                raise self.unknown(
                    f"the file names {self.kind} {name!r} of the package {plugin.package}, which a file's "
                    "word doesn't import: name it yourself where you trust the file"
                )
            plugin.load()
            if name not in self._members:
                raise PluginError(f"the installed package {plugin.package} registers no {self.kind} {name!r}")
        return self._members[name]

    def _offered(self, name: str) -> Plugin:
        """Return the one entry point called `name`."""
        offered = [plugin for plugin in plugins(self.group) if plugin.name == name]
        if not offered:
            known = self.names()
            close = difflib.get_close_matches(name[:80], known, n=1)
            hint = f"did you mean {close[0]}? " if close else ""
            raise self.unknown(f"unknown {self.kind} {name[:80]!r}: {hint}known are {', '.join(known)}")
        if len(offered) > 1:
            packages = " and ".join(plugin.package for plugin in offered)
            raise PluginError(f"{self.kind} {name!r}: {packages} both offer it; remove one of them")
        return offered[0]


def described(function: Callable[..., object]) -> str:
    """Return the first line of a function's or class's docstring, without which it has no description."""
    return (function.__doc__ or "").strip().split("\n")[0]


def check_by(finder: str) -> Callable[[str], object]:
    """Return a check of a name that calls `module:function`, which raises for an unknown one; imported then alone."""

    def check(name: str) -> object:
        module, _, function = finder.partition(":")
        return getattr(import_module(module), function)(name)

    return check
