"""Select the tensors to share, with a reason for each. Doesn't need torch, since ONNX models are handled here too."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import Any, TypeVar

from numpy.typing import NDArray

from qacomp.errors import ConfigError
from qacomp.options.sharing import SHARED_VALUES
from qacomp.sharing.base import BaseFile, BaseTensor

T = TypeVar("T")
TIED = "tied to "
"""The beginning of the reason for the other names of a tied weight."""


@dataclass(frozen=True)
class Layer:
    """One weight tensor to share. name: its state-dict key; kind: "conv" or "dense"; k: number of shared values.

    axis: that of the output channels; reason: why it was chosen; tied: the other names of the same weight; measured:
    whether it is shared only if outputs tell what that does to them; base: the tensor that it stays near.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    k: int
    axis: int = 0
    reason: str = ""
    tied: tuple[str, ...] = ()
    measured: bool = False
    base: BaseTensor | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Return all names that settings may use for the weight."""
        return (self.name, *self.tied)


@dataclass(frozen=True)
class Selection:
    """The tensors to share; skipped: the reason for every other tensor, by name; base: what they stay near."""

    layers: tuple[Layer, ...]
    skipped: dict[str, str] = field(default_factory=dict)
    base: BaseFile | None = None

    def near(self, base: BaseFile) -> "Selection":
        """Return the selection with the tensors of a base."""
        return replace(self, layers=tuple(replace(y, base=base.tensor(y.name)) for y in self.layers), base=base)

    def with_reasons(self, reasons: Mapping[str, str]) -> "Selection":
        """Return the selection with other reasons for skipped tensors; other names of tied weights keep theirs."""
        stay = {name: reason for name, reason in self.skipped.items() if reason.startswith(TIED)}
        return replace(self, skipped=self.skipped | dict(reasons) | stay)

    def without(self, layer: Layer, reason: str) -> "Selection":
        """Return the selection without a layer; all its names are skipped for the given reason."""
        layers = tuple(other for other in self.layers if other.name != layer.name)
        stay = {name: reason for name in layer.names if name not in self.skipped}
        return replace(self, layers=layers, skipped=self.skipped | stay)


@dataclass(frozen=True)
class Weight:
    """A tensor of a source: its role, whether it may be shared, and how its values are read.

    read: returns the values in the tensor's own dtype, so that a large model is read one tensor at a time; what: its
    role, such as "weight of Conv"; kind: "conv" or "dense"; axis: that of the output channels; never: why it can't be
    shared under any settings, or None; unless_asked: why it isn't shared unless --include names it, or None; measured:
    it is shared without being named, too, if outputs tell what that does to them; tied: the other names of the weight.
    """

    name: str
    shape: tuple[int, ...]
    read: Callable[[], NDArray[Any]]
    what: str
    kind: str = "dense"
    axis: int = 0
    never: str | None = None
    unless_asked: str | None = None
    measured: bool = False
    tied: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Return all names that settings may use for the weight."""
        return (self.name, *self.tied)


@dataclass(frozen=True)
class Rules:
    """The settings that decide which tensors are shared; see the fields of CompressConfig with the same names.

    measured: whether the sharing measures outputs.
    """

    scope: str = "all"
    k: int = SHARED_VALUES
    k_layers: Mapping[str, int] = field(default_factory=dict)
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    min_size: int = 0
    measured: bool = False


def select(weights: Iterable[Weight], rules: Rules) -> Selection:
    """Return the selection of the weights to share, in their order.

    A pattern is the name of a tensor or of its module (without .weight), or a shell pattern of either. Raises
    ConfigError for a pattern that matches no tensor, and for a K of a tensor that isn't shared.
    """
    chosen: list[tuple[Weight, str]] = []
    skipped, used, names = {}, set(), []
    for candidate in weights:
        names.append(candidate.name)
        asked, refused = (first_fit(patterns, *candidate.names) for patterns in (rules.include, rules.exclude))
        used |= {asked, refused}
        reason = _reason_against(candidate, rules, asked, refused)
        if reason is not None:
            skipped[candidate.name] = reason
        else:
            why = f"{candidate.what}, {math.prod(candidate.shape):,} values"
            chosen.append((candidate, why if asked is None else f"{why}, --include {asked}"))
    for option, patterns in (("--include", rules.include), ("--exclude", rules.exclude)):
        if unused := [p for p in patterns if p not in used]:
            raise ConfigError(f"{option} {unused[0]}: no tensor has that name; names are {_few(names)}")
    own = value_for((candidate.names for candidate, _ in chosen), rules.k_layers, "--k")
    layers = (
        Layer(c.name, c.kind, c.shape, own.get(c.name, rules.k), c.axis, why, c.tied, _if_measured(c, rules))
        for c, why in chosen
    )
    return Selection(tuple(layers), skipped)


def _if_measured(weight: Weight, rules: Rules) -> bool:
    """Return whether a weight that was chosen is shared only if outputs tell what that does to them."""
    return weight.measured and first_fit(rules.include, *weight.names) is None


def value_for(weights: Iterable[Sequence[str]], overrides: Mapping[str, T], flag: str) -> dict[str, T]:
    """Map the first name of each weight to its value in `overrides` (by name or pattern; the first that matches).

    weights: all names of each weight. Raises ConfigError, which names `flag`, for a pattern that matches no name, and
    if two names of one tied weight have different values.
    """
    known = {names[0]: names for names in weights}
    for pattern in overrides:
        if not any(first_fit((pattern,), *names) for names in known.values()):
            raise ConfigError(f"{flag} {pattern}=...: no compressed layer has that name; names are {_few(known)}")
    found = {}
    for first, names in known.items():
        named = [p for p in overrides if any(p in _forms(name) for name in names)]
        if len(names) > 1 and any(overrides[p] != overrides[named[0]] for p in named):
            raise ConfigError(f"{flag}: {' and '.join(named)} are names of one tied weight; give one value for it")
        if (fitting := first_fit(overrides, *names)) is not None:
            found[first] = overrides[fitting]
    return found


def first_fit(patterns: Iterable[str], *names: str) -> str | None:
    """Return the first pattern that matches one of a tensor's names, with or without .weight; None if none matches."""
    forms = [form for name in names for form in _forms(name)]
    return next((p for p in patterns if any(p == form or fnmatchcase(form, p) for form in forms)), None)


def _forms(name: str) -> tuple[str, str]:
    return name, name.removesuffix(".weight")


def _reason_against(candidate: Weight, rules: Rules, asked: str | None, refused: str | None) -> str | None:
    """Return the reason why a tensor isn't shared, or None if it is."""
    values = math.prod(candidate.shape)
    if candidate.never is not None:
        return candidate.never
    if refused is not None:
        return f"--exclude {refused}"
    if rules.include and asked is None:
        return "matches no --include"
    if asked is None and candidate.unless_asked is not None and not (candidate.measured and rules.measured):
        return candidate.unless_asked
    if rules.scope not in ("all", candidate.kind):
        return f"outside --scope {rules.scope}"
    if asked is None and values < rules.min_size:
        return f"{candidate.what}, but {values:,} values are fewer than --min-size {rules.min_size}"
    return None


def _few(names: Iterable[str]) -> str:
    """Return the first names as text, each cut to 80 characters, since some are kilobytes long."""
    known = [name.removesuffix(".weight")[:80] for name in names]
    return ", ".join(known[:8]) + (", ..." if len(known) > 8 else "")
