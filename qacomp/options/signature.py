"""Give `qacomp.compress` a signature with every keyword, from which notebooks complete."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from qacomp.options.config import CompressConfig
from qacomp.options.declaration import default_of

F = TypeVar("F", bound=Callable[..., Any])


def with_keywords(call: type[Any]) -> Callable[[F], F]:
    """Return a decorator that lists a function's keywords one by one in `inspect.signature`, as `help()` shows it.

    call: a dataclass of the keywords that aren't settings; the settings follow after them.
    """

    def listed(function: F) -> F:
        known = inspect.signature(function)
        plain = [p for p in known.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
        keywords = [
            inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=default_of(f), annotation=f.type)
            for f in (*fields(call), *fields(CompressConfig))
            if f.name not in known.parameters
        ]
        function.__signature__ = known.replace(parameters=[*plain, *keywords])  # type: ignore[attr-defined]
        return function

    return listed
