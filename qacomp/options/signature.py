"""The signature of `qacomp.compress` with every setting in it, for notebooks, which complete from the live function."""

import inspect
from collections.abc import Callable
from dataclasses import Field, fields
from typing import Any, TypeVar

from qacomp.options.config import CompressConfig
from qacomp.options.declaration import default_of
from qacomp.options.method import MethodChoice

F = TypeVar("F", bound=Callable[..., Any])


def with_keywords(function: F) -> F:
    """Return `function` with its `**settings` listed one by one in `inspect.signature`, as `help()` shows it."""
    known = inspect.signature(function)
    plain = [p for p in known.parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD]
    settings = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=_default(f), annotation=f.type)
        for f in fields(CompressConfig)
        if f.name not in known.parameters
    ]
    function.__signature__ = known.replace(parameters=[*plain, *settings])  # type: ignore[attr-defined]
    return function


def _default(found: "Field[Any]") -> Any:
    """Return a setting's default as a notebook should show it: a method as its text."""
    default = default_of(found)
    return str(default) if isinstance(default, MethodChoice) else default
