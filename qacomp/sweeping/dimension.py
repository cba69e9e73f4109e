"""One setting that a sweep varies: its choices, or a range of numbers."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeAlias

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.options.converting import type_name
from qacomp.options.declaration import declarations
from qacomp.options.limits import check_value
from qacomp.options.method_table import method_table

Choice: TypeAlias = bool | int | float | str
FIXED = frozenset(
    (
        *("data", "metric", "calibration", "preprocess", "run_limits", "input", "submodule", "key", "arch"),
        *("num_classes", "include", "exclude", "codec", "device"),
    )
)
"""Settings that aren't varied: they name files, code or machines, or say which model and which inputs are meant."""
_RANGE = re.compile(r"([\d.eE+-]{1,30})([a-zA-Z]*):([\d.eE+-]{1,30})([a-zA-Z]*)", re.ASCII)
_LONGEST = 2000  # characters of --vary
_SIZE = "target_size"  # text that is a number with a unit


@dataclass(frozen=True)
class Dimension:
    """A setting that is varied. choices: its values; empty: numbers from `low` to `high`, followed by `unit`.

    Ranges above zero are drawn on a logarithmic scale. whole: only whole numbers are drawn.
    """

    name: str
    text: str
    choices: tuple[Choice, ...] = ()
    low: float = 0.0
    high: float = 0.0
    whole: bool = False
    unit: str = ""

    @property
    def log(self) -> bool:
        """Return whether a range is drawn on a logarithmic scale."""
        return self.low > 0

    def value(self, drawn: Choice) -> Choice:
        """Return the setting's value for what was drawn: a choice, or a number of the range."""
        return f"{drawn:.4g}{self.unit}" if self.unit else drawn

    @property
    def probes(self) -> tuple[Choice, ...]:
        """Return the values by which is told whether the setting has an effect."""
        if self.choices:
            return self.choices
        ends = (int(self.low), int(self.high)) if self.whole else (self.low, self.high)
        return tuple(map(self.value, ends))


def read_dimension(text: str) -> Dimension:
    """Return the dimension of `k=4,8,16`, `k=4:256` or `target_size=1bpw:6bpw`.

    Choices are separated by commas, or by semicolons where one holds a comma itself. Raises ConfigError.
    """
    name, equals, values = text[:_LONGEST].partition("=")
    name, values = name.strip().removeprefix("--").replace("-", "_"), values.strip()
    where = f"--vary {text[:100]!r}"
    types = {found.name: type_name(found.type) for found in fields(CompressConfig)}
    if not equals or not values or len(text) > _LONGEST:
        raise ConfigError(f"{where}: write NAME=VALUE,VALUE,... or NAME=LOW:HIGH")
    if name not in types:
        CompressConfig().with_settings({name: values}, where)  # names the nearest setting
    declared = declarations(CompressConfig)[name]
    if name in FIXED or declared.of is not None or declared.parts is not None:
        raise ConfigError(f"{where}: {name} can't be varied; give it as an option of the sweep, or in --config")
    wanted = types[name].removesuffix(" | None")
    found = _RANGE.fullmatch(values)
    if found and (wanted in ("int", "float") or name == _SIZE):
        made = _range(where, f"{name}={values}", found, wanted == "int")
    elif declared.methods is not None or wanted in ("int", "float", "bool", "str"):
        parts = [part.strip() for part in values.split(";" if ";" in values else ",")]
        choices = dict.fromkeys(_choice(where, part, wanted) for part in parts)
        made = Dimension(name, f"{name}={values}", tuple(choices))
    else:
        raise ConfigError(f"{where}: {name} takes several values at once and can't be varied")
    for probe in made.probes:
        _check(where, name, probe)
    return made


def _range(where: str, text: str, found: re.Match[str], whole: bool) -> Dimension:
    try:
        low, high = float(found[1]), float(found[3])
    except ValueError:
        raise ConfigError(f"{where}: write NAME=LOW:HIGH with two numbers") from None
    unit = found[4]
    if unit != (found[2] or unit) or not math.isfinite(high - low) or low > high:
        raise ConfigError(f"{where}: write NAME=LOW:HIGH, the lower number first, both in one unit")
    name = text.partition("=")[0]
    if (name == _SIZE) != bool(unit):
        raise ConfigError(f"{where}: a size has a unit, 1bpw:6bpw or 50KB:200KB, and other numbers have none")
    if whole and not (low.is_integer() and high.is_integer()):
        raise ConfigError(f"{where}: {name} takes whole numbers")
    return Dimension(name, text, (), low, high, whole, unit)


def _choice(where: str, text: str, wanted: str) -> Choice:
    kinds: Mapping[str, Any] = {"int": int, "float": float}
    try:
        if wanted == "bool":
            return {"true": True, "false": False}[text.lower()]
        return kinds[wanted](text) if wanted in kinds else text
    except (KeyError, ValueError):
        raise ConfigError(f"{where}: {text[:40]!r} is no value of type {wanted}") from None


def _check(where: str, name: str, value: Choice) -> None:
    """Raise ConfigError unless the setting can have the value at all."""
    declared = declarations(CompressConfig)[name]
    config = CompressConfig().with_settings({name: value}, where)
    try:
        if declared.methods is not None:
            method_table(declared).options(getattr(config, name))
        else:
            check_value(name, declared, getattr(config, name))
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
