"""One declaration for each option: type, default, bounds, choices, help. All else is made from it.

The command line and its help, TOML, the JSON Schema, the checks and the refusal of options without effect read the
declarations, so an option stands in one place.
"""

from collections.abc import Callable
from dataclasses import MISSING, Field, dataclass, field, fields
from importlib import import_module
from typing import Any, TypeAlias

_NOTHING = object()
Config: TypeAlias = Any
"""A CompressConfig. It is made of declarations, which name conditions on it, so its type can't be named here."""


@dataclass(frozen=True)
class Bounds:
    """Which numbers an option takes: from `low` to `high`, None where there is no end; open: without the end itself."""

    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False

    def admit(self, number: float) -> bool:
        """Return whether `number` lies within. NaN never does."""
        above = self.low is None or (number > self.low if self.open_low else number >= self.low)
        below = self.high is None or (number < self.high if self.open_high else number <= self.high)
        return above and below and number == number

    def __str__(self) -> str:
        """Return the words that go on from "must"."""
        if self.high is None:
            if self.low == 0:
                return "be greater than zero" if self.open_low else "not be negative"
            return f"be at least {self.low:g}"
        end = " (without the end)" if self.open_high else ""
        return f"lie between {self.low:,g} and {self.high:,g}{end}"


@dataclass(frozen=True)
class Need:
    """A condition without which an option changes nothing; `reason` goes on from "has no effect".

    holds: takes the CompressConfig or, for a method's hyper-parameter, the method's dataclass.
    """

    holds: Callable[[Config], bool]
    reason: str


@dataclass(frozen=True)
class Option:
    """What is known of one option beside its name, type and default.

    help: one or two sentences; group: the heading under which the help lists it; basic: whether the short help does.
    choices: the words that it takes; words: some that it takes beside other text; registry: where those that others may
    add to are looked up, `module:function`; methods: the MethodTable that it chooses from, `module:name`; bounds: of
    its numbers.
    check: raises ConfigError for a value that can't be. needs: what it has no effect without.
    idle: the value that says that something isn't done: it is never refused for want of effect. shown: what the help
    says of the default, where that is None or a word such as auto. of: the option whose values by layer these are.
    """

    help: str
    group: str = ""
    basic: bool = False
    choices: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    registry: str | None = None
    methods: str | None = None
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
    """Return a field that maps layers' names or patterns to values of their own of the option `of`."""
    return field(default_factory=dict, metadata={"option": Option("", needs=needs, of=of)})


def registered(declared: Option) -> list[str]:
    """Return the words that an option's registry has now. The registry's room is imported here, not before."""
    if declared.registry is None:
        return []
    module, _, function = declared.registry.partition(":")
    return list(getattr(import_module(module), function)())


def declarations(config: Any) -> dict[str, Option]:
    """Return the declaration of each field of a dataclass or of its instance, in order."""
    return {found.name: found.metadata["option"] for found in fields(config)}


def default_of(found: "Field[Any]") -> Any:
    """Return a field's default value."""
    return found.default if found.default_factory is MISSING else found.default_factory()


def flag(name: str) -> str:
    """Return a setting's name as the command line has it: `--lr-levels`, `--k LAYER=...`."""
    if name.endswith("_layers"):
        return f"--{name.removesuffix('_layers')} LAYER=..."
    return "--" + name.replace("_", "-")
