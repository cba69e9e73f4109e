"""Choose one network of a container: a level, a sub-model, or the whole."""

from dataclasses import dataclass

from qacomp.errors import ConfigError
from qacomp.exporting.operating_points import find_point, level_sizes
from qacomp.formats import Container


@dataclass(frozen=True)
class Part:
    """The choice of one network in a container; by default the largest one.

    level: for a progressive container, the level with this number (see `level_sizes`); submodel: name of one of several
    networks, such as level4, exit3 or width0.5; exits and widths have no state dict of their own, only an ONNX graph;
    allow_truncated: accept a file that is cut off after a complete level, which is then the finest one.
    """

    level: int | None = None
    submodel: str | None = None
    allow_truncated: bool = False


WHOLE = Part()


def level_of(container: Container, part: Part) -> int | None:
    """Return the index of the level that `part` names, 0 for the coarsest; None if it names no level.

    Raises ConfigError if it names both a level and a sub-model, or one that doesn't exist.
    """
    if part.level is not None and part.submodel is not None:
        raise ConfigError(f"--level {part.level} and --submodel {part.submodel}: give only one of them")
    if part.submodel is not None:
        return find_point(container, part.submodel, container.source).level
    return None if part.level is None else _level_index(container, part.level)


def _level_index(container: Container, k: int) -> int:
    """Return the index of the level with this number. Raises ConfigError, which lists the levels."""
    sizes = level_sizes(container)
    if k not in sizes:
        raise ConfigError(f"{container.source}: no level {k}; it has {', '.join(map(str, sizes))}")
    return sizes.index(k)
