"""The table of data spec kinds: a decorated function a kind."""

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from qacomp.datasets.split import Source

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
        """How the spec is written."""
        return f"{self.name}:{self.argument}" if self.argument else self.name


KINDS: dict[str, DatasetKind] = {}


def register_dataset(name: str, *, argument: str = "", files: str = "**/*") -> Callable[[Loader], Loader]:
    """Register `def load(argument) -> Source`; its docstring's first line describes the kind.

    argument: what the user writes after the colon (`DIR`, `FILE`), empty where nothing follows. files: pattern of the
    files in such a folder that may be read, which no output may replace.
    Loaders raise `DataError`; imports beyond numpy stay inside them.
    """

    def register(load: Loader) -> Loader:
        if name in KINDS:
            raise ValueError(f"two datasets are registered as {name!r}")
        KINDS[name] = DatasetKind(name, argument, (load.__doc__ or "").strip().split("\n")[0], load, files)
        return load

    return register


def list_datasets() -> list[DatasetKind]:
    """Return the registered kinds of data spec; a user's own `module:function` comes besides."""
    _import_kinds()
    return list(KINDS.values())


@functools.cache
def _import_kinds() -> None:
    """Import every file beside this one, which registers what it declares."""
    for found in pkgutil.iter_modules([str(Path(__file__).parent)]):
        if not found.name.startswith("_"):
            importlib.import_module(f"{__package__}.{found.name}")
