"""The settings that a sweep varies. One that would have no effect beside those drawn before it is left out."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from qacomp.errors import ConfigError
from qacomp.options.config import CompressConfig
from qacomp.options.declaration import declarations
from qacomp.sweeping.dimension import Choice, Dimension, read_dimension

DEFAULT = (
    "sharing=after,rate",
    "quality=auto,high,balanced,small",
    "target_size=0.25bpw:6bpw",
    "codebook=tensor,channel,group:64,affine4,affine8",
    "k=4:256",
    "rounding=nearest,balanced",
    "stored_precision=fp16,exact",
)
"""What is varied where the user names nothing: k-means and rate-aware sharing, each with its own settings."""
_ORDER = ("sharing", "quality", "target_size", "codebook", "k", "rounding")  # each decides about those behind it
_BY_RATE, _BY_KMEANS = ("quality", "target_size"), ("k", "codebook", "rounding", "levels", "k_layers")

Chooser = Callable[[Dimension], Choice]


def space_of(texts: Sequence[str], used: Sequence[str] | None) -> tuple[Dimension, ...]:
    """Return the dimensions that texts such as `k=4:256` name, in the order in which they are drawn.

    Where settings of both k-means and rate-aware sharing are named, `sharing` chooses between the two. used: the
    settings that have an effect on the model; None: all. Dimensions of other settings are left out. Raises ConfigError.
    """
    found: dict[str, Dimension] = {}
    for dimension in map(read_dimension, texts):
        if dimension.name in found:
            raise ConfigError(f"--vary {dimension.text}: {dimension.name} is varied twice; give all its values at once")
        found[dimension.name] = dimension
    both = any(name in found for name in _BY_RATE) and any(name in found for name in _BY_KMEANS)
    if both and "sharing" not in found:
        found["sharing"] = read_dimension("sharing=after,rate")
    if all(name in found for name in _BY_RATE) and "auto" not in found["quality"].choices:
        found["quality"] = read_dimension(f"quality=auto,{','.join(map(str, found['quality'].choices))}")
    kept = [d for d in found.values() if used is None or d.name in used or (d.name == "sharing" and not both)]
    return tuple(sorted(kept, key=lambda d: _ORDER.index(d.name) if d.name in _ORDER else len(_ORDER)))


def drawn(base: CompressConfig, space: Sequence[Dimension], choose: Chooser) -> dict[str, Any]:
    """Return the settings of one trial: `choose` is asked for each dimension that has an effect there."""
    config, settings = base, {}
    for dimension in space:
        if not _applies(config, dimension):
            continue
        value = dimension.value(choose(dimension))
        if _takes(config, dimension.name, value):
            config, settings[dimension.name] = _with(config, dimension.name, value), value
    return settings


def combinations(base: CompressConfig, space: Sequence[Dimension], most: int) -> list[dict[str, Choice]] | None:
    """Return what there is to draw, name -> choice, each combination once.

    None where a dimension is a range, or there are more than `most`.
    """
    if any(not dimension.choices for dimension in space):
        return None
    found = []
    for combination in _each(base, tuple(space)):
        found.append(combination)
        if len(found) > most:
            return None
    return found


def _each(config: CompressConfig, rest: tuple[Dimension, ...]) -> Iterator[dict[str, Choice]]:
    if not rest:
        yield {}
        return
    first, *others = rest
    if not _applies(config, first):
        yield from _each(config, tuple(others))
        return
    for choice in first.choices:
        if _takes(config, first.name, choice):
            for tail in _each(_with(config, first.name, choice), tuple(others)):
                yield {first.name: choice, **tail}


def _applies(config: CompressConfig, dimension: Dimension) -> bool:
    """Return whether some value of the dimension has an effect: one that asks for something, and isn't refused."""
    name, idle = dimension.name, declarations(config)[dimension.name].idle
    values = dimension.probes
    if len(values) > 1:
        silent = (idle, getattr(config, name))
        values = tuple(value for value in values if getattr(_with(config, name, value), name) not in silent)
    return any(_takes(config, name, value) for value in values)


def _takes(config: CompressConfig, name: str, value: Choice) -> bool:
    try:
        _with(config, name, value).check()
    except ConfigError:
        return False
    return True


def _with(config: CompressConfig, name: str, value: Choice) -> CompressConfig:
    return config.with_settings({name: value}, "sweep")
