"""Divide a large source among independent runs: --part 2/8 makes the second of eight containers, for `qacomp merge`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from qacomp.errors import ConfigError

META_KEY = "part"
_MOST = 9_999  # parts, as many as the files of a container in shards could have


@dataclass(frozen=True)
class SourcePart:
    """Part `number` of `of`, counted from 1."""

    number: int
    of: int

    def meta(self, fingerprint: str, whole: dict[str, Any]) -> dict[str, Any]:
        """Return the metadata of a part's container. whole: those of the container that all parts make."""
        return {META_KEY: {"number": self.number, "of": self.of, "run": fingerprint, "meta": whole}}


def part_of(given: str | None) -> SourcePart | None:
    """Return the part that a text such as 2/8 means; None for None. Raises ConfigError."""
    if given is None:
        return None
    found = re.fullmatch(r"(\d{1,4})/(\d{1,4})", given.strip(), re.ASCII)
    if found is None or not 1 <= int(found[1]) <= int(found[2]) <= _MOST:
        raise ConfigError(f"--part {given[:40]!r}: give the number of the part and how many there are, such as 2/8")
    return SourcePart(int(found[1]), int(found[2]))


class _Sized(Protocol):
    @property
    def values(self) -> int: ...


T = TypeVar("T", bound=_Sized)


def of_part(tasks: Sequence[T], part: SourcePart) -> list[T]:
    """Return the pieces of a part: neighbours, so that the parts in order hold all pieces in order.

    Each part has about the same number of values; with more parts than pieces some parts are empty.
    """
    total = sum(task.values for task in tasks)
    chosen, before = [], 0
    for task in tasks:
        middle = (2 * before + task.values) * part.of // max(1, 2 * total)
        if min(middle, part.of - 1) == part.number - 1:
            chosen.append(task)
        before += task.values
    return chosen
