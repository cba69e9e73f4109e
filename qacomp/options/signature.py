"""Give `qacomp.compress` a signature with every keyword, from which notebooks complete."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from qacomp.options.config import CompressConfig
from qacomp.options.declaration import default_of

F = TypeVar("F", bound=Callable[..., Any])


def with_keywords(call: type[Any], settings: Mapping[str, Any] | None = None) -> Callable[[F], F]:
    """Return a decorator that lists a function's keywords one by one in `inspect.signature`, as `help()` shows it.

    call: a dataclass of the keywords that aren't settings; settings: those that follow after them, with their defaults,
    None: all.
    """
    known = {found.name: found for found in fields(CompressConfig)}
    wanted = {name: default_of(found) for name, found in known.items()} if settings is None else settings
    given = [*((f, default_of(f)) for f in fields(call)), *((known[name], value) for name, value in wanted.items())]

    def listed(function: F) -> F:
        shown = inspect.signature(function)
        plain = [p for p in shown.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=f.type)
            for f, default in given
            if f.name not in shown.parameters
        ]
        function.__signature__ = shown.replace(parameters=[*plain, *keywords])  # type: ignore[attr-defined]
        return function

    return listed
