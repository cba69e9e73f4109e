"""Check the value of one option against its declaration: choices, bounds and its own check."""

from collections.abc import Iterator, Mapping

from qacomp.errors import ConfigError
from qacomp.options.declaration import Option

_NAMES = {"k": "the number of shared values"}
"""Descriptions, for messages, of numbers whose option has a short name."""


def check_value(name: str, declared: Option, value: object) -> None:
    """Raise ConfigError, which begins with `name`, for a value that the option doesn't accept."""
    if declared.choices and value not in declared.choices:
        raise ConfigError(f"{name} = {value!r}: must be one of {', '.join(declared.choices)}")
    if declared.bounds is not None:
        for where, what, number in _numbers(name, value):
            if not declared.bounds.admit(number):
                raise ConfigError(f"{where} = {number}: {what}must {declared.bounds}")
    if declared.check is not None and value is not None:
        declared.check(value)


def _numbers(name: str, value: object) -> Iterator[tuple[str, str, float]]:
    """Yield (place, description, number) of an option's value or of each layer's value, as in ("k for conv1", ...)."""
    plain = name.removesuffix("_layers")
    what = f"{_NAMES[plain]} " if plain in _NAMES else ""
    if isinstance(value, Mapping):
        yield from ((f"{plain} for {layer}", what, number) for layer, number in value.items())
    elif isinstance(value, tuple):
        yield from ((name, what, number) for number in value)
    elif isinstance(value, int | float):
        yield name, what, value
