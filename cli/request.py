"""Pass a command line as one value: a callback of click gets a frozen dataclass instead of many parameters."""

from collections.abc import Callable
from dataclasses import fields
from typing import TypeVar

R = TypeVar("R")


def taking(kind: type[R]) -> Callable[[Callable[[R], None]], Callable[..., None]]:
    """Return a decorator for a callback with one argument of type `kind`, a dataclass with a field for each parameter.

    If `kind` has a field `settings`, it is a dict that holds the parameters without a field of their own.
    """
    names = {found.name for found in fields(kind)}  # type: ignore[arg-type]

    def decorate(function: Callable[[R], None]) -> Callable[..., None]:
        def callback(**given: object) -> None:
            own = {name: value for name, value in given.items() if name in names}
            rest = {name: value for name, value in given.items() if name not in names}
            function(kind(**own, **({"settings": rest} if "settings" in names else rest)))

        callback.__doc__ = function.__doc__
        callback.__name__ = function.__name__
        return callback

    return decorate
