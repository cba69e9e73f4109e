"""The table of data spec kinds: a decorated function a kind."""

from collections.abc import Callable
from dataclasses import dataclass

from qacomp.datasets.split import Source
from qacomp.errors import UnknownDataSpecError
from qacomp.options.registry import Registry, described

Loader = Callable[[str], Source]


@dataclass(frozen=True)
class DatasetKind:
    """One kind of data spec: `name` alone, or `name:argument` where `argument` (what follows the colon) is set.

    `files`: pattern of what may be read in the folder that the argument names.
    """

    name: str
    argument: str
    description: str
    load: Loader
    files: str = "**/*"

    @property
    def usage(self) -> str:
        """Return how the spec is written."""
        return f"{self.name}:{self.argument}" if self.argument else self.name


DATASETS: Registry[DatasetKind] = Registry("data", "qacomp.datasets", "qacomp.datasets", UnknownDataSpecError)


def register_dataset(name: str, *, argument: str = "", files: str = "**/*") -> Callable[[Loader], Loader]:
    """Register `def load(argument) -> Source`; its docstring's first line describes the kind.

    argument: what the user writes after the colon (`DIR`, `FILE`), empty where nothing follows. files: pattern of the
    files in such a folder that may be read, which no output may replace.
    Loaders raise `DataError`; imports beyond numpy stay inside them.
    """

    def register(load: Loader) -> Loader:
        DATASETS.add(name, DatasetKind(name, argument, described(load), load, files))
        return load

    return register


def list_datasets() -> list[DatasetKind]:
    """Return the kinds of data spec that are imported: qacomp's own, and those that a program registered.

    Those of other installed packages are in `DATASETS.names()`; a user's own `module:function` comes besides.
    """
    return list(DATASETS.here().values())
