"""Hold the settings of a compression in one frozen value, for the command line, TOML files and containers."""

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Self

import tomli_w

from qacomp.errors import ConfigError
from qacomp.formats.codec_choice import ADD, LEAVE_OUT
from qacomp.formats.codecs import standard_codecs
from qacomp.formats.codecs.mixing import Mixing
from qacomp.formats.regular import read_small
from qacomp.options.checking import check_config
from qacomp.options.converting import convert, type_name
from qacomp.options.declaration import Option, declarations
from qacomp.options.distilling import DistillingOptions
from qacomp.options.method import MethodChoice
from qacomp.options.method_table import as_method
from qacomp.options.needs import rate_aware
from qacomp.options.network import NetworkOptions
from qacomp.options.older import MOVED, RENAMED
from qacomp.options.parts import parts_text, read_parts
from qacomp.options.pruning import PruningOptions
from qacomp.options.quality import QualityOptions
from qacomp.options.quantizing import QuantizingOptions
from qacomp.options.regularizing import RegularizingOptions
from qacomp.options.running import RunningOptions
from qacomp.options.sharing import SHARED_VALUES, SharingOptions
from qacomp.options.training import TrainingOptions

_LARGEST = 16 << 20  # bytes; a usual file of settings has a few hundred


@dataclass(frozen=True, kw_only=True)
class CompressConfig(
    RunningOptions,
    NetworkOptions,
    TrainingOptions,
    PruningOptions,
    DistillingOptions,
    QuantizingOptions,
    RegularizingOptions,
    QualityOptions,
    SharingOptions,
):
    """The settings of a compression. Each one is declared in `qacomp.options`, in the file of its group.

    None and "auto" mean that qacomp chooses from the network and the data, and reports its choice. The bases are in
    reverse order, since a dataclass lists the fields of its last base first.
    """

    def __post_init__(self) -> None:
        """Convert methods and parts given as text, as a table or as an object. Raises ConfigError."""
        for name, declared in declarations(self).items():
            if declared.methods is not None:
                object.__setattr__(self, name, as_method(name, getattr(self, name), declared))
            elif declared.parts is not None:
                object.__setattr__(self, name, read_parts(name, getattr(self, name), declared.parts))

    def check(self) -> Self:
        """Return this value if all settings are valid. Raises ConfigError, which names the first wrong setting."""
        check_config(self)
        return self

    @property
    def shared_values(self) -> int:
        """Return the number of shared values of a layer where k-means shares the weights: --k, or the default."""
        return SHARED_VALUES if self.k is None else self.k

    @property
    def which(self) -> dict[str, Any]:
        """Return the settings that choose which tensors are shared: include, exclude and min_size."""
        return {"include": self.include, "exclude": self.exclude, "min_size": self.min_size}

    @property
    def codecs(self) -> tuple[str, ...] | None:
        """Return the names of the codecs that the writer tries, as `Coding` has them; None for the default ones.

        Sharing by rate is for the smallest file, so it adds the codec mixing, which takes readers longer.
        """
        names = () if self.codec is None else tuple(self.codec.split(","))
        if rate_aware(self) and not {f"{ADD}{Mixing.name}", f"{LEAVE_OUT}{Mixing.name}"} & {*names}:
            names += (f"{ADD}{Mixing.name}",)
        if not names or all(name.startswith((LEAVE_OUT, ADD)) for name in names):
            return names or None
        return (*standard_codecs(), *names)

    def to_toml(self) -> str:
        """Return TOML text from which `from_toml` makes an equal value; settings that are None are left out."""
        return tomli_w.dumps({name: value for name, value in self.plain().items() if value is not None})

    def chosen_toml(self) -> str:
        """Return TOML text of the settings that differ from the defaults; `with_settings` reads it."""
        defaults = type(self)().plain()
        return tomli_w.dumps({n: v for n, v in self.plain().items() if v is not None and v != defaults[n]})

    def plain(self) -> dict[str, Any]:
        """Return the settings as plain values, methods and parts as text; `with_settings` accepts them.

        None: left open, or parts at their defaults.
        """
        return {name: _plain(getattr(self, name), declared) for name, declared in declarations(self).items()}

    @classmethod
    def from_toml(cls, path: Path) -> Self:
        """Read a TOML file of settings. Raises ConfigError, which names the wrong key or value."""
        try:
            table = tomllib.loads(read_small(path, _LARGEST).decode("utf-8"))
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: can't be read: {error}") from error
        except (ValueError, RecursionError) as error:
            raise ConfigError(f"{path}: not TOML: {error}") from error
        return cls().with_settings(table, str(path))

    def with_settings(self, table: Mapping[str, Any], source: str) -> Self:
        """Return a copy with the settings of `table` changed; source: where they come from, for errors.

        Raises ConfigError for an unknown setting or a value of the wrong type.
        """
        known, types = declarations(self), {f.name: type_name(f.type) for f in fields(self)}
        changed: dict[str, Any] = {}
        for name, value in table.items():
            if name not in types:
                raise ConfigError(f"{source}: unknown setting '{name[:80]}'{_nearest(name, types)}")
            changed[name] = _read(source, name, value, known[name], types[name])
        return replace(self, **changed)


def _read(source: str, name: str, value: Any, declared: Option, wanted: str) -> Any:
    """Return what text, TOML or Python give for a setting, as the type that its field has. Raise ConfigError."""
    if declared.methods is not None:
        return as_method(f"{source}: {name}", value, declared)
    if declared.parts is not None:
        return read_parts(f"{source}: {name}", value, declared.parts)
    return convert(source, name, value, wanted)


def _plain(value: Any, declared: Option) -> Any:
    if isinstance(value, MethodChoice):
        return str(value)
    if declared.parts is not None:
        return parts_text(value)
    return dict(value) if isinstance(value, Mapping) else value


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    """Return a hint for a message: where a setting is now, the most similar known name, or how to list all names."""
    if name in MOVED or name in RENAMED:
        return f"; it is now {MOVED.get(name) or RENAMED[name]}"
    close = difflib.get_close_matches(name[:80].replace("-", "_"), known, n=1)
    return f"; did you mean '{close[0]}'?" if close else "; `qacomp compress --help all` lists the settings"
