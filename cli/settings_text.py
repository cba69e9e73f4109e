"""The settings in a container as a file for `compress --config`: text alone, of which nothing is opened or run."""

import sys
import tomllib
from pathlib import Path
from typing import Any

from qacomp.cli.streams import is_unicode, shown, write

_NAMING = ("data", "metric")
"""Settings that may name a file or a function of the user's."""


def print_settings(container: Path, meta: dict[str, Any]) -> list[str]:
    """Write the settings in a container's metadata on stdout, as TOML. Return the options that became comments.

    They name a file or a function, which no file may choose: the user gives them again. Raise ConfigError where the
    metadata hold no settings of this version of qacomp.
    """
    from qacomp.errors import ConfigError
    from qacomp.options.config import CompressConfig

    text = meta.get("settings")
    if text is None:
        raise ConfigError(f"{container}: holds no settings: something else than qacomp compress wrote it")
    where = f"{container}: its settings"
    try:
        config = CompressConfig().with_settings(tomllib.loads(str(text)), where)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} are not TOML: {error}") from error
    named = [name for name in _NAMING if not _built_in(name, getattr(config, name))]
    values, tables, layers = config.to_toml().partition("\n[")
    lines = [f"# {line}" if line.startswith(tuple(f"{n} = " for n in named)) else line for line in values.splitlines()]
    lines = [f"# Settings of {shown(container.name)} for qacomp compress MODEL --config FILE", *lines]
    write(_escaped("\n".join(lines) + tables + layers).rstrip("\n") + "\n")
    return [f"--{name}" for name in named]


def _built_in(name: str, value: str | None) -> bool:
    """Return whether a value names what comes with qacomp, or nothing."""
    from qacomp.datasets import NamedData
    from qacomp.options.metric_names import METRICS

    if name == "metric":
        return value in METRICS
    told = NamedData.told(value)
    return told is None or told.built_in() is not None


def _escaped(text: str) -> str:
    """Return TOML whose strings have escapes for what can't be printed, or not be written on this stdout."""
    unicode = is_unicode(sys.stdout)
    return "".join(
        c if c == "\n" or (c.isprintable() and (unicode or c.isascii())) else f"\\U{ord(c):08X}" for c in text
    )
