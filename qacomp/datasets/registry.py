"""The registry of data spec kinds, a decorated function each."""

from collections.abc import Callable
from dataclasses import dataclass

from qacomp.datasets.split import Source
from qacomp.errors import UnknownDataSpecError
from qacomp.options.registry import Registry, described

Loader = Callable[[str], Source]


@dataclass(frozen=True)
class DatasetKind:
    """One kind of data spec, written `name`, or `name:ARGUMENT` if it takes an argument.

    argument: what the user writes after the colon (`DIR`, `FILE`), empty if there is none; files: pattern of the files
    that are read in the folder that the argument names.
    """

    name: str
    argument: str
    description: str
    load: Loader
    files: str = "**/*"

    @property
    def usage(self) -> str:
        """Return how the spec is written, such as `mnist:DIR`."""
        return f"{self.name}:{self.argument}" if self.argument else self.name


DATASETS: Registry[DatasetKind] = Registry("data", "qacomp.datasets", "qacomp.datasets", UnknownDataSpecError)


def register_dataset(name: str, *, argument: str = "", files: str = "**/*") -> Callable[[Loader], Loader]:
    """Register `def load(argument) -> Source`; the first line of its docstring describes the kind in help texts.

    argument: what the user writes after the colon (`DIR`, `FILE`), empty if there is none. files: pattern of the files
    that are read in such a folder; no output may replace them. A loader raises `DataError`, and imports other packages
    than numpy inside the function.
    """

    def register(load: Loader) -> Loader:
        DATASETS.add(name, DatasetKind(name, argument, described(load), load, files))
        return load

    return register


def list_datasets() -> list[DatasetKind]:
    """Return the kinds of data spec that are imported: qacomp's own, and those that a program registered.

    `DATASETS.names()` lists those of other installed packages too. `module:function` is not in these lists.
    """
    return list(DATASETS.here().values())
