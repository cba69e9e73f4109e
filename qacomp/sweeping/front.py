"""The trials of a sweep as points of size and loss, and those that no other one beats in both."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class SweepPoint:
    """One finished trial. bytes: of its container; loss: see SweepReport; file: the container, where it is here."""

    number: int
    bytes: int
    loss: float
    settings: dict[str, Any]
    verdict: str = ""
    file: Path | None = None

    @property
    def words(self) -> str:
        """Return the settings as `k = 8, codebook = channel`."""
        return ", ".join(f"{name} = {value}" for name, value in self.settings.items()) or "the defaults"

    @property
    def values(self) -> str:
        """Return the trial's number and the settings' values, as `5: tensor, 8`."""
        return f"{self.number}: {', '.join(map(str, self.settings.values())) or 'the defaults'}"


@dataclass(frozen=True)
class SweepPeer:
    """The same model in another form, measured as the trials are. bytes: of weights, other tensors and graph."""

    name: str
    bytes: int
    loss: float


@dataclass(frozen=True)
class SweepReport:
    """What a study holds. measure: what `loss` is; front: points that no other one beats, smallest first.

    points: all finished trials that differ; states: number of trials that finished, failed, wait, or run.
    """

    study: str
    storage: str
    model: str
    measure: str
    points: tuple[SweepPoint, ...]
    front: tuple[SweepPoint, ...]
    peers: tuple[SweepPeer, ...]
    states: dict[str, int]
    errors: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return the document that `sweep --json` prints."""
        return asdict(self)


def pareto(points: Iterable[SweepPoint]) -> tuple[SweepPoint, ...]:
    """Return the points of which no other one has fewer bytes and no larger loss, or as many bytes and a lower loss."""
    front: list[SweepPoint] = []
    for point in sorted(points, key=lambda p: (p.bytes, p.loss, p.number)):
        if not front or point.loss < front[-1].loss:
            front.append(point)
    return tuple(front)
