"""Print the settings of a container as a TOML file for `compress --config`; no file they name is opened or run."""

import sys
import tomllib
from pathlib import Path
from typing import Any

from qacomp.cli.streams import is_unicode, shown, write

_NAMING = ("data", "metric", "arch")
"""Settings that may name a file or a function on the user's machine."""


def print_settings(container: Path, meta: dict[str, Any]) -> list[str]:
    """Write the settings of a container's metadata on stdout as TOML, and return the options printed as comments.

    Options that name a file or a function become comments, since a container must not decide what is opened or run; the
    user gives them again. Settings of earlier versions get their present names. Raises ConfigError if the metadata has
    no settings, or one that this version of qacomp can't read.
    """
    from qacomp.errors import ConfigError
    from qacomp.options.config import CompressConfig
    from qacomp.options.older import translated

    text = meta.get("settings")
    if text is None:
        raise ConfigError(f"{container}: holds no settings, since `qacomp compress` didn't write it")
    where = f"{container}: its settings"
    try:
        config = CompressConfig().with_settings(translated(tomllib.loads(str(text)), where), where)
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} aren't valid TOML ({error}); was it written by qacomp?") from error
    named = [name for name in _NAMING if not _built_in(name, getattr(config, name))]
    values, tables, layers = config.to_toml().partition("\n[")
    lines = [f"# {line}" if line.startswith(tuple(f"{n} = " for n in named)) else line for line in values.splitlines()]
    lines = [f"# Settings of {shown(container.name)} for qacomp compress MODEL --config FILE", *lines]
    write(_escaped("\n".join(lines) + tables + layers).rstrip("\n") + "\n")
    return [f"--{name}" for name in named]


def _built_in(name: str, value: str | None) -> bool:
    """Return whether a setting's value is None or names data, a metric, ... that comes with qacomp."""
    from qacomp.datasets import NamedData
    from qacomp.options.metric_names import METRICS

    if name == "metric":
        return value in METRICS
    if name == "arch":
        return value is None or ":" not in value
    told = NamedData.told(value)
    return told is None or told.built_in() is not None


def _escaped(text: str) -> str:
    """Return TOML with escapes for characters that are unprintable or that stdout's encoding lacks."""
    unicode = is_unicode(sys.stdout)
    return "".join(
        c if c == "\n" or (c.isprintable() and (unicode or c.isascii())) else f"\\U{ord(c):08X}" for c in text
    )
