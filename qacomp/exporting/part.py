"""Which of a container's networks is meant: a level, a sub-model, or the whole."""

from dataclasses import dataclass

from qacomp.errors import ConfigError
from qacomp.exporting.operating_points import find_point, level_sizes
from qacomp.formats import Container


@dataclass(frozen=True)
class Part:
    """One network of a container; by default the largest that is there.

    level: of a progressive container, the network whose layers have that many shared values. submodel: the name of one
    of several networks (level4, exit3, width0.5); the last two have no state dict of their own, only ONNX.
    allow_truncated: a file that is cut off behind a whole level is accepted; its finest level is then the largest.
    """

    level: int | None = None
    submodel: str | None = None
    allow_truncated: bool = False


WHOLE = Part()


def level_of(container: Container, part: Part) -> int | None:
    """Return the index of the level that `part` names, 0 being the coarsest; None where it names none.

    Raises ConfigError where it names both a level and a sub-model, or one that isn't there.
    """
    if part.level is not None and part.submodel is not None:
        raise ConfigError(f"--level {part.level} and --submodel {part.submodel}: give one of them")
    if part.submodel is not None:
        return find_point(container, part.submodel, container.source).level
    return None if part.level is None else _level_index(container, part.level)


def _level_index(container: Container, k: int) -> int:
    """Return the index of the level with `k` shared values; raise ConfigError, which lists those there are."""
    sizes = level_sizes(container)
    if k not in sizes:
        raise ConfigError(f"{container.source}: no level of {k} shared values; it holds {', '.join(map(str, sizes))}")
    return sizes.index(k)
