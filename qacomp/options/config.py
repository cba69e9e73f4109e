"""The settings of a compression: one frozen value, the same on the command line, in TOML and in a container."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import tomli_w

from qacomp.errors import ConfigError
from qacomp.formats.regular import read_small
from qacomp.options.checking import check_config
from qacomp.options.converting import convert, type_name
from qacomp.options.distilling import DistillingOptions
from qacomp.options.network import NetworkOptions
from qacomp.options.pruning import PruningOptions
from qacomp.options.quantizing import QuantizingOptions
from qacomp.options.regularizing import RegularizingOptions
from qacomp.options.running import RunningOptions
from qacomp.options.sharing import SharingOptions
from qacomp.options.training import TrainingOptions

_LARGEST = 16 << 20  # bytes: a file of settings takes a few hundred


@dataclass(frozen=True, kw_only=True)
class CompressConfig(
    RunningOptions,
    NetworkOptions,
    TrainingOptions,
    PruningOptions,
    DistillingOptions,
    QuantizingOptions,
    RegularizingOptions,
    SharingOptions,
):
    """How to compress. Each option is declared in `qacomp.options`, in the file of its group.

    None and auto mean: chosen from the network and the data, and reported. Dataclasses list the last base's fields
    first.
    """

    def check(self) -> Self:
        """Return this value, if it can work. Raise ConfigError, which names the first setting that can't."""
        check_config(self)
        return self

    @property
    def which(self) -> dict[str, Any]:
        """Return the settings that say which tensors are shared, beside scope and K."""
        return {"include": self.include, "exclude": self.exclude, "min_size": self.min_size}

    def to_toml(self) -> str:
        """Return TOML that `from_toml` reads back to an equal value; settings that are None are left out."""
        plain = {n: list(v) if isinstance(v, tuple) else v for n, v in asdict(self).items() if v is not None}
        plain |= {n: dict(v) for n, v in plain.items() if isinstance(v, Mapping)}
        return tomli_w.dumps(plain)

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a TOML file. Raise ConfigError, which says which key or value is wrong."""
        try:
            table = tomllib.loads(read_small(path, _LARGEST).decode("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: can't be read: {error}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not TOML: {error}") from error
        return cls().with_settings(table, str(path))

    def with_settings(self, table: Mapping[str, Any], source: str) -> Self:
        """Return a copy with the settings of `table` changed; `source` names where they come from in errors."""
        types = {f.name: type_name(f.type) for f in fields(self)}
        changed: dict[str, Any] = {}
        for name, value in table.items():
            if name not in types:
                raise ConfigError(f"{source}: unknown setting '{name[:80]}'{_nearest(name, types)}")
            changed[name] = convert(source, name, value, types[name])
        return replace(self, **changed)


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    """Return "; did you mean ...?" with the most similar name, or where the names are listed."""
    close = difflib.get_close_matches(name[:80].replace("-", "_"), known, n=1)
    return f"; did you mean '{close[0]}'?" if close else "; `qacomp compress --help all` lists the settings"
