"""Declare options: type, default, bounds, choices and help of each, from which everything else is made.

The command line and its help, TOML, the JSON Schema and all checks read the declarations, so an option is described
in one place.
"""

import functools
from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from importlib import import_module
from typing import Any, TypeAlias

_NOTHING = object()
Config: TypeAlias = Any
"""A CompressConfig; importing its type here would be a circle, since it is made of declarations."""


@dataclass(frozen=True)
class Bounds:
    """The numbers that an option accepts: from low to high (None: unbounded); open_low, open_high: without that end."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def admit(self, number: float) -> bool:
        """Return whether `number` is within the bounds; False for NaN."""
        above = self.low is None or (number > self.low if self.open_low else number >= self.low)
        below = self.high is None or (number < self.high if self.open_high else number <= self.high)
        return above and below and number == number

    def __str__(self) -> str:
        """Return the bounds as text that follows "must", such as "be at least 2"."""
        if self.high is None:
            if self.low == 0:
                return "be greater than zero" if self.open_low else "not be negative"
            return f"be at least {self.low:g}"
        end = " (without the end)" if self.open_high else ""
        return f"lie between {self.low:,g} and {self.high:,g}{end}"


@dataclass(frozen=True)
class Need:
    """A condition without which an option has no effect; reason: text that follows "has no effect".

    holds: a function of the CompressConfig or, for a method's hyper-parameter, of the method's dataclass.
    """

    holds: Callable[[Config], bool]
    reason: str


@dataclass(frozen=True)
class Option:
    """The declaration of one option, besides its name, type and default.

    help: one or two sentences; group: heading in the help; brief: a line for the short help, where only options that
    have one are listed; choices: all words that it accepts; words: words that it accepts besides other text; registry:
    `module:function` that returns the accepted words, if other packages can add some; methods: `module:name` of the
    MethodTable from which it chooses; parts: the dataclass that declares its parts (see `parts`); bounds: of its
    numbers; check: raises ConfigError for an invalid value; needs: conditions without which it has no effect; idle: the
    value that switches something off, which is accepted even if it has no effect; shown: what the help says about a
    default such as None or auto; metavar: name of the value in the help; of: for values by layer, the option to which
    they belong.
    """

    help: str
    group: str = ""
    brief: str = ""
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    registry: str | None = None
    methods: str | None = None
    parts: type | None = None
    bounds: Bounds | None = None
    check: Callable[[Any], object] | None = None
    needs: tuple[Need, ...] = ()
    idle: Any = _NOTHING
    shown: str | None = None
    metavar: str | None = None
    of: str | None = None


POSITIVE = Bounds(0, open_low=True)
NOT_NEGATIVE = Bounds(0)
FRACTION = Bounds(0, 1)


def option(default: Any, declared: Option) -> Any:
    """Return a dataclass field with this default and declaration."""
    return field(default=default, metadata={"option": declared})


def by_layer(of: str, *needs: Need) -> Any:
    """Return a dataclass field that maps names or patterns of layers to values of the option `of`."""
    return field(default_factory=dict, metadata={"option": Option("", needs=needs, of=of)})


def registered(declared: Option) -> list[str]:
    """Return the words of an option's registry, whose module is imported only here; [] without a registry."""
    if declared.registry is None:
        return []
    module, _, function = declared.registry.partition(":")
    return list(getattr(import_module(module), function)())


def declarations(config: Any) -> dict[str, Option]:
    """Return the declaration of each field of a dataclass (or of an instance) by name, in order."""
    return dict(_declared(config if isinstance(config, type) else type(config)))


@functools.cache
def _declared(kind: type) -> dict[str, Option]:
    return {found.name: found.metadata["option"] for found in fields(kind)}


def default_of(found: "Field[Any]") -> Any:
    """Return a field's default value."""
    return found.default if found.default_factory is MISSING else found.default_factory()


def flag(name: str) -> str:
    """Return a setting's name on the command line, such as `--lr-levels` or `--k LAYER=...`."""
    if name.endswith("_layers"):
        return f"--{name.removesuffix('_layers')} LAYER=..."
    return "--" + name.replace("_", "-")
